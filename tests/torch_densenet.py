"""Independent PyTorch oracle for the DenseNet parity tests, NCHW.

Written from the paper (arXiv:1608.06993) in plain PyTorch, without dropout, and shares no code with
`jaxcv`. Modules and parameters are called as in torchvision and, for small images, as in
efficient_densenet_pytorch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class DenseLayer(nn.Module):
    """BN-ReLU-1x1 to 4 x `growth` channels, BN-ReLU-3x3 to `growth`."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(functional.relu(self.norm1(x)))
        return self.conv2(functional.relu(self.norm2(x)))


class DenseBlock(nn.Module):
    """`denselayer1`, `denselayer2`, ..., each of which reads all that came before."""

    def __init__(self, depth: int, inputs: int, growth: int) -> None:
        super().__init__()
        for number in range(depth):
            self.add_module(f"denselayer{number + 1}", DenseLayer(inputs + number * growth, growth))

    def forward(self, x: Tensor) -> Tensor:
        states = [x]
        for layer in self.children():
            states.append(layer(torch.cat(states, dim=1)))
        return torch.cat(states, dim=1)


class DenseNet(nn.Module):
    """`features` and `classifier`."""

    def __init__(
        self, depths: Sequence[int], growth: int, num_classes: int, small_images: bool = False
    ) -> None:
        super().__init__()
        channels = 2 * growth
        self.features = nn.Sequential()
        if small_images:
            self.features.add_module("conv0", nn.Conv2d(3, channels, 3, padding=1, bias=False))
        else:
            stem = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
            self.features.add_module("conv0", stem)
            self.features.add_module("norm0", nn.BatchNorm2d(channels))
            self.features.add_module("relu0", nn.ReLU())
            self.features.add_module("pool0", nn.MaxPool2d(3, stride=2, padding=1))
        for number, depth in enumerate(depths, 1):
            self.features.add_module(f"denseblock{number}", DenseBlock(depth, channels, growth))
            channels += depth * growth
            if number < len(depths):
                transition = nn.Sequential()
                transition.add_module("norm", nn.BatchNorm2d(channels))
                transition.add_module("relu", nn.ReLU())
                transition.add_module("conv", nn.Conv2d(channels, channels // 2, 1, bias=False))
                transition.add_module("pool", nn.AvgPool2d(2))
                self.features.add_module(f"transition{number}", transition)
                channels //= 2
        self.features.add_module(
            "norm_final" if small_images else "norm5", nn.BatchNorm2d(channels)
        )
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(functional.relu(self.features(x)).mean(dim=(2, 3)))
