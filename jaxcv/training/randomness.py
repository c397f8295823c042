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


def key_data(key: jax.Array) -> jax.Array:
    """A key's data for a state to carry: a copy, since a state is used up by its next step, and the
    key is not to go with it.

    Raises:
        ValueError: for a key of another implementation than JAX's default one, which its data do
            not tell.
    """
    own, default = str(jax.random.key_impl(key)), str(jax.config.jax_default_prng_impl)
    if own != default:
        raise ValueError(f"key is of {own}; allowed is {default}, as of jax_default_prng_impl")
    return jnp.copy(jax.random.key_data(key))
