"""One key for a whole run: every use folds its name and a step into it."""

import zlib

import jax
import jax.numpy as jnp


class Keys:
    """Keys by name and step, all derived from one.

    A name is folded in by its CRC-32, so that adding a use changes no other.

    Args:
        key: a JAX random key, or its data, which is what a state carries.
    """

    def __init__(self, key: jax.Array):
        typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        self.key = key if typed else jax.random.wrap_key_data(key)

    def __call__(self, name: str, step: jax.typing.ArrayLike = 0) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(self.key, zlib.crc32(name.encode())), step)
