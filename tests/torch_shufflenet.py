"""Independent PyTorch oracles for the ShuffleNet parity tests, NCHW.

Written from the papers (arXiv:1707.01083, arXiv:1807.11164) in plain PyTorch and share no code with
`jaxcv`. Modules of version 2 are called as in torchvision, those of version 1 as ours.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d, relu


def shuffled(x: Tensor, groups: int) -> Tensor:
    """The first channel of each group, then the second of each, and so on."""
    size = x.shape[1] // groups
    return x[:, [group * size + index for index in range(size) for group in range(groups)]]


class Unit(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, window: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(
            inputs, outputs, window, stride, window // 2, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.convolution(x))


class ShuffleUnit(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, groups: int) -> None:
        super().__init__()
        self.stride, self.groups = stride, groups
        inside = outputs // 4
        self.reduce = Unit(inputs, inside, 1, groups=1 if inputs == 24 else groups)
        self.depthwise = Unit(inside, inside, 3, stride, groups=inside)
        self.expand = Unit(inside, outputs if stride == 1 else outputs - inputs, 1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        y = shuffled(relu(self.reduce(x)), self.groups)
        y = self.expand(self.depthwise(y))
        if self.stride == 1:
            return relu(x + y)
        return relu(torch.cat([avg_pool2d(x, 3, stride=2, padding=1), y], dim=1))


class ShuffleNetV1(nn.Module):
    def __init__(
        self,
        channels: Sequence[int],
        depths: Sequence[int],
        groups: int,
        num_classes: int,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.stem = Unit(in_channels, 24, 3, stride=2)
        self.stages = nn.Sequential()
        last = 24
        for outputs, depth in zip(channels, depths, strict=True):
            units = [ShuffleUnit(last, outputs, 2, groups)]
            units += [ShuffleUnit(outputs, outputs, 1, groups) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(*units))
            last = outputs
        self.classifier = nn.Linear(last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = max_pool2d(relu(self.stem(x)), 3, stride=2, padding=1)
        return self.classifier(self.stages(x).mean(dim=(2, 3)))


def layers(inputs: int, outputs: int, window: int, stride: int = 1) -> list[nn.Module]:
    """A depthwise convolution, if it has a window, or a pointwise one with ReLU."""
    depthwise = window > 1
    convolution = nn.Conv2d(
        inputs,
        outputs,
        window,
        stride,
        window // 2,
        groups=inputs if depthwise else 1,
        bias=False,
    )
    return [convolution, nn.BatchNorm2d(outputs), *([] if depthwise else [nn.ReLU()])]


class ShuffleUnitV2(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        self.splits = stride == 1
        read = half if self.splits else inputs
        self.branch1 = nn.Sequential()
        if not self.splits:
            self.branch1.extend(layers(read, read, 3, stride) + layers(read, half, 1))
        self.branch2 = nn.Sequential(
            *layers(read, half, 1), *layers(half, half, 3, stride), *layers(half, half, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        kept, read = x.chunk(2, dim=1) if self.splits else (x, x)
        return shuffled(torch.cat([self.branch1(kept), self.branch2(read)], dim=1), 2)


class ShuffleNetV2(nn.Module):
    def __init__(
        self,
        channels: Sequence[int],
        depths: Sequence[int],
        head: int,
        num_classes: int,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(in_channels, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU()
        )
        last, self.stages = 24, len(depths)
        for number, (outputs, depth) in enumerate(zip(channels, depths, strict=True)):
            units = [ShuffleUnitV2(last, outputs, 2)]
            units += [ShuffleUnitV2(outputs, outputs, 1) for _ in range(depth - 1)]
            setattr(self, f"stage{number + 2}", nn.Sequential(*units))
            last = outputs
        self.conv5 = nn.Sequential(*layers(last, head, 1))
        self.fc = nn.Linear(head, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = max_pool2d(self.conv1(x), 3, stride=2, padding=1)
        for number in range(self.stages):
            x = getattr(self, f"stage{number + 2}")(x)
        return self.fc(self.conv5(x).mean(dim=(2, 3)))
