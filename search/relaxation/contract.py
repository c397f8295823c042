"""What a relaxation is: how architecture weights begin, mix, are held, and are read."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from search.space import Alphas, Mix


def no_penalty(alphas: Alphas) -> jax.Array:
    return jnp.zeros(())


def without_samples(decode: Callable[[Alphas], Mix]) -> Callable[..., Mix]:
    """``Relaxation.relax`` of one that draws nothing: what is discretized also mixes."""
    return lambda alphas, key, progress: decode(alphas)


class Relaxation(NamedTuple):
    """A relaxation made for a space.

    Mixing weights are [edges, primitives] by cell kind, 0 on primitives that an edge does not
    have. Architecture weights are arrays by name: [edges, primitives] under each cell kind, and
    what else the relaxation needs under names of its own.
    """

    init: Callable[[jax.Array], Alphas]
    """Of a key: the architecture weights that a search begins with."""
    relax: Callable[[Alphas, jax.Array, jax.Array], Mix]
    """Of architecture weights, a key and the fraction of the search that is done, in [0, 1]: the
    mixing weights of one step, drawn anew with each key if the relaxation samples."""
    decode: Callable[[Alphas], Mix]
    """The mixing weights that stand for all samples: what is shown and discretized."""
    penalty: Callable[[Alphas], jax.Array] = no_penalty
    """A term that is added to the validation loss, times ``Config.penalty_weight``."""
