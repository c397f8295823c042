"""Independent PyTorch oracle for the parity tests of Inception networks, NCHW.

Written from the papers and the published tables of channels in plain PyTorch, it shares no code
with `jaxcv`. Modules and parameters are called as where the weights are published: torchvision for
GoogLeNet and Inception-v3, pretrainedmodels for BN-Inception.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def unit(inputs, outputs, window, stride=1, padding=0):
    """`conv`, `bn`, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, window, stride, padding, bias=False)
    return nn.Sequential(
        OrderedDict(conv=convolution, bn=nn.BatchNorm2d(outputs, eps=1e-3), relu=nn.ReLU())
    )


def same(inputs, outputs, window):
    """A unit that keeps the size."""
    high, wide = (window, window) if isinstance(window, int) else window
    return unit(inputs, outputs, window, 1, (high // 2, wide // 2))


def chain(inputs, *layers):
    """Units of (outputs, window) that keep the size, and of (outputs, window, stride) without
    padding."""
    units = []
    for outputs, window, *stride in layers:
        units.append(
            unit(inputs, outputs, window, *stride) if stride else same(inputs, outputs, window)
        )
        inputs = outputs
    return units


def mean(count_padding):
    return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=count_padding)


def halve():
    return nn.MaxPool2d(3, stride=2)


class Mixed(nn.Module):
    """Concatenates chains of its modules; names within a tuple are run on the same input."""

    def __init__(self, modules: dict[str, nn.Module], *chains: Sequence) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.chains = chains

    def forward(self, x: Tensor) -> Tensor:
        found = []
        for names in self.chains:
            y = x
            for name in names:
                if isinstance(name, tuple):
                    y = torch.cat([getattr(self, each)(y) for each in name], 1)
                else:
                    y = getattr(self, name)(y)
            found.append(y)
        return torch.cat(found, 1)


def branches(*modules: nn.Module | Sequence[nn.Module]) -> Mixed:
    """`branch0`, `branch1`, ...: a module, or several in a row."""
    made = {
        f"branch{number}": each if isinstance(each, nn.Module) else nn.Sequential(*each)
        for number, each in enumerate(modules)
    }
    return Mixed(made, *([name] for name in made))


# GoogLeNet


def googlenet_block(inputs, one, three_in, three, five_in, five, pooled, window):
    modules = {
        "branch1": same(inputs, one, 1),
        "branch2": nn.Sequential(*chain(inputs, (three_in, 1), (three, 3))),
        "branch3": nn.Sequential(*chain(inputs, (five_in, 1), (five, window))),
        "branch4": nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), same(inputs, pooled, 1)),
    }
    return Mixed(modules, *([name] for name in modules))


class GoogLeNetHead(nn.Module):
    def __init__(self, inputs, num_classes):
        super().__init__()
        self.conv = same(inputs, 128, 1)
        self.fc1 = nn.Linear(2048, 1024)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, x):
        x = self.conv(functional.adaptive_avg_pool2d(x, 4)).flatten(1)
        return self.fc2(functional.relu(self.fc1(x)))


class GoogLeNet(nn.Module):
    """Returns the logits, and behind them those of `aux1` and `aux2`, if it has so many heads."""

    TABLE = (
        ("3a", 192, 64, 96, 128, 16, 32, 32),
        ("3b", 256, 128, 128, 192, 32, 96, 64),
        ("4a", 480, 192, 96, 208, 16, 48, 64),
        ("4b", 512, 160, 112, 224, 24, 64, 64),
        ("4c", 512, 128, 128, 256, 24, 64, 64),
        ("4d", 512, 112, 144, 288, 32, 64, 64),
        ("4e", 528, 256, 160, 320, 32, 128, 128),
        ("5a", 832, 256, 160, 320, 32, 128, 128),
        ("5b", 832, 384, 192, 384, 48, 128, 128),
    )

    def __init__(self, num_classes, in_channels=3, blocks=9, heads=2, window=3):
        super().__init__()
        self.conv1 = unit(in_channels, 64, 7, 2, 3)
        self.conv2 = same(64, 64, 1)
        self.conv3 = same(64, 192, 3)
        self.table = self.TABLE[:blocks]
        for name, *channels in self.table:
            self.add_module(f"inception{name}", googlenet_block(*channels, window))
        self.heads = heads
        for number, inputs in enumerate((512, 528)[:heads], 1):
            self.add_module(f"aux{number}", GoogLeNetHead(inputs, num_classes))
        _, _, one, _, three, _, five, pooled = self.table[-1]
        self.fc = nn.Linear(one + three + five + pooled, num_classes)

    def forward(self, x):
        found = []
        x = functional.max_pool2d(self.conv1(x), 3, 2, ceil_mode=True)
        x = functional.max_pool2d(self.conv3(self.conv2(x)), 3, 2, ceil_mode=True)
        for name, *_ in self.table:
            x = getattr(self, f"inception{name}")(x)
            if name == "3b":
                x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
            elif name == "4e":
                x = functional.max_pool2d(x, 2, 2, ceil_mode=True)
            elif name in ("4a", "4d")[: self.heads]:
                found.append(getattr(self, f"aux{len(found) + 1}")(x))
        return (self.fc(x.mean((2, 3))), *found)


class BNInception(nn.Module):
    """Convolutions with biases, each with a batch norm of its name and `_bn`."""

    # Stage, inputs, 1x1, (3x3 reduce, 3x3), (double 3x3 reduce, both), pool projection.
    TABLE = (
        ("3a", 192, 64, (64, 64), (64, 96), 32),
        ("3b", 256, 64, (64, 96), (64, 96), 64),
        ("3c", 320, None, (128, 160), (64, 96), None),
        ("4a", 576, 224, (64, 96), (96, 128), 128),
        ("4b", 576, 192, (96, 128), (96, 128), 128),
        ("4c", 576, 160, (128, 160), (128, 160), 128),
        ("4d", 608, 96, (128, 192), (160, 192), 128),
        ("4e", 608, None, (128, 192), (192, 256), None),
        ("5a", 1056, 352, (192, 320), (160, 224), 128),
        ("5b", 1024, 352, (192, 320), (192, 224), 128),
    )

    def __init__(self, num_classes, in_channels=3):
        super().__init__()
        self._add("conv1_7x7_s2", in_channels, 64, 7, 2)
        self._add("conv2_3x3_reduce", 64, 64, 1)
        self._add("conv2_3x3", 64, 192, 3)
        for stage, inputs, one, three, double, pooled in self.TABLE:
            name, stride = f"inception_{stage}", 1 if one else 2
            if one:
                self._add(f"{name}_1x1", inputs, one, 1)
                self._add(f"{name}_pool_proj", inputs, pooled, 1)
            self._add(f"{name}_3x3_reduce", inputs, three[0], 1)
            self._add(f"{name}_3x3", *three, 3, stride)
            self._add(f"{name}_double_3x3_reduce", inputs, double[0], 1)
            self._add(f"{name}_double_3x3_1", *double, 3)
            self._add(f"{name}_double_3x3_2", double[1], double[1], 3, stride)
        self.last_linear = nn.Linear(1024, num_classes)

    def _add(self, name, inputs, outputs, window, stride=1):
        self.add_module(name, nn.Conv2d(inputs, outputs, window, stride, window // 2))
        self.add_module(f"{name}_bn", nn.BatchNorm2d(outputs))

    def _run(self, x, *names):
        for name in names:
            x = functional.relu(getattr(self, f"{name}_bn")(getattr(self, name)(x)))
        return x

    def forward(self, x):
        x = functional.max_pool2d(self._run(x, "conv1_7x7_s2"), 3, 2, ceil_mode=True)
        x = self._run(x, "conv2_3x3_reduce", "conv2_3x3")
        x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
        for stage, _, one, *_ in self.TABLE:
            name = f"inception_{stage}_"
            three = self._run(x, f"{name}3x3_reduce", f"{name}3x3")
            double = self._run(
                x, f"{name}double_3x3_reduce", f"{name}double_3x3_1", f"{name}double_3x3_2"
            )
            if not one:
                pooled = functional.max_pool2d(x, 3, 2, ceil_mode=True)
                x = torch.cat([three, double, pooled], 1)
                continue
            pool = functional.max_pool2d if stage == "5b" else functional.avg_pool2d
            pooled = self._run(pool(x, 3, 1, 1), f"{name}pool_proj")
            x = torch.cat([self._run(x, f"{name}1x1"), three, double, pooled], 1)
        return self.last_linear(x.mean((2, 3)))


# Inception-v3


def _named(prefix, units):
    return {f"{prefix}_{number}": each for number, each in enumerate(units, 1)}


def v3_a(inputs, pooled):
    modules = {
        "branch1x1": same(inputs, 64, 1),
        **_named("branch5x5", chain(inputs, (48, 1), (64, 5))),
        **_named("branch3x3dbl", chain(inputs, (64, 1), (96, 3), (96, 3))),
        "mean": mean(True),
        "branch_pool": same(inputs, pooled, 1),
    }
    return Mixed(
        modules,
        ["branch1x1"],
        ["branch5x5_1", "branch5x5_2"],
        ["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"],
        ["mean", "branch_pool"],
    )


def v3_reduce_a(inputs):
    double = chain(inputs, (64, 1), (96, 3), (96, 3, 2))
    modules = {
        "branch3x3": unit(inputs, 384, 3, 2),
        **_named("branch3x3dbl", double),
        "max": halve(),
    }
    return Mixed(
        modules, ["branch3x3"], ["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"], ["max"]
    )


def v3_b(inputs, inside):
    row, column = (inside, (1, 7)), (inside, (7, 1))
    once = chain(inputs, (inside, 1), row, (192, (7, 1)))
    twice = chain(inputs, (inside, 1), column, row, column, (192, (1, 7)))
    modules = {
        "branch1x1": same(inputs, 192, 1),
        **_named("branch7x7", once),
        **_named("branch7x7dbl", twice),
        "mean": mean(True),
        "branch_pool": same(inputs, 192, 1),
    }
    return Mixed(
        modules,
        ["branch1x1"],
        [f"branch7x7_{number}" for number in range(1, 4)],
        [f"branch7x7dbl_{number}" for number in range(1, 6)],
        ["mean", "branch_pool"],
    )


def v3_reduce_b(inputs):
    modules = {
        **_named("branch3x3", chain(inputs, (192, 1), (320, 3, 2))),
        **_named("branch7x7x3", chain(inputs, (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2))),
        "max": halve(),
    }
    return Mixed(
        modules,
        ["branch3x3_1", "branch3x3_2"],
        [f"branch7x7x3_{number}" for number in range(1, 5)],
        ["max"],
    )


def v3_c(inputs):
    modules = {
        "branch1x1": same(inputs, 320, 1),
        "branch3x3_1": same(inputs, 384, 1),
        "branch3x3_2a": same(384, 384, (1, 3)),
        "branch3x3_2b": same(384, 384, (3, 1)),
        "branch3x3dbl_1": same(inputs, 448, 1),
        "branch3x3dbl_2": same(448, 384, 3),
        "branch3x3dbl_3a": same(384, 384, (1, 3)),
        "branch3x3dbl_3b": same(384, 384, (3, 1)),
        "mean": mean(True),
        "branch_pool": same(inputs, 192, 1),
    }
    return Mixed(
        modules,
        ["branch1x1"],
        ["branch3x3_1", ("branch3x3_2a", "branch3x3_2b")],
        ["branch3x3dbl_1", "branch3x3dbl_2", ("branch3x3dbl_3a", "branch3x3dbl_3b")],
        ["mean", "branch_pool"],
    )


class InceptionV3Head(nn.Module):
    def __init__(self, inputs, num_classes):
        super().__init__()
        self.conv0 = same(inputs, 128, 1)
        self.conv1 = unit(128, 768, 5)
        self.fc = nn.Linear(768, num_classes)

    def forward(self, x):
        x = self.conv1(self.conv0(functional.avg_pool2d(x, 5, 3)))
        return self.fc(x.mean((2, 3)))


class InceptionV3(nn.Module):
    """Returns the logits, and with a head those of `AuxLogits` behind them."""

    # Block, its outputs of so many inputs, what makes it of its inputs.
    BLOCKS = (
        ("Mixed_5b", lambda inputs: 256, lambda inputs: v3_a(inputs, 32)),
        ("Mixed_5c", lambda inputs: 288, lambda inputs: v3_a(inputs, 64)),
        ("Mixed_5d", lambda inputs: 288, lambda inputs: v3_a(inputs, 64)),
        ("Mixed_6a", lambda inputs: inputs + 480, v3_reduce_a),
        ("Mixed_6b", lambda inputs: 768, lambda inputs: v3_b(inputs, 128)),
        ("Mixed_6c", lambda inputs: 768, lambda inputs: v3_b(inputs, 160)),
        ("Mixed_6d", lambda inputs: 768, lambda inputs: v3_b(inputs, 160)),
        ("Mixed_6e", lambda inputs: 768, lambda inputs: v3_b(inputs, 192)),
        ("Mixed_7a", lambda inputs: inputs + 512, v3_reduce_b),
        ("Mixed_7b", lambda inputs: 2048, v3_c),
        ("Mixed_7c", lambda inputs: 2048, v3_c),
    )

    def __init__(self, num_classes, in_channels=3, head_after=None, only=None):
        """`only`: some of the blocks, without a stem."""
        super().__init__()
        last = in_channels
        if only is None:
            self.Conv2d_1a_3x3 = unit(in_channels, 32, 3, 2)
            self.Conv2d_2a_3x3 = unit(32, 32, 3)
            self.Conv2d_2b_3x3 = same(32, 64, 3)
            self.maxpool1 = halve()
            self.Conv2d_3b_1x1 = same(64, 80, 1)
            self.Conv2d_4a_3x3 = unit(80, 192, 3)
            self.maxpool2 = halve()
            last = 192
        for name, outputs, make in self.BLOCKS:
            if only is None or name in only:
                self.add_module(name, make(last))
                last = outputs(last)
            if name == head_after:
                self.AuxLogits = InceptionV3Head(last, num_classes)
        self.fc = nn.Linear(last, num_classes)

    def forward(self, x):
        found = []
        for name, module in self.named_children():
            if name == "AuxLogits":
                found = [module(x)]
            elif name != "fc":
                x = module(x)
        return (self.fc(x.mean((2, 3))), *found)
