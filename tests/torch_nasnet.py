"""Independent PyTorch oracle for the parity tests: the networks of NASNet and ENAS for CIFAR, NCHW.

Written from arXiv:1707.07012 and arXiv:1802.03268, and from what their authors' TensorFlow code
computes, in plain PyTorch; shares no code with `jaxcv`. Parameters are called as there.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

Edges = Sequence[tuple[str, int]]


def same(x: Tensor, window: Sequence[int], stride: Sequence[int], dilation: int, fill: float):
    """Padding of TensorFlow's "SAME": the larger half at the bottom and on the right."""
    pads: list[int] = []
    for size, side, step in reversed(list(zip(x.shape[2:], window, stride, strict=True))):
        total = max(0, (-(-size // step) - 1) * step + (side - 1) * dilation + 1 - size)
        pads += [total // 2, total - total // 2]
    return functional.pad(x, pads, value=fill)


class Layer(nn.Module):
    """ReLU, convolutions, batch norm."""

    def __init__(self, *convolutions: nn.Conv2d) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(convolutions)
        self.norm = nn.BatchNorm2d(convolutions[-1].out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(x)
        for each in self.convolutions:
            x = each(same(x, each.kernel_size, each.stride, each.dilation[0], 0.0))
        return self.norm(x)


class Linear(nn.Module):
    """Convolution and batch norm."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.convolution(x))


class Halve(nn.Module):
    """Every second pixel and every second one beside them, each through a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, relu: bool) -> None:
        super().__init__()
        self.relu = relu
        self.even = nn.Conv2d(inputs, outputs // 2, 1, bias=False)
        self.odd = nn.Conv2d(inputs, outputs // 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(x) if self.relu else x
        shifted = functional.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        halves = [self.even(x[:, :, ::2, ::2]), self.odd(shifted[:, :, ::2, ::2])]
        return self.norm(torch.cat(halves, dim=1))


class InTurn(nn.Module):
    def __init__(self, *operations: nn.Module) -> None:
        super().__init__()
        self.operations = nn.ModuleList(operations)

    def forward(self, x: Tensor) -> Tensor:
        for operation in self.operations:
            x = operation(x)
        return x


class Pool(nn.Module):
    def __init__(self, kind: str, window: int, stride: int) -> None:
        super().__init__()
        self.kind, self.window, self.stride = kind, (window, window), (stride, stride)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "max":
            padded = same(x, self.window, self.stride, 1, -torch.inf)
            return functional.max_pool2d(padded, self.window, self.stride)
        padded, inside = (
            same(y, self.window, self.stride, 1, 0.0) for y in (x, torch.ones_like(x))
        )
        total, pixels = (
            functional.avg_pool2d(y, self.window, self.stride) for y in (padded, inside)
        )
        return total / pixels


def convolution(inputs, outputs, window, stride=(1, 1), **more) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, window, stride, bias=False, **more)


def operation(name: str, inputs: int, channels: int, stride: int, enas: bool) -> nn.Module:
    both = (stride, stride)
    match name.split("_"):
        case ["max" | "avg" as kind, "pool", size]:
            pool = Pool(kind, int(size[0]), stride)
            return pool if inputs == channels else InTurn(pool, Linear(inputs, channels))
        case ["skip", "connect"] if enas and stride == 2:
            return Halve(inputs, channels, relu=False)
        case ["skip", "connect"] if stride == 1 and inputs == channels:
            return nn.Identity()
        case ["skip", "connect"] | ["nor", "conv", "1x1"]:
            return Layer(convolution(inputs, channels, 1, both))
        case ["sep", "conv", size] | ["dil", "sep", "conv", size]:
            window, dilation = int(size[0]), 2 if name.startswith("dil") else 1
            return InTurn(
                *(
                    Layer(
                        convolution(width, width, window, step, groups=width, dilation=dilation),
                        convolution(width, channels, 1),
                    )
                    for width, step in ((inputs, both), (channels, (1, 1)))
                )
            )
        case ["nor", "conv", "3x3"]:
            inner = channels // 4
            between = [convolution(inner, inner, 3, both)]
        case ["conv", "7x1", "1x7"]:
            inner = channels // 4
            between = [
                convolution(inner, inner, (1, 7), (1, stride)),
                convolution(inner, inner, (7, 1), (stride, 1)),
            ]
        case _:
            raise ValueError(f"unknown operation {name!r}")
    return InTurn(
        Layer(convolution(inputs, inner, 1)),
        *map(Layer, between),
        Layer(convolution(inner, channels, 1)),
    )


class Inputs(nn.Module):
    """What the two inputs go through; the first cell of NASNet reads the stem as it is."""

    def __init__(
        self, before: int, last: int, channels: int, halve: bool, raw: bool, enas: bool
    ) -> None:
        super().__init__()
        self.before: nn.Module = Layer(convolution(before, channels, 1))
        if raw:
            self.before = nn.Identity()
        elif halve:
            self.before = Halve(before, channels, relu=True)
        self.last: nn.Module = Layer(convolution(last, channels, 1))
        if enas:
            self.last = InTurn(self.last, Layer(convolution(channels, channels, 1)))


class Cell(nn.Module):
    """Two edges a node."""

    def __init__(
        self,
        inputs: Inputs,
        width: int,
        channels: int,
        stride: int,
        edges: Edges,
        output: Sequence[int],
        enas: bool,
    ) -> None:
        super().__init__()
        self.inputs, self.output = inputs, output
        self.sources = [source for _, source in edges]
        widths = {0: width}
        self.edges = nn.ModuleList(
            operation(
                name,
                widths.get(source, channels),
                channels,
                stride if source < 2 else 1,
                enas,
            )
            for name, source in edges
        )
        self.loose = nn.ModuleList()
        for state in output:
            if state < 2:
                own = widths.get(state, channels)
                if stride == 2:
                    self.loose.append(Halve(own, channels, relu=False))
                else:
                    self.loose.append(nn.Identity() if own == channels else Linear(own, channels))

    def forward(self, before: Tensor, last: Tensor) -> Tensor:
        states = [self.inputs.before(before), self.inputs.last(last)]
        for at in range(0, len(self.edges), 2):
            left, right = (self.edges[i](states[self.sources[i]]) for i in (at, at + 1))
            states.append(left + right)
        ends = iter(self.loose)
        parts = [next(ends)(states[s]) if s < 2 else states[s] for s in self.output]
        return torch.cat(parts, dim=1)


class Stem(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList([nn.Conv2d(3, width, 3, padding=1, bias=False)])
        self.norms = nn.ModuleList([nn.BatchNorm2d(width)])

    def forward(self, x: Tensor) -> Tensor:
        return self.norms[0](self.convolutions[0](x))


class Auxiliary(nn.Module):
    def __init__(self, inputs: int, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, 128, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(128)
        self.second = nn.Conv2d(128, 768, 4, bias=False)
        self.second_norm = nn.BatchNorm2d(768)
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.avg_pool2d(functional.relu(x), 5, 3)
        x = functional.relu(self.first_norm(self.first(x)))
        x = functional.relu(self.second_norm(self.second(x)))
        return self.classifier(x.flatten(1))


class Network(nn.Module):
    """`cells` maps "normal" and "reduce" to ([(operation, input), ...] two per node, output)."""

    def __init__(
        self,
        cells: dict[str, tuple[Edges, Sequence[int]]],
        channels: int,
        layers: int,
        num_classes: int,
        *,
        enas: bool = False,
        auxiliary: bool = False,
    ) -> None:
        super().__init__()
        before = last = 3 * channels
        self.stem = Stem(last)
        self.cells = nn.ModuleList()
        halve = False
        self.auxiliary, self.auxiliary_after = None, 2 * layers // 3 - 1
        for index in range(layers):
            reduces = index in (layers // 3, 2 * layers // 3)
            channels *= 2 if reduces else 1
            raw = index == 0 and not enas
            edges, output = cells["reduce" if reduces else "normal"]
            self.cells.append(
                Cell(
                    Inputs(before, last, channels, halve, raw, enas),
                    before if raw else channels,
                    channels,
                    2 if reduces else 1,
                    edges,
                    output,
                    enas,
                )
            )
            before, last, halve = last, len(output) * channels, reduces
            if auxiliary and index == self.auxiliary_after:
                self.auxiliary = Auxiliary(last, num_classes)
        self.classifier = nn.Linear(last, num_classes, bias=not enas)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        auxiliary = None
        before = last = self.stem(x)
        for index, cell in enumerate(self.cells):
            before, last = last, cell(before, last)
            if self.auxiliary is not None and index == self.auxiliary_after:
                auxiliary = self.auxiliary(last)
        return self.classifier(functional.relu(last).mean(dim=(2, 3))), auxiliary
