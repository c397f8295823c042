"""Variational dropout (arXiv:1512.05287): a mask is drawn once for a segment, and holds over it."""

from dataclasses import asdict, dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxcv.functional import dropout


class Masks(NamedTuple):
    """What things are multiplied by: 0 where dropped, else one over the share that is kept.

    Attributes:
        words: of the embedding's rows [vocabulary]; a word is dropped wherever it stands.
        embedded, inputs: of the words' embeddings, one after the other, [batch, units] each.
        hidden: of the hidden state and the nodes, before their matrices [batch, units].
        outputs: of the hidden states that words are told from [batch, units].
    """

    words: jax.Array
    embedded: jax.Array
    inputs: jax.Array
    hidden: jax.Array
    outputs: jax.Array


@dataclass(frozen=True)
class Dropout:
    """Probabilities. The defaults are those of the search of arXiv:1806.09055.

    Raises:
        ValueError: for a probability outside [0, 1).
    """

    words: float = 0.0
    """Of whole words."""
    embedded: float = 0.2
    """Of entries of the words' embeddings."""
    inputs: float = 0.75
    """Of entries of these again, as the cell takes them in."""
    hidden: float = 0.25
    """Of entries of the hidden state and the nodes, before their matrices."""
    outputs: float = 0.75
    """Of entries of the hidden states that words are told from."""

    def __post_init__(self) -> None:
        for name, rate in asdict(self).items():
            if not 0 <= rate < 1:
                raise ValueError(f"{name}={rate!r}; allowed is a probability in [0, 1)")

    def masks(self, key: jax.Array, vocabulary: int, batch: int, units: int) -> Masks:
        """Masks drawn for a segment."""
        shapes = [(vocabulary,), *[(batch, units)] * 4]
        keys = jax.random.split(key, len(shapes))
        return Masks(
            *(
                dropout(key, jnp.ones(shape), getattr(self, name))
                for key, name, shape in zip(keys, Masks._fields, shapes, strict=True)
            )
        )
