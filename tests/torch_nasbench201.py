"""The network of NAS-Bench-201 in plain PyTorch, written from its paper (arXiv:2001.00326).

Layers are registered as those of ours are walked: what stands around the cells, then the cells.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch_reference import operation

SOURCES = (0, 0, 1, 0, 1, 2)
TARGETS = (1, 2, 2, 3, 3, 3)


def relu_conv_bn(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(nn.ReLU(), convolution, nn.BatchNorm2d(outputs))


class Cell(nn.Module):
    def __init__(self, operations: Sequence[str], channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList(
            operation(name, channels, 1, affine=True, search=False) for name in operations
        )

    def forward(self, x: Tensor) -> Tensor:
        states = [x]
        for target in (1, 2, 3):
            entering = [edge for edge in range(6) if TARGETS[edge] == target]
            states.append(sum(self.edges[edge](states[SOURCES[edge]]) for edge in entering))
        return states[-1]


class Reduction(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            relu_conv_bn(channels, 2 * channels, 2), relu_conv_bn(2 * channels, 2 * channels, 1)
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2), nn.Conv2d(channels, 2 * channels, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x) + self.shortcut(x)


class Network(nn.Module):
    def __init__(
        self, operations: Sequence[str], channels: int, cells: int, num_classes: int
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )
        self.reductions = nn.ModuleList([Reduction(channels), Reduction(2 * channels)])
        self.norm = nn.BatchNorm2d(4 * channels)
        self.classifier = nn.Linear(4 * channels, num_classes)
        self.stages = nn.ModuleList(
            nn.Sequential(*(Cell(operations, width) for _ in range(cells)))
            for width in (channels, 2 * channels, 4 * channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages[0](self.stem(x))
        for reduction, stage in zip(self.reductions, self.stages[1:], strict=True):
            x = stage(reduction(x))
        return self.classifier(torch.relu(self.norm(x)).mean((2, 3)))
