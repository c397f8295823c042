"""Receptive fields: which pixels of an image each feature reads (arXiv:1603.07285,
doi:10.23915/distill.00021), and how much each pixel counts (arXiv:1701.04128)."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxcv.analysis._reach import IDENTITY, Reach
from jaxcv.analysis._reading import read
from jaxcv.analysis._rules import Place, Reading
from jaxcv.functional._arguments import IntPair, image_batch, pair

_AXES = ("height", "width")


class ReceptiveField(NamedTuple):
    """The receptive fields of all features of a map, along each axis; sizes and places in pixels.

    Image and feature maps are taken to go on beyond their borders, so a field may begin before
    pixel 0: what lies outside the image is padding.
    """

    vertical: Reach
    horizontal: Reach

    def __repr__(self) -> str:
        return f"ReceptiveField(size={self.size}, jump={self.jump}, centre={self.centre})"

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of a field: from the first to the last pixel that the feature reads.
        After upsampling, where fields of several sizes take turns, the largest one."""
        return self.vertical.size, self.horizontal.size

    @property
    def jump(self) -> tuple[int | Fraction, int | Fraction]:
        """(vertical, horizontal) distance of the centres of neighbouring features: the stride of
        all layers together."""
        return self.vertical.jump, self.horizontal.jump

    @property
    def centre(self) -> tuple[float, float]:
        """(y, x) of the centre of feature (0, 0), where (0, 0) is the middle of the first pixel.
        That of feature (i, j) is ``jump * (i, j)`` away."""
        return self.vertical.centre, self.horizontal.centre

    def box(self, i: int, j: int) -> tuple[range, range]:
        """Rows and columns of the smallest box with all the pixels that feature (i, j) reads."""
        return self.vertical.pixels(i), self.horizontal.pixels(j)


class Window(NamedTuple):
    """What a convolution or a pool slides over its input: an int, or (vertical, horizontal)."""

    size: IntPair
    stride: IntPair = 1
    padding: IntPair = 0
    dilation: IntPair = 1


def chain_receptive_field(windows: Iterable[Window]) -> ReceptiveField:
    """The receptive field after a chain of convolutions and pools, in closed form.

    From size r, jump j and start a (the first pixel that feature 0 reads) to those after a window
    of size F with stride s, padding p and dilation d: ``r + d (F - 1) j``, ``j s``, ``a - p j``;
    the centre is ``a + (r - 1) / 2``. The image has r = j = 1 and a = 0 (arXiv:1603.07285).

    Args:
        windows: in the order of the layers; bare tuples do too.

    Raises:
        ValueError: for sizes, strides and dilations below 1, and paddings below 0.
    """
    reach = [IDENTITY, IDENTITY]
    for each in windows:
        window = Window(*each)
        size, stride = pair("size", window.size), pair("stride", window.stride)
        padding = pair("padding", window.padding, least=0)
        dilation = pair("dilation", window.dilation)
        for axis in range(2):
            reach[axis] = reach[axis].window(
                size[axis], stride[axis], -padding[axis], dilation[axis]
            )
    return ReceptiveField(*reach)


def receptive_field(function: Callable[[Any], Any], x: Any) -> Any:
    """The receptive field of the features that a function makes of images, found by tracing it.

    Nothing is computed but indices and weights that upsample. A box never leaves out a pixel that
    is read. It is the smallest for windows of any kind, dilated or transposed, for upsampling away
    from the border, and for branches that are added, multiplied or concatenated. Where positions
    are mixed in no such way, as in a mean over the image, in attention or in a flattened map, a
    feature is taken to read all that is mixed.

    Example: ``receptive_field(model.features, jnp.zeros((1, 224, 224, 3))).size``.

    Args:
        function: of images; what it returns is one or more (any pytree of) feature maps [batch,
            height', width', channels], or vectors [batch, channels].
        x: images [batch, height, width, C], concrete or abstract (``jax.ShapeDtypeStruct``).

    Returns:
        A ``ReceptiveField`` for each feature map.

    Raises:
        ValueError: for an operation of which is not known what it reads, such as one with computed
            indices; for branches of different jumps; for results that are no feature maps.
    """
    image_batch("x", x)
    program, results = jax.make_jaxpr(function, return_shape=True)(x)
    image = tuple(Place(dim, x.shape[dim], IDENTITY) for dim in (1, 2))
    shapes, structure = jax.tree.flatten(results)
    fields = []
    for shape, value in zip(shapes, read(program, [image]), strict=True):
        readings = value if isinstance(value, tuple) else (range(0), range(0))
        reaches = [_reach(reading, axis, shape.shape) for axis, reading in enumerate(readings)]
        fields.append(ReceptiveField(*reaches))
    return jax.tree.unflatten(structure, fields)


def _reach(reading: Reading, axis: int, shape: tuple[int, ...]) -> Reach:
    if isinstance(reading, range):
        return Reach(0, (reading,))
    if len(shape) == 4 and reading[:2] == (1 + axis, shape[1 + axis]):
        return reading.reach
    raise ValueError(
        f"function returns {shape} with the {_AXES[axis]} in axis {reading.dim}; allowed are "
        "[batch, height, width, channels] and what reads the whole image"
    )


def effective_receptive_field(
    function: Callable[[jax.Array], jax.Array], x: jax.Array, position: tuple[int, int]
) -> jax.Array:
    """How much each pixel counts for the features at one position (arXiv:1701.04128): the absolute
    derivative of their sum, summed over the image's channels, mean over the batch.

    Args:
        function: of images; returns a feature map [batch, height', width', channels].
        x: images [batch, height, width, C].
        position: (i, j) of the features, which may be traced.

    Returns:
        [height, width].

    Raises:
        ValueError: for a position outside the map.
    """
    features = jax.eval_shape(function, x).shape[1:3]
    if any(
        not isinstance(at, jax.core.Tracer) and not 0 <= at < length
        for at, length in zip(position, features, strict=True)
    ):
        raise ValueError(f"position={position!r}; allowed is one within features={features!r}")
    i, j = position
    gradient = jax.grad(lambda x: function(x)[:, i, j].sum())(x)
    return jnp.abs(gradient).sum(-1).mean(0)
