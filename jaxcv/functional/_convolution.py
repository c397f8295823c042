"""The primitive under every convolution: one definition, and forms of it that suit CPU and GPU.

A convolution's result y is linear in the images x and in the kernel k, so the map belongs to a
family of three bilinear maps that is closed under differentiation: (x, k) to a result, (y, k) to
images, (x, y) to a kernel. One primitive holds all three, so derivatives of any order, forward
and reverse, meet the same lowerings. Each member also takes a leading axis on both arguments:
the edges of a cell, or whatever ``vmap`` brings.

The definition is ``lax.conv_general_dilated`` and its transposes, and TPUs get just that. On GPUs
depthwise convolutions, and pointwise ones of many edges, have other forms, with the same values. On
the CPU, the XLA of JAX 0.10 to 0.12 has two gaps that the forms here step around: grouped
convolutions run as scalar loops, and so does, inside a ``scan`` or ``fori_loop``, every convolution
whose dimension order is not the canonical one, which is to say all derivatives. A depthwise
convolution is a C++ kernel there, if there is a compiler.
"""

import functools
import math
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.interpreters import ad, batching, mlir

from jaxcv.functional import _primitives, _shifted, native
from jaxcv.functional._arguments import ExplicitPadding
from jaxcv.functional._geometry import Geometry

Member = Literal["result", "images", "kernel"]

# Up to this many input channels a dense convolution with a block-diagonal kernel, though it
# multiplies mostly zeros, was measured faster on the CPU than the scalar loops of a grouped one.
_DENSE_CHANNELS = 64

# Up to this many taps of a window a depthwise convolution is a sum of shifted images on a GPU; the
# code of the sum grows with them.
_SHIFTED_TAPS = 49


def convolve(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """[N, H, W, C] and [F, F, C / groups, K] to [N, H', W', K]."""
    bind = functools.partial(convolution.bind, to="result", geometry=geometry)
    return _primitives.call(bind, x, kernel)


def convolve_transposed(y: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """[N, H', W', K] and [F, F, C / groups, K] to [N, H, W, C]."""
    bind = functools.partial(convolution.bind, to="images", geometry=geometry)
    return _primitives.call(bind, y, kernel)


def _shape(a: Any, b: Any, to: Member, g: Geometry) -> tuple[int, ...]:
    """Shape of what a member returns, without a leading axis."""
    if to == "result":
        return (a.shape[-4], *g.result, b.shape[-1])
    if to == "images":
        return (a.shape[-4], *g.image, g.channels)
    return (*g.window, g.channels // g.groups, b.shape[-1])


def _canonical(
    x: jax.Array,
    kernel: jax.Array,
    stride: tuple[int, int] = (1, 1),
    padding: ExplicitPadding = ((0, 0), (0, 0)),
    dilation: tuple[int, int] = (1, 1),
    *,
    image_dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=stride,
        padding=padding,
        lhs_dilation=image_dilation,
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _defined(a: jax.Array, b: jax.Array, to: Member, g: Geometry) -> jax.Array:
    def forward(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return _canonical(x, kernel, g.stride, g.padding, g.dilation, groups=g.groups)

    if to == "result":
        return forward(a, b)
    wanted = jax.ShapeDtypeStruct(_shape(a, b, to, g), a.dtype)
    if to == "images":
        return jax.linear_transpose(lambda x: forward(x, b), wanted)(a)[0]
    return jax.linear_transpose(lambda k: forward(a, k), wanted)(b)[0]


def _dense_result(x: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    if math.prod(g.window) <= math.prod(g.image):
        return _canonical(x, kernel, g.stride, g.padding, g.dilation)
    return _canonical(_padded(x, g.padding), kernel, g.stride, dilation=g.dilation)


def _padded(x: jax.Array, padding: ExplicitPadding, spread: tuple[int, int] = (1, 1)) -> jax.Array:
    """x with its padding, kept out of the convolution that follows. Where a window is larger than
    the image that it slides over, XLA exchanges the two, out of canonical order."""
    zero = jnp.zeros((), x.dtype)
    (top, bottom), (left, right) = padding
    rows, columns = (top, bottom, spread[0] - 1), (left, right, spread[1] - 1)
    return lax.optimization_barrier(lax.pad(x, zero, ((0, 0, 0), rows, columns, (0, 0, 0))))


def _dense_images(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """``x[h] = sum_{i, a: s i + d a - p = h} k[a] y[i]``: y spread by the stride meets k turned."""
    # The barriers keep XLA from folding turns and transposes back into the dimension order.
    turned = lax.optimization_barrier(jnp.flip(kernel, (0, 1)).swapaxes(2, 3))
    pads = g.transposed_padding
    # On each axis: of spread images XLA leaves some axes out of what it compares, and then fails.
    if all(window <= result for window, result in zip(g.window, g.result, strict=True)):
        return _canonical(y, turned, padding=pads, dilation=g.dilation, image_dilation=g.stride)
    return _canonical(_padded(y, pads, g.stride), turned, dilation=g.dilation)


def _dense_kernel(x: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    """``k[a] = sum_i x[s i + d a - p] y[i]``: stride and dilation trade places, batch is summed."""
    padding = []
    for axis in range(2):
        read = g.stride[axis] * (g.result[axis] - 1) + 1
        read += g.dilation[axis] * (g.window[axis] - 1)
        low = g.padding[axis][0]
        padding.append((low, read - g.image[axis] - low))
    images = _padded(x.transpose(3, 1, 2, 0), (padding[0], padding[1]))
    window = lax.optimization_barrier(y.transpose(1, 2, 0, 3))
    kernel = _canonical(images, window, stride=g.dilation, dilation=g.stride)
    return kernel.transpose(1, 2, 0, 3)


def _dense(a: jax.Array, b: jax.Array, to: Member, g: Geometry) -> jax.Array:
    """The same values by dense convolutions in canonical order; groups become zeros of a kernel."""
    if g.groups == 1:
        return {"result": _dense_result, "images": _dense_images, "kernel": _dense_kernel}[to](
            a, b, g
        )
    if to != "kernel":
        return _dense(a, _block_diagonal(b, g.groups), to, g._replace(groups=1))
    # One output of each group at a time, which leaves the fewest zeros to compute.
    outputs = jnp.moveaxis(b.reshape(*b.shape[:3], g.groups, -1), -1, 0)
    blocks = [_own_blocks(_dense_kernel(a, y, g), g.groups) for y in outputs]
    return jnp.stack(blocks, -1).reshape(*g.window, g.channels // g.groups, -1)


def _block_diagonal(kernel: jax.Array, groups: int) -> jax.Array:
    """[F, F, C / G, K] to [F, F, C, K], zero where input and output are of different groups."""
    height, width, per_group, outputs = kernel.shape
    split = kernel.reshape(height, width, 1, per_group, groups, outputs // groups)
    same = jnp.eye(groups, dtype=kernel.dtype)[:, None, :, None]
    return (split * same).reshape(height, width, groups * per_group, outputs)


def _own_blocks(kernel: jax.Array, groups: int) -> jax.Array:
    """The transpose of ``_block_diagonal``."""
    height, width, channels, outputs = kernel.shape
    shape = (height, width, groups, channels // groups, groups, outputs // groups)
    same = jnp.eye(groups, dtype=kernel.dtype)[:, None, :, None]
    return (kernel.reshape(shape) * same).sum(2).reshape(height, width, channels // groups, outputs)


def _is_pointwise(g: Geometry) -> bool:
    return g.window == (1, 1) and g.groups == 1 and g.padding == ((0, 0), (0, 0))


def _pointwise(a: jax.Array, b: jax.Array, to: Member, g: Geometry) -> jax.Array:
    """A 1x1 kernel as a matrix product, with or without a leading axis."""
    down, across = g.stride
    if to == "result":
        return jnp.einsum("...nhwc,...abck->...nhwk", a[..., ::down, ::across, :], b)
    if to == "kernel":
        kernel = jnp.einsum("...nhwc,...nhwk->...ck", a[..., ::down, ::across, :], b)
        return kernel[..., None, None, :, :]
    read = jnp.einsum("...nhwk,...abck->...nhwc", a, b)
    if g.stride == (1, 1):
        return read
    spread = jnp.zeros((*read.shape[:-3], *g.image, g.channels), read.dtype)
    return spread.at[..., ::down, ::across, :].set(read)


def _native() -> bool:
    return native.load(native.HERE / "depthwise.cc", "jaxcv_depthwise")


def _depthwise(a: jax.Array, b: jax.Array, to: Member, g: Geometry) -> jax.Array:
    """The C++ kernel. It has one output for each channel, so images are repeated for several."""
    outputs = b.shape[-1]
    several = outputs // g.channels
    if several > 1 and to != "images":
        a = jnp.repeat(a, several, -1)
    edges = a.ndim == 5
    if not edges:
        a, b = a[None], b[None]
    shape = a.shape[:1] + _shape(a, b, to, g._replace(channels=outputs, groups=outputs))
    call = jax.ffi.ffi_call("jaxcv_depthwise", jax.ShapeDtypeStruct(shape, a.dtype))
    c = call(a, b, member=np.int64(get_args(Member).index(to)), window=g.numbers)
    c = c if edges else c[0]
    return c if several == 1 or to != "images" else c.reshape(*c.shape[:-1], -1, several).sum(-1)


def _everywhere(a: jax.Array, b: jax.Array, *, to: Member, geometry: Geometry) -> jax.Array:
    if a.ndim == 4:
        return _defined(a, b, to, geometry)
    edges, g = a.shape[0], geometry
    wide = g._replace(channels=edges * g.channels, groups=edges * g.groups)
    c = _defined(_edges_to_channels(a), _edges_to_channels(b), to, wide)
    return jnp.moveaxis(c.reshape(*c.shape[:-1], edges, -1), -2, 0)


def _on_gpu(a: jax.Array, b: jax.Array, *, to: Member, geometry: Geometry) -> jax.Array:
    g = geometry
    if g.groups == g.channels > 1 and math.prod(g.window) <= _SHIFTED_TAPS:
        if to == "result":
            return _shifted.depthwise(a, b, g)
        if to == "images":
            return _shifted.depthwise_transposed(a, b, g)
        a, b, g = _shifted.undilated(a, b, g) or (a, b, g)
    elif a.ndim == 5 and _is_pointwise(g):
        # Without the barriers XLA's compiler of JAX 0.11 fuses what comes before and after in a way
        # that it cannot compile.
        a, b = lax.optimization_barrier((a, b))
        return lax.optimization_barrier(_pointwise(a, b, to, g))
    return _everywhere(a, b, to=to, geometry=g)


def _edges_to_channels(a: jax.Array) -> jax.Array:
    """[edges, ..., C] to [..., edges * C]."""
    a = jnp.moveaxis(a, 0, -2)
    return a.reshape(*a.shape[:-2], -1)


def _on_cpu(a: jax.Array, b: jax.Array, *, to: Member, geometry: Geometry) -> jax.Array:
    depthwise = geometry.groups == geometry.channels > 1
    if depthwise and a.dtype in (jnp.float32, jnp.bfloat16) and _native():
        return _depthwise(a, b, to, geometry)
    return _by_dense(a, b, to=to, geometry=geometry)


def _by_dense(a: jax.Array, b: jax.Array, *, to: Member, geometry: Geometry) -> jax.Array:
    if _is_pointwise(geometry):
        return _pointwise(a, b, to, geometry)
    dense = geometry.groups == 1 or geometry.channels <= _DENSE_CHANNELS
    form = _dense if dense else _defined
    if a.ndim == 4:
        return form(a, b, to, geometry)
    return jnp.stack([form(*edge, to, geometry) for edge in zip(a, b, strict=True)])


convolution = _primitives.create("jaxcv_convolution")


@convolution.def_abstract_eval
def _abstract(a: Any, b: Any, *, to: Member, geometry: Geometry) -> jax.core.ShapedArray:
    return _primitives.result(a, a.shape[:-4] + _shape(a, b, to, geometry))


# One operand is unknown in each transpose. What it was is the member that its cotangent is for.
_WAS: dict[Member, tuple[Member, Member]] = {
    "result": ("images", "kernel"),
    "images": ("result", "kernel"),
    "kernel": ("images", "result"),
}


def _arguments(values: dict[Member, jax.Array], to: Member) -> tuple[jax.Array, jax.Array]:
    first, second = _WAS[to]
    return values[first], values[second]


def _transpose_first(
    ct: jax.Array, _: Any, b: jax.Array, *, to: Member, geometry: Geometry
) -> jax.Array:
    wanted, other = _WAS[to]
    a, b = _arguments({to: ct, other: b}, wanted)
    return convolution.bind(a, b, to=wanted, geometry=geometry)


def _transpose_second(
    ct: jax.Array, a: jax.Array, _: Any, *, to: Member, geometry: Geometry
) -> jax.Array:
    other, wanted = _WAS[to]
    a, b = _arguments({to: ct, other: a}, wanted)
    return convolution.bind(a, b, to=wanted, geometry=geometry)


def _batch(
    args: tuple[jax.Array, jax.Array], axes: tuple[int | None, int | None], **static: Any
) -> tuple[jax.Array, int]:
    """Gathers what ``vmap`` adds into the one leading axis that the primitive has."""
    size = next(a.shape[axis] for a, axis in zip(args, axes, strict=True) if axis is not None)
    if static["to"] == "result" and axes[0] is None and axes[1] is not None and args[0].ndim == 4:
        return _batch_kernels(args[0], jnp.moveaxis(args[1], axes[1], 0), static["geometry"]), 0
    if axes[0] is not None and axes[1] is None and static["to"] != "kernel" and args[1].ndim == 4:
        # The same kernel on all images.
        more = jnp.moveaxis(args[0], axes[0], 0)
        c = convolution.bind(more.reshape(-1, *more.shape[2:]), args[1], **static)
        return c.reshape(*more.shape[:2], *c.shape[1:]), 0
    a, b = (
        jnp.broadcast_to(a, (size, *a.shape)) if axis is None else jnp.moveaxis(a, axis, 0)
        for a, axis in zip(args, axes, strict=True)
    )
    if a.ndim == 5:
        return convolution.bind(a, b, **static), 0
    c = convolution.bind(a.reshape(-1, *a.shape[2:]), b.reshape(-1, *b.shape[2:]), **static)
    return c.reshape(size, -1, *c.shape[1:]), 0


def _batch_kernels(x: jax.Array, kernels: jax.Array, g: Geometry) -> jax.Array:
    """Many kernels on the same images are one kernel with more outputs in each group."""
    edges, outputs = kernels.shape[0], kernels.shape[-1]
    split = kernels.reshape(*kernels.shape[:-1], g.groups, outputs // g.groups)
    merged = jnp.moveaxis(split, 0, -2).reshape(*kernels.shape[1:-1], edges * outputs)
    y = convolve(x, merged, g)
    y = y.reshape(*y.shape[:-1], g.groups, edges, outputs // g.groups)
    return jnp.moveaxis(y, -2, 0).reshape(edges, *y.shape[:3], outputs)


ad.defbilinear(convolution, _transpose_first, _transpose_second)
batching.primitive_batchers[convolution] = _batch
mlir.register_lowering(convolution, mlir.lower_fun(_everywhere, multiple_results=False))
# Traced and lowered once for all calls of the same shapes.
_once_on_gpu = jax.jit(_on_gpu, static_argnames=("to", "geometry"))
mlir.register_lowering(
    convolution, mlir.lower_fun(_once_on_gpu, multiple_results=False), platform="cuda"
)
native.register_lowering(convolution, _on_cpu, _by_dense)
