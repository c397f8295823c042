"""The primitive under bilinear upsampling: one definition, and a form of it that suits the CPU.

Each pixel of the result is a weighted mean of few pixels of the image: a linear map along the
rows, then one along the columns. The definition is a product with a small matrix for each, and so
is its transpose. That matrix is mostly zeros. On the CPU, where they are not free, only the pixels
with a weight are read, in both directions; what autodiff makes of reading them is a scatter, which
the XLA of JAX 0.10 to 0.12 runs as a scalar loop there.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.interpreters import ad, batching, mlir

from jaxcv.functional import _primitives

# With more pixels to one, a matrix product was measured faster on the CPU than reading them one by
# one, and is compiled faster.
_READS = 16


class Resampling(NamedTuple):
    """The static part of an interpolation. Sizes are (height, width), in pixels."""

    image: tuple[int, int]
    result: tuple[int, int]
    align_corners: bool


def interpolate(x: jax.Array, resampling: Resampling) -> jax.Array:
    """[N, H, W, C] to [N, H', W', C]."""
    bind = functools.partial(_resample.bind, back=False, resampling=resampling)
    return _primitives.call(bind, x)


def _matrix(length: int, size: int, align_corners: bool) -> np.ndarray:
    """[size, length]: for each pixel of the result, the weights of those of the image."""
    if align_corners:
        place = np.arange(size) * ((length - 1) / max(size - 1, 1))
    else:
        place = (np.arange(size) + 0.5) * (length / size) - 0.5
    # Beyond the outermost centres there is nothing to interpolate with.
    place = np.clip(place, 0, length - 1)
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(length)))


def resampling_matrices(back: bool, r: Resampling) -> list[np.ndarray]:
    """For each of the two axes the weights with which the pixels of a result read those before."""
    matrices = [_matrix(r.image[a], r.result[a], r.align_corners) for a in range(2)]
    return [matrix.T if back else matrix for matrix in matrices]


def _product(x: jax.Array, matrix: np.ndarray, axis: int) -> jax.Array:
    rows = jnp.asarray(matrix, x.dtype)
    y = lax.dot_general(rows, x, (((1,), (axis,)), ((), ())), precision=lax.Precision.HIGHEST)
    return jnp.moveaxis(y, 0, axis)


def _reads(x: jax.Array, matrix: np.ndarray, axis: int) -> jax.Array:
    count = (matrix != 0).sum(1).max()
    if count > _READS:
        return _product(x, matrix, axis)
    # Of each row, the places that are not zero, then some of those that are.
    places = np.argsort(matrix == 0, axis=1, kind="stable")[:, :count]
    weights = np.take_along_axis(matrix, places, 1)
    places = np.where(weights != 0, places, places[:, :1])
    shape = [-1 if a == axis else 1 for a in range(x.ndim)]
    y = jnp.zeros((), x.dtype)
    for place, weight in zip(places.T, weights.T, strict=True):
        read = jnp.take(x, place, axis, mode="clip")
        y += read * jnp.asarray(weight.reshape(shape), x.dtype)
    return y


def _defined(
    x: jax.Array, *, back: bool, resampling: Resampling, along: Any = _product
) -> jax.Array:
    y = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    for axis, matrix in enumerate(resampling_matrices(back, resampling), 1):
        y = along(y, matrix, axis)
    return y.astype(x.dtype)


_on_cpu = functools.partial(_defined, along=_reads)
_resample = _primitives.create("jaxcv_resample")


@_resample.def_abstract_eval
def _abstract(x: Any, *, back: bool, resampling: Resampling) -> jax.core.ShapedArray:
    size = resampling.image if back else resampling.result
    return _primitives.result(x, (x.shape[0], *size, x.shape[-1]))


def _transpose(ct: jax.Array, _: Any, *, back: bool, resampling: Resampling) -> list[jax.Array]:
    return [_resample.bind(ct, back=not back, resampling=resampling)]


def _batch(arguments: Any, axes: Any, **static: Any) -> tuple[jax.Array, int]:
    """What ``vmap`` adds is more images."""
    x = jnp.moveaxis(arguments[0], axes[0], 0)
    y = _resample.bind(x.reshape(-1, *x.shape[2:]), **static)
    return y.reshape(*x.shape[:2], *y.shape[1:]), 0


ad.deflinear2(_resample, _transpose)
batching.primitive_batchers[_resample] = _batch
mlir.register_lowering(_resample, mlir.lower_fun(_defined, multiple_results=False))
mlir.register_lowering(_resample, mlir.lower_fun(_on_cpu, multiple_results=False), platform="cpu")
