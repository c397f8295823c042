"""What the primitives of this project share: how they run, and how they meet sharded arrays."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax.extend.core import Primitive
from jax.sharding import AxisType, NamedSharding, PartitionSpec


def create(name: str, *, multiple_results: bool = False) -> Primitive:
    """A primitive that outside of compiled functions is compiled for itself, once a shape."""
    primitive = Primitive(name)
    primitive.multiple_results = multiple_results

    @functools.cache
    def compiled(static: tuple[tuple[str, Any], ...]) -> Any:
        return jax.jit(functools.partial(primitive.bind, **dict(static)))

    @primitive.def_impl
    def run(*arguments: jax.Array, **static: Any) -> Any:
        # Also under ``jax.disable_jit``, as there is no other way to run it.
        with jax.disable_jit(False):
            return compiled(tuple(static.items()))(*arguments)

    return primitive


def result(x: Any, shape: Sequence[int], dtype: Any = None) -> jax.core.ShapedArray:
    """The type of a result: it varies over those axes of ``jax.shard_map`` that x does."""
    sharding = x.sharding.update(spec=PartitionSpec(*[None] * len(shape)))
    dtype = x.dtype if dtype is None else dtype
    return x.update(tuple(shape), dtype, weak_type=False, sharding=sharding)


def call(function: Callable[..., Any], *arrays: jax.Array) -> Any:
    """Calls a function, made of primitives, whose results are batches as the first array is one.

    In ``jax.shard_map`` the arrays are first made to vary over the same axes, so that gradients are
    summed over the devices where they should be. Where shardings are explicit (the default of
    ``jax.make_mesh``), the compiler shards what is inside, and results are spread as the batch is.
    """
    types = [jax.typeof(array) for array in arrays]
    varying = frozenset().union(*(a.manual_axis_type.varying for a in types))
    arrays = tuple(
        lax.pcast(array, tuple(missing), to="varying") if missing else array
        for array, a in zip(arrays, types, strict=True)
        for missing in [varying - a.manual_axis_type.varying]
    )
    for a in types:
        mesh = a.sharding.mesh
        if AxisType.Explicit in mesh.axis_types:
            spread = NamedSharding(mesh, PartitionSpec(types[0].sharding.spec[0]))
            return jax.sharding.auto_axes(function, out_sharding=spread)(*arrays)
    return function(*arrays)
