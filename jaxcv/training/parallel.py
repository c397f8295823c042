"""Data parallelism: the state is on every device, each batch is spread over them.

The compiled step then computes what one device would, batch statistics included.
"""

from typing import TypeVar

import jax
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


def replicate(tree: T, mesh: Mesh | None) -> T:
    """Every array whole on every device."""
    return tree if mesh is None else jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))
