"""Independent PyTorch oracles for the MobileNet parity tests, NCHW.

Written from the papers (arXiv:1704.04861, arXiv:1801.04381) in plain PyTorch and share no code with
`jaxcv`. A stage is (expansion, channels, depth, stride); without expansion it is of version 1.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import relu6

V1 = ((None, 64, 1, 1), (None, 128, 2, 2), (None, 256, 2, 2), (None, 512, 6, 2), (None, 1024, 2, 2))
V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def unit(inputs: int, outputs: int, window: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, window, stride, window // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


class InvertedResidual(nn.Module):
    """Called as in torchvision."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = inputs * expansion
        expand = [] if expansion == 1 else [unit(inputs, inside, 1)]
        project, norm, _ = unit(inside, outputs, 1)
        self.conv = nn.Sequential(
            *expand, unit(inside, inside, 3, stride, groups=inside), project, norm
        )
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + x if self.shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    """Called as in torchvision."""

    def __init__(
        self,
        stages: Sequence[tuple[int, int, int, int]],
        stem: int,
        head: int,
        num_classes: int,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(unit(in_channels, stem, 3, 2))
        channels = stem
        for expansion, outputs, depth, stride in stages:
            for index in range(depth):
                self.features.append(
                    InvertedResidual(channels, outputs, 1 if index else stride, expansion)
                )
                channels = outputs
        self.features.append(unit(channels, head, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(head, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean(dim=(2, 3)))


class TimmBlock(nn.Module):
    """Called as in timm, where a block that does not expand is one of version 1 without the last
    activation."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int | None) -> None:
        super().__init__()
        inside = inputs * (expansion or 1)
        self.expands = inside != inputs
        self.activates = expansion is None
        self.shortcut = not self.activates and stride == 1 and inputs == outputs
        depthwise = nn.Conv2d(inside, inside, 3, stride, 1, groups=inside, bias=False)
        last = nn.Conv2d(inside, outputs, 1, bias=False)
        if self.expands:
            self.conv_pw = nn.Conv2d(inputs, inside, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(inside)
            self.conv_dw = depthwise
            self.bn2 = nn.BatchNorm2d(inside)
            self.conv_pwl = last
            self.bn3 = nn.BatchNorm2d(outputs)
        else:
            self.conv_dw = depthwise
            self.bn1 = nn.BatchNorm2d(inside)
            self.conv_pw = last
            self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        if self.expands:
            y = relu6(self.bn1(self.conv_pw(x)))
            y = self.bn3(self.conv_pwl(relu6(self.bn2(self.conv_dw(y)))))
        else:
            y = self.bn2(self.conv_pw(relu6(self.bn1(self.conv_dw(x)))))
        y = relu6(y) if self.activates else y
        return x + y if self.shortcut else y


class TimmMobileNet(nn.Module):
    """Called as in timm."""

    def __init__(
        self,
        stages: Sequence[tuple[int | None, int, int, int]],
        stem: int,
        head: int | None,
        num_classes: int,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.conv_stem = nn.Conv2d(in_channels, stem, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.blocks = nn.Sequential()
        channels = stem
        for expansion, outputs, depth, stride in stages:
            self.blocks.append(nn.Sequential())
            for index in range(depth):
                block = TimmBlock(channels, outputs, 1 if index else stride, expansion)
                self.blocks[-1].append(block)
                channels = outputs
        if head is not None:
            self.conv_head = nn.Conv2d(channels, head, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(head)
        self.classifier = nn.Linear(head or channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(relu6(self.bn1(self.conv_stem(x))))
        if hasattr(self, "conv_head"):
            x = relu6(self.bn2(self.conv_head(x)))
        return self.classifier(x.mean(dim=(2, 3)))
