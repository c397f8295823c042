"""The network of a macro architecture against PyTorch, in float64; wrong architectures."""

import functools

import pytest
from flax import nnx

from jaxcv.models.macro import Macro, MacroNetwork

torch = pytest.importorskip("torch")

from torch_parity import CLASSES, compare  # noqa: E402

CHANNELS = 2
# Skips of the stem and of layers over one and two reductions, and a layer without any.
MACRO = Macro(
    ("nor_conv_3x3", "avg_pool_3x3", "nor_conv_5x5", "max_pool_3x3"),
    ((), (0,), (), (1, 2)),
)


class Block(torch.nn.Module):
    def __init__(self, inputs, outputs, window):
        super().__init__()
        convolution = torch.nn.Conv2d(inputs, outputs, window, padding=window // 2, bias=False)
        self.convolutions = torch.nn.ModuleList([convolution])
        self.norm = torch.nn.BatchNorm2d(outputs)

    def forward(self, x):
        return self.norm(self.convolutions[0](torch.relu(x)))


class Halve(torch.nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.even = torch.nn.Conv2d(inputs, inputs, 1, stride=2, bias=False)
        self.odd = torch.nn.Conv2d(inputs, inputs, 1, stride=2, bias=False)
        self.norm = torch.nn.BatchNorm2d(2 * inputs)

    def forward(self, x):
        x = torch.relu(x)
        return self.norm(torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], 1))


class TorchNetwork(torch.nn.Module):
    """``MACRO``, written out: of the four layers the first and the second end a third."""

    def __init__(self):
        super().__init__()
        c, d, e = CHANNELS, 2 * CHANNELS, 4 * CHANNELS
        self.stem = torch.nn.Conv2d(3, c, 3, padding=1, bias=False)
        self.stem_norm = torch.nn.BatchNorm2d(c)
        self.entries = torch.nn.ModuleList(Block(n, n, 1) for n in (c, d, e, e))
        self.operations = torch.nn.ModuleList(
            [
                Block(c, c, 3),
                torch.nn.AvgPool2d(3, 1, 1, count_include_pad=False),
                Block(e, e, 5),
                torch.nn.MaxPool2d(3, 1, 1),
            ]
        )
        self.joins = torch.nn.ModuleList([Block(2 * d, d, 1), Block(e, e, 1), Block(3 * e, e, 1)])
        self.reductions = torch.nn.ModuleList(
            [
                torch.nn.ModuleList([Halve(c), Halve(c)]),
                torch.nn.ModuleList([Halve(d), Halve(d)]),
            ]
        )
        self.classifier = torch.nn.Linear(e, CLASSES)

    def forward(self, x):
        def layer(number, x, *skips):
            y = self.operations[number](self.entries[number](x))
            return self.joins[number - 1](torch.cat([*skips, y], 1)) if number else y

        stem = self.stem_norm(self.stem(x))
        one = layer(0, stem)
        stem, one = (f(x) for f, x in zip(self.reductions[0], (stem, one), strict=True))
        two = layer(1, one, stem)
        one, two = (f(x) for f, x in zip(self.reductions[1], (one, two), strict=True))
        three = layer(2, two)
        return self.classifier(layer(3, three, one, two).mean((2, 3)))


def test_network():
    make = functools.partial(MacroNetwork, MACRO, CHANNELS)
    compare(make, TorchNetwork(), (), (3, 8, 12, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"operations": MACRO.operations[:3]}, "macro has 3 operations and 4 skips"),
        ({"operations": ("nor_conv_3x3",) * 2, "skips": ((), ())}, "at least three layers"),
        ({"skips": ((), (1,), (), ())}, r"macro.skips\[1\]=\(1,\); .* distinct states below 1"),
        ({"skips": ((), (), (0, 0), ())}, "distinct states below 2"),
        ({"operations": (*MACRO.operations[:3], "conv")}, "operation='conv'; allowed are"),
    ],
)
def test_wrong_architectures_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        MacroNetwork(MACRO._replace(**change), CHANNELS, CLASSES, rngs=nnx.Rngs(0))
