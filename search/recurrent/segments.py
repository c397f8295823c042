"""Segments of random length, one after the other, out of streams of text on the device.

All segments have the same number of steps, of which as many count as the segment is long; so one
program serves all lengths. What stands after them is padding without influence.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from search.recurrent.corpus import streams
from search.recurrent.dropout import Masks
from search.recurrent.model import Segment

_HALVED = 0.05


@dataclass(frozen=True)
class Lengths:
    """Random lengths: ``int(normal(m, deviation))``, where m is ``mean``, and half of it in one
    segment of twenty.

    With a deviation they are at least 5, or the mean if that is less, and at most four deviations
    more than the mean.
    """

    mean: int
    deviation: float = 0.0

    @property
    def limit(self) -> int:
        """The largest."""
        return self.mean + math.ceil(4 * self.deviation)

    @property
    def average(self) -> float:
        """Of many."""
        return (1 - _HALVED / 2) * self.mean

    def draw(self, key: jax.Array) -> jax.Array:
        """A length: an integer scalar."""
        half_key, normal_key = jax.random.split(key)
        mean = jnp.where(jax.random.uniform(half_key) < _HALVED, self.mean / 2, self.mean)
        length = mean + self.deviation * jax.random.normal(normal_key)
        least = min(5, self.mean) if self.deviation else 1
        return jnp.clip(length.astype(jnp.int32), least, self.limit)


class Place(NamedTuple):
    """How far a text has been read: the row of its streams, and the hidden state there."""

    position: jax.Array
    hidden: jax.Array


def start(batch_size: int, units: int) -> Place:
    """The beginning of a text."""
    return Place(jnp.zeros((), jnp.int32), jnp.zeros((batch_size, units)))


def padded_streams(words: np.ndarray, batch_size: int, limit: int) -> jax.Array:
    """The streams of a text with padding for a segment of ``limit`` steps anywhere: [rows + limit,
    batch_size].

    Raises:
        ValueError: as ``streams``.
    """
    return jnp.asarray(np.pad(streams(words, batch_size), ((0, limit), (0, 0))))


def take(
    text: jax.Array, place: Place, length: jax.typing.ArrayLike, limit: int, masks: Masks
) -> Segment:
    """The segment at a place of a padded text; shorter than ``length`` if the text ends."""
    window = lax.dynamic_slice_in_dim(text, place.position, limit + 1)
    length = jnp.minimum(length, _steps(text, limit) - place.position)
    return Segment(window[:-1], window[1:], length, place.hidden, masks)


def move(text: jax.Array, place: Place, length: jax.Array, limit: int) -> Place:
    """The place after a segment, whose last hidden state ``place`` has; after the end of the text,
    its beginning."""
    position = place.position + length
    ended = position >= _steps(text, limit)
    return Place(jnp.where(ended, 0, position), jnp.where(ended, 0, place.hidden))


def segments_per_epoch(text: jax.Array, lengths: Lengths) -> int:
    """Segments that one pass over a padded text takes on average."""
    return max(1, round(_steps(text, lengths.limit) / lengths.average))


def _steps(text: jax.Array, limit: int) -> int:
    """The words of each stream that have one after them."""
    return len(text) - limit - 1
