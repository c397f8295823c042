"""Points with their scores, and the children of the best of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from search.discrete import DiscreteSpace, Point


class Member(NamedTuple):
    """A point that was evaluated, and its score."""

    point: Point
    score: float


def child(members: Sequence[Member], space: DiscreteSpace, random: np.random.Generator) -> Point:
    """A mutant of the best of some members, or a random point if that has no neighbour in the
    space, as can be where it is limited."""
    parent = max(members, key=lambda member: member.score).point
    try:
        return space.mutate(parent, random)
    except ValueError:
        return space.sample(random)
