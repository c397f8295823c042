"""Inception blocks: branches on the same images, side by side, concatenated along the channels.

A branch is written as its steps, as in ``"pool3x3 1x1"`` or ``"1x1 1x3|3x1"``:

- ``3x3`` is a convolution with a window of (height)x(width), with batch norm and ReLU; ``max3x3``
  is max pooling; ``pool3x3`` is pooling of the kind that the block is made with;
- then what happens at the border. Nothing: padding keeps the size. ``V``: only whole windows
  count, as in the figures of arXiv:1602.07261. ``C``, of max pooling: what is left over at the
  end has a window too, the ``ceil_mode`` of ``functional.max_pool2d``;
- then ``/2`` for a stride of 2;
- ``1x3|3x1`` are two steps side by side, each with the given channels.

A block maps [batch, height, width, inputs] to [batch, height', width', outputs], and is called as
``block(x, train=...)``.
"""

import functools
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv import functional
from jaxcv.blocks import operations
from jaxcv.blocks.convolution import ConvNorm
from jaxcv.functional._arguments import positive

_DEVIATION = 0.87962566103423978  # of a standard normal without what is beyond two


@functools.partial(jax.jit, static_argnums=1)
def he_truncated(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """A kernel [F_height, F_width, inputs, outputs] of normal entries, none beyond two standard
    deviations, with variance ``2 / (F_height F_width inputs)`` (arXiv:1502.01852)."""
    # Drawn flat: it compiles three times as quickly.
    flat = jax.random.truncated_normal(key, -2.0, 2.0, (math.prod(shape),))
    return flat.reshape(shape) * (jnp.sqrt(2 / math.prod(shape[:-1])) / _DEVIATION)


Convolution = Callable[..., ConvNorm]
CONVOLUTION: Convolution = functools.partial(ConvNorm, epsilon=1e-3, initialize=he_truncated)
"""As in the published networks but the one of batch norm's paper: with an epsilon of 0.001, and
kernels that begin as a truncated normal with variance ``2 / fan-in``."""

POOLS = ("max", "mean", "inner_mean")
_POOLING = ("max", "pool")
_STEP = re.compile(rf"({'|'.join(_POOLING)})?(\d+)x(\d+)([VC])?(?:/(\d+))?")


class Pooling(nnx.Module):
    """A step of pooling.

    Args:
        inputs: channels of the images.
        kind: "max", "mean", which counts the zeros of its padding, or "inner_mean", which does
            not.
        window: (height, width) in pixels.
        stride: in pixels.
        border: "", "V" or "C", as in the notation of this module.
    """

    def __init__(self, inputs: int, kind: str, window: tuple[int, int], stride: int, border: str):
        self.outputs = inputs
        self.kind, self.window, self.stride, self.border = kind, window, stride, border

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        if self.border == "C":
            return functional.max_pool2d(x, self.window, stride=self.stride, ceil_mode=True)
        padding = "VALID" if self.border == "V" else "SAME"
        if self.kind == "max":
            return functional.max_pool2d(x, self.window, stride=self.stride, padding=padding)
        return functional.avg_pool2d(
            x,
            self.window,
            stride=self.stride,
            padding=padding,
            count_include_pad=self.kind == "mean",
        )


class Steps(operations.Sequence):
    """Blocks one after the other."""

    def __init__(self, steps: Iterable[Any]):
        steps = list(steps)
        super().__init__(steps)
        self.outputs = steps[-1].outputs


class Parallel(nnx.Module):
    """Blocks side by side, concatenated along the channels."""

    def __init__(self, branches: Iterable[Any]):
        self.branches = nnx.List(branches)
        self.outputs = sum(branch.outputs for branch in self.branches)

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        return jnp.concatenate([branch(x, train=train) for branch in self.branches], -1)


def create_steps(
    inputs: int,
    text: str,
    widths: Sequence[int],
    *,
    pool: str = "mean",
    convolution: Convolution = CONVOLUTION,
    rngs: nnx.Rngs,
) -> Any:
    """What the notation of this module says: a block, with ``outputs`` channels.

    Args:
        inputs: channels of the images.
        text: steps, separated by spaces.
        widths: channels that each convolution puts out.
        pool: what "pool" stands for, one of ``POOLS``.
        convolution: makes one, as ``ConvNorm``.
        rngs: source of the initial values.

    Raises:
        ValueError: for another notation, and widths that do not fit it.
    """
    if pool not in POOLS:
        raise ValueError(f"pool={pool!r}; allowed are {', '.join(POOLS)}")
    steps: list[Any] = []
    left = list(widths)
    if len(left) != sum(not step.startswith(_POOLING) for step in text.split()):
        raise ValueError(
            f"widths={tuple(widths)!r}; allowed is one for each convolution of {text!r}"
        )
    for step in text.split():
        width = 0 if step.startswith(_POOLING) else left.pop(0)
        ways = [
            _create_step(inputs, way, width, pool, convolution, rngs) for way in step.split("|")
        ]
        steps.append(ways[0] if len(ways) == 1 else Parallel(ways))
        inputs = steps[-1].outputs
    return steps[0] if len(steps) == 1 else Steps(steps)


def _create_step(
    inputs: int, text: str, width: int, pool: str, convolution: Convolution, rngs: nnx.Rngs
) -> Any:
    found = _STEP.fullmatch(text)
    if not found or (found[4] == "C" and found[1] != "max"):
        raise ValueError(f"step={text!r}; allowed are steps such as 3x3, 1x7, 3x3V/2 and max3x3")
    window, stride = (int(found[2]), int(found[3])), int(found[5] or 1)
    if found[1]:
        kind = "max" if found[1] == "max" else pool
        return Pooling(inputs, kind, window, stride, found[4] or "")
    padding = (0, 0) if found[4] else ((window[0] - 1) // 2, (window[1] - 1) // 2)
    return convolution(inputs, width, window, stride=stride, padding=padding, rngs=rngs)


class Branches(Parallel):
    """A block whose branches a subclass writes as its ``template``, in this module's notation.

    Args:
        inputs: channels of the images.
        widths: for each branch, the channels that each of its convolutions puts out.
        pool: what "pool" stands for in the template: "mean", which counts the zeros of its
            padding, "inner_mean", which does not, or "max".
        convolution: makes one, as ``ConvNorm``; by default with an epsilon of 0.001.
        rngs: source of the initial values.

    Raises:
        ValueError: for widths that do not fit the template, numbers below 1, and another pool.
    """

    template: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        inputs: int,
        widths: Sequence[Sequence[int]],
        *,
        pool: str = "mean",
        convolution: Convolution = CONVOLUTION,
        rngs: nnx.Rngs,
    ):
        positive(inputs=inputs)
        if len(widths) != len(self.template):
            raise ValueError(
                f"widths={widths!r}; allowed is one tuple for each branch of {self.template}"
            )
        super().__init__(
            create_steps(inputs, text, own, pool=pool, convolution=convolution, rngs=rngs)
            for text, own in zip(self.template, widths, strict=True)
        )


class InceptionNaive(Branches):
    """1x1, 3x3 and 5x5 convolutions and max pooling (arXiv:1409.4842, figure 2a)."""

    template = ("1x1", "3x3", "5x5", "max3x3")


class Inception(Branches):
    """``InceptionNaive`` with 1x1 convolutions to fewer channels before the larger windows and
    after the pooling (arXiv:1409.4842, figure 2b)."""

    template = ("1x1", "1x1 3x3", "1x1 5x5", "max3x3 1x1")


class InceptionA(Branches):
    """5x5 factorised into two 3x3 convolutions (arXiv:1512.00567, figure 5)."""

    template = ("1x1", "1x1 3x3", "1x1 3x3 3x3", "pool3x3 1x1")


class InceptionA5(Branches):
    """``InceptionA`` whose second branch has a window of 5x5, as the published Inception-v3."""

    template = ("1x1", "1x1 5x5", "1x1 3x3 3x3", "pool3x3 1x1")


class InceptionB(Branches):
    """7x7 factorised into 1x7 and 7x1, once and twice (arXiv:1512.00567, figure 6)."""

    template = ("1x1", "1x1 1x7 7x1", "1x1 7x1 1x7 7x1 1x7", "pool3x3 1x1")


class InceptionC(Branches):
    """An expanded filter bank: 1x3 and 3x1 side by side (arXiv:1512.00567, figure 7)."""

    template = ("1x1", "1x1 1x3|3x1", "1x1 3x3 1x3|3x1", "pool3x3 1x1")


class InceptionC4(Branches):
    """``InceptionC`` whose 3x3 is factorised into 3x1 and 1x3, as in Inception-v4
    (arXiv:1602.07261, figure 6)."""

    template = ("1x1", "1x1 1x3|3x1", "1x1 3x1 1x3 1x3|3x1", "pool3x3 1x1")


class Reduction(Branches):
    """Halves height and width, rounded up (arXiv:1512.00567, figure 10)."""

    template = ("1x1 3x3/2", "1x1 3x3 3x3/2", "max3x3/2")


class ReductionA(Branches):
    """Halves height and width, without padding: after blocks A (arXiv:1602.07261, figure 7)."""

    template = ("3x3V/2", "1x1 3x3 3x3V/2", "max3x3V/2")


class ReductionB(Branches):
    """Halves height and width, without padding: after blocks B (arXiv:1602.07261, figure 8)."""

    template = ("1x1 3x3V/2", "1x1 1x7 7x1 3x3V/2", "max3x3V/2")
