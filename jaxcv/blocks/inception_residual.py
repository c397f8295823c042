"""Residual Inception blocks (arXiv:1602.07261), with branches as in ``jaxcv.blocks.inception``."""

from collections.abc import Sequence

import jax
from flax import nnx

from jaxcv.blocks.inception import CONVOLUTION, Branches, Convolution, he_truncated
from jaxcv.layers import Conv2d


class InceptionResidual(Branches):
    """``relu(x + scale * projection(branches(x)))``: branches that a subclass writes as its
    ``template``, and a 1x1 convolution of them, with a bias, to the channels of x.

    Args:
        inputs: channels of the images, and of what the block puts out.
        widths: for each branch, the channels that each of its convolutions puts out.
        scale: of the residual; small ones keep wide networks from dying early in training.
        linear: whether to leave the ReLU away.
        convolution: makes one of the branches, as ``ConvNorm``.
        rngs: source of the initial values.

    Raises:
        ValueError: for widths that do not fit the template, and numbers below 1.
    """

    def __init__(
        self,
        inputs: int,
        widths: Sequence[Sequence[int]],
        *,
        scale: float = 1.0,
        linear: bool = False,
        convolution: Convolution = CONVOLUTION,
        rngs: nnx.Rngs,
    ):
        super().__init__(inputs, widths, convolution=convolution, rngs=rngs)
        self.projection = Conv2d(
            self.outputs, inputs, 1, bias=True, initialize=he_truncated, rngs=rngs
        )
        self.outputs = inputs
        self.scale, self.linear = scale, linear

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        y = x + self.scale * self.projection(super().__call__(x, train=train))
        return y if self.linear else jax.nn.relu(y)


class InceptionResidualA(InceptionResidual):
    """3x3 and two 3x3 convolutions (figures 10 and 16)."""

    template = ("1x1", "1x1 3x3", "1x1 3x3 3x3")


class InceptionResidualB(InceptionResidual):
    """7x7 factorised into 1x7 and 7x1 (figures 11 and 17)."""

    template = ("1x1", "1x1 1x7 7x1")


class InceptionResidualC(InceptionResidual):
    """3x3 factorised into 1x3 and 3x1 (figures 13 and 19)."""

    template = ("1x1", "1x1 1x3 3x1")


class ResidualReductionB(Branches):
    """Halves height and width, without padding: after blocks B (figures 12 and 18). After blocks A
    it is ``ReductionA``."""

    template = ("1x1 3x3V/2", "1x1 3x3V/2", "1x1 3x3 3x3V/2", "max3x3V/2")
