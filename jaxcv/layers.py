"""Flax modules: parameters around the functions of ``jaxcv.functional``.

Layers compute in the dtype of their input and keep parameters in float32.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv import functional
from jaxcv.functional._arguments import IntPair, Padding, SidePadding, pair, positive
from jaxcv.functional.normalization import AxisName

Initializer = Callable[[jax.Array, tuple[int, ...]], jax.Array]


@functools.partial(jax.jit, static_argnums=1)
def _uniform(key: jax.Array, shape: tuple[int, ...], fan_in: int) -> jax.Array:
    """Uniform in +-1 / sqrt(fan-in): PyTorch's default, which the published DARTS results start
    from."""
    # One compiled call, and drawn flat: a network is made several times as quickly.
    flat = jax.random.uniform(key, (math.prod(shape),), minval=-1.0, maxval=1.0)
    return flat.reshape(shape) / jnp.sqrt(fan_in)


@functools.partial(jax.jit, static_argnums=1)
def he_fan_out(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """A kernel [F_height, F_width, inputs, outputs] of normal entries with variance
    ``2 / (F_height F_width outputs)`` (arXiv:1502.01852)."""
    flat = jax.random.normal(key, (math.prod(shape),))
    return flat.reshape(shape) * jnp.sqrt(2 * shape[-2] / math.prod(shape))


def _kernel_shape(window: IntPair, inputs: int, outputs: int, groups: int) -> tuple[int, ...]:
    positive(inputs=inputs, outputs=outputs, groups=groups)
    if inputs % groups or outputs % groups:
        raise ValueError(
            f"groups={groups!r}; allowed is a common divisor of inputs={inputs} and "
            f"outputs={outputs}"
        )
    return (*pair("window", window), inputs // groups, outputs)


def _parameters(
    shape: tuple[int, ...],
    outputs: int,
    bias: bool,
    initialize: Initializer | None,
    rngs: nnx.Rngs,
) -> tuple[nnx.Param, Any]:
    """The kernel and, if there is one, the bias of a convolution or a linear layer."""
    uniform = functools.partial(_uniform, fan_in=math.prod(shape[:-1]))
    kernel = nnx.Param((initialize or uniform)(rngs.params(), shape))
    if not bias:
        return kernel, nnx.data(None)
    if initialize is None:
        return kernel, nnx.Param(uniform(rngs.params(), (outputs,)))
    return kernel, nnx.Param(jnp.zeros(outputs))


class Conv2d(nnx.Module):
    """``functional.conv2d`` with a kernel and, on request, a bias as parameters.

    Args:
        inputs, outputs: numbers of channels.
        window: kernel size in pixels; an int, or (height, width).
        stride, padding, dilation, groups: as for ``functional.conv2d``.
        bias: whether to add one.
        initialize: makes the kernel of a key and a shape; the bias is then 0 at first.
        rngs: source of the initial values, by default uniform in ``+-1 / sqrt(fan-in)``.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        window: IntPair,
        *,
        stride: IntPair = 1,
        padding: Padding = 0,
        dilation: IntPair = 1,
        groups: int = 1,
        bias: bool = False,
        initialize: Initializer | None = None,
        rngs: nnx.Rngs,
    ):
        shape = _kernel_shape(window, inputs, outputs, groups)
        self.kernel, self.bias = _parameters(shape, outputs, bias, initialize, rngs)
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups

    def __call__(self, x: jax.Array) -> jax.Array:
        return functional.conv2d(
            x,
            self.kernel[...],
            None if self.bias is None else self.bias[...],
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )


class ConvTranspose2d(nnx.Module):
    """``functional.conv_transpose2d`` with a kernel and, on request, a bias as parameters.

    Args:
        inputs, outputs, window, bias, initialize, rngs: as for ``Conv2d``; the kernel is that of
            the convolution from ``outputs`` to ``inputs`` channels.
        stride, padding, output_padding, dilation, groups: as for ``functional.conv_transpose2d``.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        window: IntPair,
        *,
        stride: IntPair = 1,
        padding: SidePadding = 0,
        output_padding: IntPair = 0,
        dilation: IntPair = 1,
        groups: int = 1,
        bias: bool = False,
        initialize: Initializer | None = None,
        rngs: nnx.Rngs,
    ):
        *size, _, _ = _kernel_shape(window, inputs, outputs, groups)
        shape = (*size, outputs // groups, inputs)
        self.kernel, self.bias = _parameters(shape, outputs, bias, initialize, rngs)
        self.stride, self.padding, self.output_padding = stride, padding, output_padding
        self.dilation, self.groups = dilation, groups

    def __call__(self, x: jax.Array) -> jax.Array:
        return functional.conv_transpose2d(
            x,
            self.kernel[...],
            None if self.bias is None else self.bias[...],
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
            dilation=self.dilation,
            groups=self.groups,
        )


class DeformConv2d(Conv2d):
    """``functional.deform_conv2d`` with its parameters, and the convolution that predicts the
    offsets.

    The prediction has the window, stride, padding and dilation of the layer itself. It starts at
    zero, so the layer starts as a plain convolution, of halved samples if modulated (where the mask
    is a sigmoid). Channels of the prediction are all offsets, then the mask before its sigmoid.

    Args:
        inputs, outputs, window, stride, padding, dilation, groups, bias, initialize, rngs: as for
            ``Conv2d``.
        offset_groups: number of groups of input channels with offsets of their own.
        modulated: whether to predict a mask too, version 2 (arXiv:1811.11168).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        window: IntPair,
        *,
        stride: IntPair = 1,
        padding: Padding = 0,
        dilation: IntPair = 1,
        groups: int = 1,
        offset_groups: int = 1,
        modulated: bool = False,
        bias: bool = False,
        initialize: Initializer | None = None,
        rngs: nnx.Rngs,
    ):
        place: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
        super().__init__(
            inputs,
            outputs,
            window,
            **place,
            groups=groups,
            bias=bias,
            initialize=initialize,
            rngs=rngs,
        )
        positive(offset_groups=offset_groups)
        if inputs % offset_groups:
            raise ValueError(
                f"offset_groups={offset_groups!r}; allowed is a divisor of inputs={inputs}"
            )
        samples = offset_groups * math.prod(self.kernel.shape[:2])
        predicted = samples * (3 if modulated else 2)
        self.prediction = Conv2d(
            inputs,
            predicted,
            window,
            **place,
            bias=True,
            initialize=jax.nn.initializers.zeros,
            rngs=rngs,
        )
        self.samples, self.modulated = samples, modulated

    def __call__(self, x: jax.Array) -> jax.Array:
        offset, mask = jnp.split(self.prediction(x), (2 * self.samples,), -1)
        return functional.deform_conv2d(
            x,
            offset,
            self.kernel[...],
            None if self.bias is None else self.bias[...],
            jax.nn.sigmoid(mask) if self.modulated else None,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )


class BatchNorm(nnx.Module):
    """``functional.batch_norm`` with its parameters and running statistics.

    Args:
        channels: size of the last axis.
        affine: whether to have a scale and an offset.
        track: whether to keep running statistics; without, every call uses those of its batch.
        momentum: share of the batch in the new running statistics.
        epsilon: added to the variance.
        axis_name: of the mapped axes that share a batch, as for ``functional.batch_norm``.
    """

    def __init__(
        self,
        channels: int,
        *,
        affine: bool = True,
        track: bool = True,
        momentum: float = 0.1,
        epsilon: float = 1e-5,
        axis_name: AxisName | None = None,
    ):
        positive(channels=channels)
        self.scale = nnx.Param(jnp.ones(channels)) if affine else nnx.data(None)
        self.offset = nnx.Param(jnp.zeros(channels)) if affine else nnx.data(None)
        self.mean = nnx.BatchStat(jnp.zeros(channels)) if track else nnx.data(None)
        self.variance = nnx.BatchStat(jnp.ones(channels)) if track else nnx.data(None)
        self.momentum, self.epsilon, self.axis_name = momentum, epsilon, axis_name

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Normalises [..., C]; with ``train=True`` also moves the running statistics."""
        statistics = None
        if self.mean is not None and self.variance is not None:
            statistics = functional.Statistics(self.mean[...], self.variance[...])
        y, new = functional.batch_norm(
            x,
            None if self.scale is None else self.scale[...],
            None if self.offset is None else self.offset[...],
            statistics,
            train=train,
            momentum=self.momentum,
            epsilon=self.epsilon,
            axis_name=self.axis_name,
        )
        if train and new is not None and self.mean is not None and self.variance is not None:
            self.mean[...], self.variance[...] = new
        return y


class Linear(nnx.Module):
    """``y = x kernel + bias`` on the last axis.

    Args:
        inputs, outputs: sizes of the last axis.
        bias: whether to add one.
        initialize, rngs: as for ``Conv2d``.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        bias: bool = True,
        initialize: Initializer | None = None,
        rngs: nnx.Rngs,
    ):
        positive(inputs=inputs, outputs=outputs)
        self.kernel, self.bias = _parameters((inputs, outputs), outputs, bias, initialize, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x @ self.kernel[...].astype(x.dtype)
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)
