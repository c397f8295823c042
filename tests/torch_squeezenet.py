"""Independent PyTorch oracle for the SqueezeNet parity tests, NCHW.

Written from the paper (arXiv:1602.07360) in plain PyTorch and shares no code with `jaxcv`. Modules
are called as in torchvision; a stage is given by the widths that its fire modules squeeze to.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import relu


class Fire(nn.Module):
    def __init__(self, inputs: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, 4 * squeezed, 1)
        self.expand3x3 = nn.Conv2d(squeezed, 4 * squeezed, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = relu(self.squeeze(x))
        return torch.cat([relu(self.expand1x1(x)), relu(self.expand3x3(x))], dim=1)


class SqueezeNet(nn.Module):
    def __init__(
        self,
        channels: int,
        window: int,
        stages: Sequence[Sequence[int]],
        num_classes: int,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(in_channels, channels, window, stride=2), nn.ReLU())
        for stage in stages:
            self.features.append(nn.MaxPool2d(3, stride=2, ceil_mode=True))
            for squeezed in stage:
                self.features.append(Fire(channels, squeezed))
                channels = 8 * squeezed
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(channels, num_classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.classifier(self.features(x))).mean(dim=(2, 3))
