"""The network of a motif against PyTorch, in float64; wrong motifs."""

import functools

import pytest
from flax import nnx

from jaxcv.models.motif import Motif, MotifNetwork

torch = pytest.importorskip("torch")

from torch_parity import CLASSES, compare  # noqa: E402

CHANNELS = 2
INNER = Motif(3, (("conv_1x1", 0, 1), ("avg_pool_3x3", 0, 2), ("depthwise_conv_3x3", 1, 2)))
NOTHING = Motif(3, (("conv_1x1", 0, 1),))
# Besides edges on paths, some that nothing comes out of, or that nothing enters.
MOTIF = Motif(
    5,
    (
        (INNER, 0, 1),
        ("max_pool_3x3", 0, 2),
        (NOTHING, 1, 2),
        (NOTHING, 0, 3),
        ("conv_1x1", 1, 3),
        ("identity", 1, 4),
        ("sep_conv_3x3", 2, 4),
        (NOTHING, 3, 4),
    ),
)


class Conv(torch.nn.Module):
    def __init__(self, inputs, outputs, window, **options):
        super().__init__()
        self.convolution = torch.nn.Conv2d(
            inputs, outputs, window, padding=window // 2, bias=False, **options
        )
        self.norm = torch.nn.BatchNorm2d(outputs)

    def forward(self, x):
        return torch.relu(self.norm(self.convolution(x)))


class Separable(torch.nn.Module):
    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.depthwise = torch.nn.Conv2d(
            inputs, inputs, 3, stride=stride, padding=1, groups=inputs, bias=False
        )
        self.pointwise = Conv(inputs, outputs, 1)

    def forward(self, x):
        return self.pointwise(self.depthwise(x))


class TorchInner(torch.nn.Module):
    """``INNER``, written out."""

    def __init__(self, c):
        super().__init__()
        pool = torch.nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        self.operations = torch.nn.ModuleList([Conv(c, c, 1), pool, Conv(c, c, 3, groups=c)])
        self.merges = torch.nn.ModuleList([Conv(2 * c, c, 1)])

    def forward(self, x):
        first, second, third = self.operations
        return self.merges[0](torch.cat([second(x), third(first(x))], 1))


class TorchCell(torch.nn.Module):
    """``MOTIF``, written out."""

    def __init__(self, c):
        super().__init__()
        pool = torch.nn.MaxPool2d(3, 1, 1)
        self.operations = torch.nn.ModuleList(
            [TorchInner(c), pool, torch.nn.Identity(), Separable(c, c)]
        )
        self.merges = torch.nn.ModuleList([Conv(2 * c, c, 1)])

    def forward(self, x):
        inner, pool, _, separable = self.operations
        return self.merges[0](torch.cat([inner(x), separable(pool(x))], 1))


class TorchNetwork(torch.nn.Module):
    def __init__(self):
        super().__init__()
        c, d, e = CHANNELS, 2 * CHANNELS, 4 * CHANNELS
        self.stem = Conv(3, c, 3)
        self.cells = torch.nn.ModuleList([TorchCell(c), TorchCell(d), TorchCell(e)])
        self.convolutions = torch.nn.ModuleList(
            [Separable(c, d, 2), Separable(d, e, 2), Separable(e, e)]
        )
        self.classifier = torch.nn.Linear(e, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        for cell, convolution in zip(self.cells, self.convolutions, strict=True):
            x = convolution(cell(x))
        return self.classifier(x.mean((2, 3)))


def test_network():
    compare(functools.partial(MotifNetwork, MOTIF, CHANNELS), TorchNetwork(), (), (3, 8, 12, 3))


@pytest.mark.parametrize(
    ("motif", "message"),
    [
        (NOTHING, r"motif=Motif\(.*; allowed are those with a path to the output"),
        (Motif(2, (("conv", 0, 1),)), "operation='conv'; allowed are identity, conv_1x1"),
    ],
)
def test_wrong_motifs_are_refused(motif, message):
    with pytest.raises(ValueError, match=message):
        MotifNetwork(motif, CHANNELS, CLASSES, rngs=nnx.Rngs(0))
