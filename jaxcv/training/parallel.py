"""Data parallelism: the state is on every device, each batch is spread over them.

The compiled step then computes what one device would, batch statistics included. The devices may
belong to several processes, of ``jax.distributed``.
"""

from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

T = TypeVar("T")


def data_mesh(batch_size: int) -> Mesh | None:
    """All devices as one axis, or None where there is only one.

    Raises:
        ValueError: for a batch that does not divide evenly among the devices.
    """
    devices = jax.device_count()
    if devices == 1:
        return None
    if batch_size % devices:
        raise ValueError(f"batch_size={batch_size!r}; allowed is a multiple of {devices} devices")
    return jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))


def shard_batch(batch: T, mesh: Mesh | None) -> T:
    """Inside a compiled function: the leading axis of every array spread over the devices."""
    if mesh is None:
        return batch
    return jax.lax.with_sharding_constraint(batch, NamedSharding(mesh, PartitionSpec("data")))


def replicated(mesh: Mesh | None) -> NamedSharding | None:
    """Whole on every device."""
    return None if mesh is None else NamedSharding(mesh, PartitionSpec())


def replicate(tree: T, mesh: Mesh | None) -> T:
    """Every array whole on every device; of several processes, each gives the same arrays."""
    return _placed(tree, replicated(mesh))


def spread(batch: T, mesh: Mesh | None) -> T:
    """A batch on the devices, the leading axis of every array spread over them; of several
    processes, each gives its part."""
    if mesh is None:
        return jax.device_put(batch)
    return _placed(batch, NamedSharding(mesh, PartitionSpec("data")))


def _placed(tree: T, sharding: NamedSharding | None) -> T:
    if sharding is None:
        return tree
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def placed(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return leaf
        # ``device_put`` would compare what the processes give, array by array.
        return jax.make_array_from_process_local_data(sharding, np.asarray(leaf))

    return jax.tree.map(placed, tree)


def agreed(*values: int) -> list[int]:
    """The largest that any process gives of each value, so that all act alike."""
    if jax.process_count() == 1:
        return list(values)
    return multihost_utils.process_allgather(np.array(values)).max(0).tolist()


def of_first_process(tree: T) -> T:
    """The arrays of the first process, in all of them; of the others, only the shapes count."""
    return tree if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(tree)
