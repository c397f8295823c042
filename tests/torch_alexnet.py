"""Independent PyTorch oracle for AlexNet, NCHW.

Written from the papers (arXiv:1404.5997; for two groups "ImageNet Classification with Deep
Convolutional Neural Networks", NIPS 2012) in plain PyTorch and shares no code with `jaxcv`. Modules
are numbered as in torchvision.
"""

import torch
from torch import Tensor, nn


class LocalResponseNorm(nn.Module):
    """x_i / (2 + 1e-4 * sum of x_j^2 for the channels j = i - 2, ..., i + 2 that exist)^0.75."""

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        sums = [
            x[:, max(0, i - 2) : min(channels, i + 3)].square().sum(dim=1) for i in range(channels)
        ]
        return x / (2 + 1e-4 * torch.stack(sums, dim=1)) ** 0.75


class AlexNet(nn.Module):
    def __init__(self, num_classes: int, grouped: bool, hidden: int, in_channels: int = 3) -> None:
        super().__init__()
        widths = (96, 256, 384, 384) if grouped else (64, 192, 384, 256)
        two = 2 if grouped else 1
        first, second, third, fourth = widths
        features = [
            nn.Conv2d(in_channels, first, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(first, second, 5, padding=2, groups=two),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(second, third, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(third, fourth, 3, padding=1, groups=two),
            nn.ReLU(),
            nn.Conv2d(fourth, 256, 3, padding=1, groups=two),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
        ]
        if grouped:
            for relu in (1, 4):
                features[relu] = nn.Sequential(nn.ReLU(), LocalResponseNorm())
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(256 * 6 * 6, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.adaptive_avg_pool2d(self.features(x), 6)
        return self.classifier(x.flatten(1))
