"""Schedules: functions of the step, traced or not."""

import jax
import jax.numpy as jnp
import optax


def cosine_by_epoch(start: float, end: float, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    """``end + (start - end) (1 + cos(pi e / epochs)) / 2`` in epoch e, constant within an epoch
    (arXiv:1608.03983)."""

    def schedule(step: jax.typing.ArrayLike) -> jax.Array:
        epoch = jnp.asarray(step) // steps_per_epoch
        return end + (start - end) * (1 + jnp.cos(jnp.pi * epoch / epochs)) / 2

    return schedule


def exponential_by_epoch(start: float, decay: float, steps_per_epoch: int) -> optax.Schedule:
    """``start * decay ** e`` in epoch e, constant within an epoch."""
    return optax.exponential_decay(start, steps_per_epoch, decay, staircase=True)


def linear_by_epoch(end: float, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    """``end * e / epochs`` in epoch e, constant within an epoch."""

    def schedule(step: jax.typing.ArrayLike) -> jax.Array:
        return end * (jnp.asarray(step) // steps_per_epoch) / epochs

    return schedule


def falling_by_epoch(start: float, epochs: int, turn: int, steps_per_epoch: int) -> optax.Schedule:
    """``start * (1 - (e + 1) / epochs)`` in epoch e before the epoch ``turn``, then
    ``start * exp((turn - e) / 5)``, constant within an epoch (the dropout of arXiv:1904.12760)."""

    def schedule(step: jax.typing.ArrayLike) -> jax.Array:
        epoch = jnp.asarray(step) // steps_per_epoch
        linear = 1 - (epoch + 1) / epochs
        return start * jnp.where(epoch < turn, linear, jnp.exp((turn - epoch) / 5))

    return schedule
