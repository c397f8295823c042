"""Independent PyTorch oracle for the ResNet parity tests, NCHW.

Written from the papers (arXiv:1512.03385, arXiv:1603.05027) in plain PyTorch and shares no code
with `jaxcv`. Modules and parameters are called as in torchvision, which also gives the bottleneck's
stride to its 3x3 convolution by default, counts its width for 64 channels, and knows which dilation
takes the place of a stride.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def downsample(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """The projection shortcut; none where the input can be added as it is."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
    )


def conv_3x3(inputs: int, outputs: int, stride: int, dilation: int, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(
        inputs,
        outputs,
        3,
        stride=stride,
        padding=dilation,
        dilation=dilation,
        groups=groups,
        bias=False,
    )


class BasicBlock(nn.Module):
    """3x3, 3x3. `zero_padding` is the shortcut without parameters."""

    def __init__(
        self,
        inputs: int,
        channels: int,
        stride: int,
        dilation: tuple[int, int] = (1, 1),
        zero_padding: bool = False,
    ) -> None:
        super().__init__()
        self.outputs, self.stride, self.added = channels, stride, channels - inputs
        self.conv1 = conv_3x3(inputs, channels, stride, dilation[0])
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv_3x3(channels, channels, 1, dilation[1])
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None if zero_padding else downsample(inputs, self.outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.downsample is not None:
            x = self.downsample(x)
        elif self.added or self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
            zeros = x.new_zeros(x.shape[0], self.added // 2, *x.shape[2:])
            x = torch.cat([zeros, x, zeros], dim=1)
        return functional.relu(y + x)


class Bottleneck(nn.Module):
    """1x1, 3x3 in `groups` of `width` channels (for 64 `channels`), 1x1 to 4 x `channels`."""

    def __init__(
        self,
        inputs: int,
        channels: int,
        stride: int,
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
        width: int = 64,
        stride_first: bool = False,
    ) -> None:
        super().__init__()
        self.outputs = 4 * channels
        inside = int(channels * width / 64) * groups
        first, second = (stride, 1) if stride_first else (1, stride)
        self.conv1 = nn.Conv2d(inputs, inside, 1, stride=first, bias=False)
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv2 = conv_3x3(inside, inside, second, dilation[0], groups)
        self.bn2 = nn.BatchNorm2d(inside)
        self.conv3 = nn.Conv2d(inside, self.outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(self.outputs)
        self.downsample = downsample(inputs, self.outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class PreActivation(nn.Module):
    """BN, ReLU, convolution for each of `convolutions`; a projection shortcut, without batch norm,
    starts behind the first ReLU, and so does any shortcut of the first block (`first`)."""

    def __init__(
        self,
        convolutions: Sequence[nn.Conv2d],
        inputs: int,
        outputs: int,
        stride: int,
        first: bool,
    ) -> None:
        super().__init__()
        self.outputs, self.count = outputs, len(convolutions)
        for number, convolution in enumerate(convolutions, 1):
            setattr(self, f"bn{number}", nn.BatchNorm2d(convolution.in_channels))
            setattr(self, f"conv{number}", convolution)
        projects = stride > 1 or inputs != outputs
        self.activates = projects or first
        self.downsample = nn.Sequential()
        if projects:
            self.downsample.append(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        first = functional.relu(self.bn1(x))
        y = self.conv1(first)
        for number in range(2, self.count + 1):
            y = getattr(self, f"bn{number}")(y)
            y = getattr(self, f"conv{number}")(functional.relu(y))
        return y + self.downsample(first if self.activates else x)


def preactivation_basic(inputs: int, channels: int, stride: int, first: bool) -> PreActivation:
    convolutions = [conv_3x3(inputs, channels, stride, 1), conv_3x3(channels, channels, 1, 1)]
    return PreActivation(convolutions, inputs, channels, stride, first)


def preactivation_bottleneck(inputs: int, channels: int, stride: int, first: bool) -> PreActivation:
    """With the stride in its first convolution, as in the authors' code."""
    convolutions = [
        nn.Conv2d(inputs, channels, 1, stride=stride, bias=False),
        conv_3x3(channels, channels, 1, 1),
        nn.Conv2d(channels, 4 * channels, 1, bias=False),
    ]
    return PreActivation(convolutions, inputs, 4 * channels, stride, first)


class ResNet(nn.Module):
    """`conv1`, `bn1`, max pool, `layer1`, `layer2`, ..., global average pool, linear layer.

    `block` makes one of (inputs, channels, stride, dilations); `depths` counts the blocks of each
    layer; `dilated` says of each but the first whether dilation takes the place of its stride; the
    linear layer is called `head`. With `small_images`, for CIFAR, `conv1` has 16 channels and no
    stride, and there is no pool.
    """

    def __init__(
        self,
        block: Callable[..., nn.Module],
        depths: Sequence[int],
        num_classes: int,
        in_channels: int = 3,
        small_images: bool = False,
        dilated: Sequence[bool] = (False, False, False),
        head: str = "fc",
    ) -> None:
        super().__init__()
        channels = last = 16 if small_images else 64
        if small_images:
            self.conv1 = nn.Conv2d(in_channels, last, 3, padding=1, bias=False)
        else:
            self.conv1 = nn.Conv2d(in_channels, last, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(last)
        self.pool = nn.Identity() if small_images else nn.MaxPool2d(3, stride=2, padding=1)
        self.depth = len(depths)
        dilation = 1
        for layer, depth in enumerate(depths, 1):
            stride, before = 1 if layer == 1 else 2, dilation
            if layer > 1 and dilated[layer - 2]:
                stride, dilation = 1, 2 * dilation
            blocks = [block(last, channels, stride, (before, dilation))]
            last = blocks[0].outputs
            blocks += [block(last, channels, 1, (dilation, dilation)) for _ in range(depth - 1)]
            setattr(self, f"layer{layer}", nn.Sequential(*blocks))
            channels *= 2
        self.head = head
        self.add_module(head, nn.Linear(last, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(functional.relu(self.bn1(self.conv1(x))))
        for layer in range(1, self.depth + 1):
            x = getattr(self, f"layer{layer}")(x)
        return getattr(self, self.head)(x.mean(dim=(2, 3)))


class PreActivationResNet(nn.Module):
    """`conv1`, `layer1`, `layer2`, ..., `bn`, global average pool, `fc`, for CIFAR.

    `block` makes one of (inputs, channels, stride, whether it is the first one).
    """

    def __init__(
        self,
        block: Callable[[int, int, int, bool], PreActivation],
        depths: Sequence[int],
        num_classes: int,
    ) -> None:
        super().__init__()
        channels = last = 16
        self.conv1 = nn.Conv2d(3, last, 3, padding=1, bias=False)
        self.depth = len(depths)
        for layer, depth in enumerate(depths, 1):
            blocks = []
            for index in range(depth):
                stride = 2 if layer > 1 and index == 0 else 1
                blocks.append(block(last, channels, stride, layer == 1 and index == 0))
                last = blocks[-1].outputs
            setattr(self, f"layer{layer}", nn.Sequential(*blocks))
            channels *= 2
        self.bn = nn.BatchNorm2d(last)
        self.fc = nn.Linear(last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        for layer in range(1, self.depth + 1):
            x = getattr(self, f"layer{layer}")(x)
        return self.fc(functional.relu(self.bn(x)).mean(dim=(2, 3)))
