"""Independent PyTorch oracle for the ResNet parity tests, NCHW.

Written from the paper (arXiv:1512.03385) in plain PyTorch and shares no code with `jaxcv`. Modules
and parameters are called as in torchvision, which also gives the bottleneck's stride to its 3x3
convolution by default, and counts its width for 64 channels.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional


def downsample(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """The projection shortcut; none where the input can be added as it is."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
    )


class BasicBlock(nn.Module):
    """3x3, 3x3."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.outputs = channels
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = downsample(inputs, self.outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 in `groups` of `width` channels (for 64 `channels`), 1x1 to 4 x `channels`."""

    def __init__(
        self,
        inputs: int,
        channels: int,
        stride: int,
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
        self.conv2 = nn.Conv2d(
            inside, inside, 3, stride=second, padding=1, groups=groups, bias=False
        )
        self.bn2 = nn.BatchNorm2d(inside)
        self.conv3 = nn.Conv2d(inside, self.outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(self.outputs)
        self.downsample = downsample(inputs, self.outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """`conv1`, `bn1`, max pool, `layer1`, `layer2`, ..., global average pool, `fc`.

    `block` makes one of (inputs, channels, stride); `depths` counts the blocks of each layer.
    """

    def __init__(
        self,
        block: Callable[[int, int, int], nn.Module],
        depths: Sequence[int],
        num_classes: int,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.depth = len(depths)
        channels = last = 64
        for layer, depth in enumerate(depths, 1):
            blocks = []
            for index in range(depth):
                blocks.append(block(last, channels, 2 if layer > 1 and index == 0 else 1))
                last = blocks[-1].outputs
            setattr(self, f"layer{layer}", nn.Sequential(*blocks))
            channels *= 2
        self.fc = nn.Linear(last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.max_pool2d(x, 3, stride=2, padding=1)
        for layer in range(1, self.depth + 1):
            x = getattr(self, f"layer{layer}")(x)
        return self.fc(x.mean(dim=(2, 3)))
