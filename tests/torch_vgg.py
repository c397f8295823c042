"""Independent PyTorch oracle for the VGG parity tests, NCHW.

Written from the paper (arXiv:1409.1556) in plain PyTorch and shares no code with `jaxcv`. Modules
are numbered as in torchvision, which pools to 7x7 before the linear layers, so that images may have
any size.
"""

from collections.abc import Sequence

from torch import Tensor, nn


class VGG(nn.Module):
    """`depths` counts the convolutions of each stage."""

    def __init__(
        self,
        depths: Sequence[int],
        num_classes: int,
        batch_norm: bool,
        hidden: int,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential()
        channels = in_channels
        for depth, width in zip(depths, (64, 128, 256, 512, 512), strict=False):
            for _ in range(depth):
                self.features.append(nn.Conv2d(channels, width, 3, padding=1))
                if batch_norm:
                    self.features.append(nn.BatchNorm2d(width))
                self.features.append(nn.ReLU())
                channels = width
            self.features.append(nn.MaxPool2d(2))
        self.classifier = nn.Sequential(
            nn.Linear(channels * 7 * 7, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.adaptive_avg_pool2d(self.features(x), 7)
        return self.classifier(x.flatten(1))
