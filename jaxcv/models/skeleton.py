"""The skeleton of a network of cells: what stands before, between and after them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
from flax import nnx

from jaxcv import functional
from jaxcv.blocks import FactorizedReduce, ReLUConvBN
from jaxcv.functional._arguments import positive
from jaxcv.layers import BatchNorm, Conv2d, Linear
from jaxcv.models.network import classified


@dataclass(frozen=True)
class Skeleton:
    """Where a network of cells begins, and how its auxiliary head looks.

    Attributes:
        name: what it is called.
        stem_strides: strides of the convolutions before the cells. One of stride 1 makes a stem
            of 3x3 convolution and batch norm whose output is both inputs of the first cell. Three
            make the mobile stem, whose first input of the first cell is the output of the second
            convolution and twice as large as the other, so the cells start as after a reduction.
        auxiliary_stride: of the auxiliary head's pooling.
        auxiliary_norm: whether the auxiliary head's last convolution has a batch norm.
        auxiliary_window: of that convolution, in pixels.
        auxiliary_offset: how many cells after the second reduction the auxiliary head stands; -1 is
            before it.
        form: of the cells, "darts", "nasnet" or "enas", by ``jaxcv.models.discrete``. With the
            latter two a ReLU follows the last cell, and ``drop_path`` grows linearly with depth.
        bias: whether the classifiers add one.
    """

    name: str
    stem_strides: tuple[int, ...]
    auxiliary_stride: int
    auxiliary_norm: bool
    auxiliary_window: int = 2
    auxiliary_offset: int = 0
    form: str = "darts"
    bias: bool = True

    @property
    def reduced_stem(self) -> bool:
        """Whether the first cell finds its first input twice as large as its second."""
        return len(self.stem_strides) > 1

    def auxiliary_after(self, layers: int) -> int:
        """The number of the cell, of so many, that the auxiliary head reads."""
        return min(max(2 * layers // 3 + self.auxiliary_offset, 0), layers - 1)


CIFAR = Skeleton("cifar", (1,), auxiliary_stride=3, auxiliary_norm=True)
IMAGENET = Skeleton("imagenet", (2, 2, 2), auxiliary_stride=2, auxiliary_norm=False)
# For CIFAR, as in arXiv:1707.07012, for PNASNet and AmoebaNet too, and in arXiv:1802.03268.
NASNET = Skeleton(
    "nasnet",
    (1,),
    auxiliary_stride=3,
    auxiliary_norm=True,
    auxiliary_window=4,
    auxiliary_offset=-1,
    form="nasnet",
)
ENAS = Skeleton(
    "enas",
    (1,),
    auxiliary_stride=3,
    auxiliary_norm=True,
    auxiliary_offset=1,
    form="enas",
    bias=False,
)
SKELETONS: dict[str, Skeleton] = {each.name: each for each in (CIFAR, IMAGENET, NASNET, ENAS)}

_STEM_MULTIPLIER = 3


class Place(NamedTuple):
    """Where a cell stands: its kind and numbers of channels, of both inputs and inside."""

    kind: str
    before: int
    last: int
    channels: int
    after_reduction: bool
    first: bool

    @property
    def stride(self) -> int:
        """Of the edges that leave the cell's inputs."""
        return 2 if self.kind == "reduce" else 1


def places(
    skeleton: Skeleton, channels: int, layers: int, widths: Mapping[str, int]
) -> list[Place]:
    """The places of all cells: reductions, which double the channels, at a third and two thirds.

    Args:
        skeleton: of the network.
        channels: inside the first cell.
        layers: number of cells.
        widths: for each kind of cell, how many times its channels it puts out.

    Raises:
        ValueError: for numbers below 1.
    """
    positive(channels=channels, layers=layers)
    stem = channels if skeleton.reduced_stem else _STEM_MULTIPLIER * channels
    before = last = stem
    reduced = skeleton.reduced_stem
    found = []
    for layer in range(layers):
        kind = "reduce" if layer in (layers // 3, 2 * layers // 3) else "normal"
        channels *= 2 if kind == "reduce" else 1
        found.append(Place(kind, before, last, channels, reduced, layer == 0))
        before, last, reduced = last, widths[kind] * channels, kind == "reduce"
    return found


def least_size(skeleton: Skeleton, *, auxiliary: bool) -> int:
    """The smallest height and width, in pixels, of images that fit a skeleton."""
    shrink = 4 * math.prod(skeleton.stem_strides)
    if not auxiliary:
        return shrink
    # The auxiliary head pools with windows of 5 and then needs a few of them, a stride apart.
    inside = 5 + skeleton.auxiliary_stride * (skeleton.auxiliary_window - 1)
    before = shrink // 2 if skeleton.auxiliary_offset < 0 else shrink
    return max(shrink, (inside - 1) * before + 1)


class Stem(nnx.Module):
    """The layers before the cells.

    Args:
        skeleton: says which.
        inputs: channels of the images.
        channels: of the first cell.
        track: whether batch norms keep running statistics.
        rngs: source of the initial values.
    """

    def __init__(
        self, skeleton: Skeleton, inputs: int, channels: int, *, track: bool = True, rngs: nnx.Rngs
    ):
        if skeleton.reduced_stem:
            widths = [channels // 2, channels, channels]
        else:
            widths = [_STEM_MULTIPLIER * channels]
        self.convolutions: nnx.List[Conv2d] = nnx.List()
        self.norms: nnx.List[BatchNorm] = nnx.List()
        for width, stride in zip(widths, skeleton.stem_strides, strict=True):
            self.convolutions.append(Conv2d(inputs, width, 3, stride=stride, padding=1, rngs=rngs))
            self.norms.append(BatchNorm(width, track=track))
            inputs = width

    def __call__(self, x: jax.Array, *, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """[batch, height, width, inputs] to the first cell's two inputs."""
        outputs: list[jax.Array] = []
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = norm(convolution(jax.nn.relu(x) if outputs else x), train=train)
            outputs.append(x)
        return outputs[-2:][0], outputs[-1]


class CellInputs(nnx.Module):
    """Brings a cell's two inputs to its size and channels: ReLU, 1x1 convolution, batch norm, or
    a factorized reduction of the first one where the last cell halved the size."""

    def __init__(self, place: Place, *, affine: bool = True, track: bool = True, rngs: nnx.Rngs):
        def pointwise(inputs: int) -> ReLUConvBN:
            convolution = Conv2d(inputs, place.channels, 1, rngs=rngs)
            return ReLUConvBN([convolution], place.channels, affine=affine, track=track)

        self.before: nnx.Module
        self.last: nnx.Module
        if place.after_reduction:
            self.before = FactorizedReduce(
                place.before, place.channels, affine=affine, track=track, rngs=rngs
            )
        else:
            self.before = pointwise(place.before)
        self.last = pointwise(place.last)

    def __call__(
        self, before: jax.Array, last: jax.Array, *, train: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        return self.before(before, train=train), self.last(last, train=train)


class AuxiliaryHead(nnx.Module):
    """A second classifier in the middle of a network, for training (arXiv:1409.4842).

    ReLU, 5x5 average pooling, 1x1 convolution to 128, one of 2x2 or 4x4 to 768, each with ReLU and
    (the last one by choice) batch norm, mean over the pixels left, linear.
    """

    def __init__(self, skeleton: Skeleton, inputs: int, num_classes: int, *, rngs: nnx.Rngs):
        self.stride = skeleton.auxiliary_stride
        self.first = Conv2d(inputs, 128, 1, rngs=rngs)
        self.first_norm = BatchNorm(128)
        self.second = Conv2d(128, 768, skeleton.auxiliary_window, rngs=rngs)
        self.second_norm = BatchNorm(768) if skeleton.auxiliary_norm else nnx.data(None)
        self.classifier = Linear(768, num_classes, bias=skeleton.bias, rngs=rngs)

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """[batch, height, width, inputs] to logits [batch, num_classes], float32."""
        x = functional.avg_pool2d(jax.nn.relu(x), 5, stride=self.stride)
        x = jax.nn.relu(self.first_norm(self.first(x), train=train))
        x = self.second(x)
        if self.second_norm is not None:
            x = self.second_norm(x, train=train)
        return dict(classified(jax.nn.relu(x), self.classifier))["logits"]
