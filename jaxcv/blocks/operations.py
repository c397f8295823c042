"""The operations of architecture search, by name (arXiv:1707.07012, arXiv:1806.09055).

An operation maps [batch, height, width, C] to [batch, ceil(height / s), ceil(width / s), C] for
stride s, and is called as ``operation(x, train=...)``; ``Noise`` also takes a key. A new one is
added by ``register_operation``.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv import functional
from jaxcv.functional._arguments import Padding, positive
from jaxcv.layers import BatchNorm, Conv2d

Operation = Callable[..., jax.Array]


class ReLUConvBN(nnx.Module):
    """ReLU, then one or more convolutions, then batch norm.

    Args:
        convolutions: applied in turn.
        channels: what the last one puts out.
        affine, track: of the batch norm.
    """

    def __init__(
        self,
        convolutions: Iterable[Conv2d],
        channels: int,
        *,
        affine: bool = True,
        track: bool = True,
    ):
        self.convolutions = nnx.List(convolutions)
        self.norm = BatchNorm(channels, affine=affine, track=track)

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        x = jax.nn.relu(x)
        for convolution in self.convolutions:
            x = convolution(x)
        return self.norm(x, train=train)


class FactorizedReduce(nnx.Module):
    """Halves height and width and sees every pixel: ReLU, two 1x1 convolutions of stride 2, the
    second one on the input shifted by a pixel in both axes, concatenated, batch norm.

    An odd size is rounded up; the shifted half then reads zeros beyond the border.

    Args:
        inputs, outputs: numbers of channels.
        activate: whether it starts with the ReLU.
        affine, track: of the batch norm.
        rngs: source of the initial values.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        activate: bool = True,
        affine: bool = True,
        track: bool = True,
        rngs: nnx.Rngs,
    ):
        if outputs < 2:
            raise ValueError(f"outputs={outputs!r}; allowed is at least 2, one for each half")
        half = outputs // 2
        self.even = Conv2d(inputs, half, 1, stride=2, rngs=rngs)
        self.odd = Conv2d(inputs, outputs - half, 1, stride=2, rngs=rngs)
        self.norm = BatchNorm(outputs, affine=affine, track=track)
        self.activate = activate

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        x = jax.nn.relu(x) if self.activate else x
        shifted = jnp.pad(x[:, 1:, 1:], ((0, 0), (0, 1), (0, 1), (0, 0)))
        y = jnp.concatenate([self.even(x), self.odd(shifted)], -1)
        return self.norm(y, train=train)


class Sequence(nnx.Module):
    """Operations one after the other."""

    def __init__(self, operations: Iterable[nnx.Module]):
        self.operations = nnx.List(operations)

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        for operation in self.operations:
            x = operation(x, train=train)
        return x


class Pool(nnx.Module):
    """Pooling, padded by half its window unless otherwise told. The mean does not count the
    padding."""

    def __init__(self, kind: str, stride: int, window: int = 3, padding: Padding | None = None):
        self.kind, self.stride, self.window = kind, stride, window
        self.padding = window // 2 if padding is None else padding

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        window, stride, padding = self.window, self.stride, self.padding
        if self.kind == "max":
            return functional.max_pool2d(x, window, stride=stride, padding=padding)
        return functional.avg_pool2d(
            x, window, stride=stride, padding=padding, count_include_pad=False
        )


class Identity(nnx.Module):
    """The input itself."""

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        return x


class Noise(nnx.Module):
    """Standard normal noise of the input's shape, of half the size for stride 2, whatever the input
    (arXiv:1909.09656); without a key its mean, zeros."""

    def __init__(self, stride: int):
        self.stride = stride

    def __call__(
        self, x: jax.Array, *, train: bool = False, key: jax.Array | None = None
    ) -> jax.Array:
        shape = x[:, :: self.stride, :: self.stride].shape
        return jnp.zeros(shape, x.dtype) if key is None else jax.random.normal(key, shape, x.dtype)


class Zero(nnx.Module):
    """Zeros, of half the size for stride 2: no connection."""

    def __init__(self, stride: int):
        self.stride = stride

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        return jnp.zeros_like(x[:, :: self.stride, :: self.stride])


def _separable(
    window: int,
    channels: int,
    stride: int,
    dilation: int,
    *,
    affine: bool,
    track: bool,
    rngs: nnx.Rngs,
) -> ReLUConvBN:
    depthwise = Conv2d(
        channels,
        channels,
        window,
        stride=stride,
        padding=dilation * (window - 1) // 2,
        dilation=dilation,
        groups=channels,
        rngs=rngs,
    )
    pointwise = Conv2d(channels, channels, 1, rngs=rngs)
    return ReLUConvBN([depthwise, pointwise], channels, affine=affine, track=track)


def _sep_conv(window: int, dilation: int = 1) -> Callable[..., nnx.Module]:
    def create(
        channels: int, stride: int, *, affine: bool, track: bool, rngs: nnx.Rngs
    ) -> nnx.Module:
        return Sequence(
            _separable(window, channels, s, dilation, affine=affine, track=track, rngs=rngs)
            for s in (stride, 1)
        )

    return create


def _dil_conv(window: int) -> Callable[..., nnx.Module]:
    def create(
        channels: int, stride: int, *, affine: bool, track: bool, rngs: nnx.Rngs
    ) -> nnx.Module:
        return _separable(window, channels, stride, 2, affine=affine, track=track, rngs=rngs)

    return create


def _nor_conv(window: int) -> Callable[..., nnx.Module]:
    def create(
        channels: int, stride: int, *, affine: bool, track: bool, rngs: nnx.Rngs
    ) -> nnx.Module:
        convolution = Conv2d(
            channels, channels, window, stride=stride, padding=window // 2, rngs=rngs
        )
        return ReLUConvBN([convolution], channels, affine=affine, track=track)

    return create


def _factorized_conv(n: int) -> Callable[..., nnx.Module]:
    def create(
        channels: int, stride: int, *, affine: bool, track: bool, rngs: nnx.Rngs
    ) -> nnx.Module:
        half = n // 2
        row = Conv2d(channels, channels, (1, n), stride=(1, stride), padding=(0, half), rngs=rngs)
        column = Conv2d(
            channels, channels, (n, 1), stride=(stride, 1), padding=(half, 0), rngs=rngs
        )
        return ReLUConvBN([row, column], channels, affine=affine, track=track)

    return create


def _pool(kind: str, window: int = 3) -> Callable[..., nnx.Module]:
    def create(
        channels: int, stride: int, *, affine: bool, track: bool, rngs: nnx.Rngs
    ) -> nnx.Module:
        # An even window with stride 1 keeps the size only if the padding is not symmetric.
        return Pool(kind, stride, window, None if window % 2 else "SAME")

    return create


def _skip_connect(
    channels: int, stride: int, *, affine: bool, track: bool, rngs: nnx.Rngs
) -> nnx.Module:
    if stride == 1:
        return Identity()
    return FactorizedReduce(channels, channels, affine=affine, track=track, rngs=rngs)


def _none(channels: int, stride: int, *, affine: bool, track: bool, rngs: nnx.Rngs) -> nnx.Module:
    return Zero(stride)


def _noise(channels: int, stride: int, *, affine: bool, track: bool, rngs: nnx.Rngs) -> nnx.Module:
    return Noise(stride)


OPERATIONS: dict[str, Callable[..., nnx.Module]] = {
    "none": _none,
    "max_pool_2x2": _pool("max", 2),
    "max_pool_3x3": _pool("max"),
    "max_pool_5x5": _pool("max", 5),
    "max_pool_7x7": _pool("max", 7),
    "avg_pool_3x3": _pool("avg"),
    "skip_connect": _skip_connect,
    "sep_conv_3x3": _sep_conv(3),
    "sep_conv_5x5": _sep_conv(5),
    "sep_conv_7x7": _sep_conv(7),
    "dil_conv_3x3": _dil_conv(3),
    "dil_conv_5x5": _dil_conv(5),
    "dil_sep_conv_5x5": _sep_conv(5, 2),
    "nor_conv_1x1": _nor_conv(1),
    "nor_conv_3x3": _nor_conv(3),
    "nor_conv_5x5": _nor_conv(5),
    "conv_3x1_1x3": _factorized_conv(3),
    "conv_7x1_1x7": _factorized_conv(7),
    "noise": _noise,
}


# What a node of a recurrent cell may apply.
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "identity": lambda x: x,
}


def check_operation(name: str, known: Mapping[str, Any] = OPERATIONS) -> None:
    """Raises a ValueError with the nearest names if ``name`` is none of the ``known`` ones."""
    if not isinstance(name, str) or name not in known:
        near = difflib.get_close_matches(str(name), known, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"operation={name!r}; allowed are {', '.join(known)}{hint}")


def register_operation(name: str, factory: Callable[..., nnx.Module]) -> None:
    """Adds an operation to those that spaces, genotypes and networks know by name, in this process.

    Args:
        name: a new one, of letters, digits and underscores.
        factory: called as ``factory(channels, stride, affine=..., track=..., rngs=...)``; these are
            the arguments of ``create_operation``, and what it returns is called as an operation.

    Raises:
        ValueError: for a name that is taken, or of other signs.
    """
    if not re.fullmatch(r"\w+", name):
        raise ValueError(f"name={name!r}; allowed are letters, digits and underscores")
    if name in OPERATIONS:
        raise ValueError(f"name={name!r}; allowed are names that no operation has")
    OPERATIONS[name] = factory


def create_operation(
    name: str,
    channels: int,
    stride: int = 1,
    *,
    affine: bool = True,
    track: bool = True,
    rngs: nnx.Rngs,
) -> nnx.Module:
    """The operation called ``name``.

    Args:
        name: a key of ``OPERATIONS``.
        channels: of its input and its output.
        stride: 1 or 2.
        affine, track: whether its batch norms have a scale and an offset, and running statistics.
        rngs: source of its initial values.

    Raises:
        ValueError: for an unknown name (with the nearest ones), channels below 1, another stride.
    """
    check_operation(name)
    positive(channels=channels)
    if stride not in (1, 2):
        raise ValueError(f"stride={stride!r}; allowed are 1 and 2")
    return OPERATIONS[name](channels, stride, affine=affine, track=track, rngs=rngs)
