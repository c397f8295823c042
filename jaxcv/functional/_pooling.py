"""The primitive under every pool: one definition, and a C++ form on the CPU.

A sum of windows is linear, and so is its transpose, which spreads. A maximum is not; its derivative
picks the entry of a tangent at the place of the largest value, which is linear in the tangent, and
whose transpose puts a gradient there. These five are closed under differentiation. The definition
of each is ``lax.reduce_window`` or a derivative of it, of which the XLA of JAX 0.10 to 0.12 makes
scalar loops on the CPU.
"""

import functools
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.interpreters import ad, batching, mlir

from jaxcv.functional import _primitives, native
from jaxcv.functional._geometry import Geometry

Member = Literal["sum", "spread", "max", "pick", "place"]


def pool(x: jax.Array, member: Literal["sum", "max"], geometry: Geometry) -> jax.Array:
    """[N, H, W, C] to [N, H', W', C]; a window's sum or its largest value."""
    bind = functools.partial(_pool.bind, member=member, geometry=geometry)
    return _primitives.call(bind, x)


def _defined(*arguments: jax.Array, member: Member, geometry: Geometry) -> jax.Array:
    g, x = geometry, arguments[0]
    window, stride = (1, *g.window, 1), (1, *g.stride, 1)
    padding = ((0, 0), *g.padding, (0, 0))

    def total(x: jax.Array) -> jax.Array:
        return lax.reduce_window(x, np.zeros((), x.dtype), lax.add, window, stride, padding)

    def largest(x: jax.Array) -> jax.Array:
        return lax.reduce_window(x, np.array(-np.inf, x.dtype), lax.max, window, stride, padding)

    if member == "sum":
        return total(x)
    if member == "max":
        return largest(x)
    if member == "pick":
        return jax.jvp(largest, (x,), (arguments[1],))[1]
    if member == "place":
        return jax.vjp(largest, x)[1](arguments[1])[0]
    images = jax.ShapeDtypeStruct((x.shape[0], *g.image, x.shape[-1]), x.dtype)
    return jax.linear_transpose(total, images)(x)[0]


def _on_cpu(*arguments: jax.Array, member: Member, geometry: Geometry) -> jax.Array:
    x = arguments[0]
    if x.dtype not in (jnp.float32, jnp.bfloat16) or not native.load(
        native.HERE / "pooling.cc", "jaxcv_pool"
    ):
        return _defined(*arguments, member=member, geometry=geometry)
    shape = _abstract(*map(jax.typeof, arguments), member=member, geometry=geometry)
    call = jax.ffi.ffi_call("jaxcv_pool", jax.ShapeDtypeStruct(shape.shape, shape.dtype))
    number = np.int64(get_args(Member).index(member))
    return call(*arguments, member=number, window=geometry.numbers)


_pool = _primitives.create("jaxcv_pool")


@_pool.def_abstract_eval
def _abstract(*arguments: Any, member: Member, geometry: Geometry) -> jax.core.ShapedArray:
    x = arguments[0]
    size = geometry.image if member in ("spread", "place") else geometry.result
    return _primitives.result(x, (x.shape[0], *size, x.shape[-1]))


_TRANSPOSE: dict[Member, Member] = {
    "sum": "spread",
    "spread": "sum",
    "pick": "place",
    "place": "pick",
}


def _jvp(primals: Any, tangents: Any, *, member: Member, geometry: Geometry) -> Any:
    y = _pool.bind(*primals, member=member, geometry=geometry)
    tangent = tangents[-1]
    if isinstance(tangent, ad.Zero):
        return y, ad.Zero(jax.typeof(y))
    if member in ("sum", "spread"):
        return y, _pool.bind(tangent, member=member, geometry=geometry)
    # The place of the largest value does not move.
    which: Member = "pick" if member == "max" else member
    return y, _pool.bind(primals[0], tangent, member=which, geometry=geometry)


def _transpose(ct: Any, *arguments: Any, member: Member, geometry: Geometry) -> Any:
    nothing = (None,) * (len(arguments) - 1)
    given = () if len(arguments) == 1 else arguments[:1]
    return *nothing, _pool.bind(*given, ct, member=_TRANSPOSE[member], geometry=geometry)


def _batch(arguments: Any, axes: Any, **static: Any) -> tuple[jax.Array, int]:
    """What ``vmap`` adds is more images."""
    size = next(a.shape[axis] for a, axis in zip(arguments, axes, strict=True) if axis is not None)
    moved = [
        jnp.broadcast_to(a, (size, *a.shape)) if axis is None else jnp.moveaxis(a, axis, 0)
        for a, axis in zip(arguments, axes, strict=True)
    ]
    y = _pool.bind(*(a.reshape(-1, *a.shape[2:]) for a in moved), **static)
    return y.reshape(size, -1, *y.shape[1:]), 0


ad.primitive_jvps[_pool] = _jvp
ad.primitive_transposes[_pool] = _transpose
batching.primitive_batchers[_pool] = _batch
mlir.register_lowering(_pool, mlir.lower_fun(_defined, multiple_results=False))
native.register_lowering(_pool, _on_cpu, _defined)
