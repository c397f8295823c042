"""A discrete search space as a value: an architecture is one option for each of its decisions.

Cells, motifs of motifs and whole networks are all points of such a space, so that a strategy need
not know which it searches.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Point = tuple[int, ...]
"""For each decision the number of the option taken."""


def _everything(point: Point) -> bool:
    return True


@dataclass(frozen=True)
class DiscreteSpace:
    """A discrete search space.

    Attributes:
        name: what it is called.
        options: for each decision the names of its options.
        decode: from a point to its architecture, such as those of ``jaxcv.models.Architecture``,
            or another value that an evaluator of the space takes.
        canonical: from a point to a text that two points share if, and only if, their
            architectures are isomorphic.
        stages: of a space whose architectures grow, how many of the decisions make each size, in
            order: the first so many of a point, which ``decode`` and ``canonical`` then take too.
            By default there is one size, of all decisions.
        allowed: whether a point, each of whose decisions has one of its options, is in the space.

    Raises:
        ValueError: for a decision without options, or stages that do not end with all decisions.
    """

    name: str
    options: tuple[tuple[str, ...], ...]
    decode: Callable[[Point], Any]
    canonical: Callable[[Point], str]
    stages: tuple[int, ...] = ()
    allowed: Callable[[Point], bool] = _everything

    def __post_init__(self) -> None:
        if not self.options or not all(self.options):
            raise ValueError(f"options={self.options!r}; allowed is at least one for each decision")
        stages = self.stages or (len(self.options),)
        if sorted(set(stages)) != list(stages) or stages[-1] != len(self.options):
            raise ValueError(
                f"stages={stages!r}; allowed are rising numbers that end with "
                f"{len(self.options)}, all decisions"
            )

    @property
    def size(self) -> int:
        """Number of points, those that are not allowed among them."""
        return math.prod(map(len, self.options))

    def check(self, point: Point) -> Point:
        """The point, or of a stage its first decisions, if it is in the space.

        Raises:
            ValueError: if it is not.
        """
        lengths = self.stages or (len(self.options),)
        if len(point) not in lengths:
            raise ValueError(
                f"point={point!r} has {len(point)} decisions; allowed are "
                f"{' or '.join(map(str, lengths))}"
            )
        for number, (choice, names) in enumerate(zip(point, self.options, strict=False)):
            if not 0 <= choice < len(names):
                raise ValueError(
                    f"point[{number}]={choice!r}; allowed are 0 to {len(names) - 1}: "
                    f"{', '.join(names)}"
                )
        if not self.allowed(point):
            raise ValueError(f"point={point!r}; allowed are those that {self.name} calls allowed")
        return point

    def sample(self, random: np.random.Generator) -> Point:
        """A point drawn uniformly."""
        while True:
            point = tuple(int(random.integers(len(names))) for names in self.options)
            if self.allowed(point):
                return point

    def mutate(self, point: Point, random: np.random.Generator) -> Point:
        """A point that differs in one decision, drawn uniformly, as its new option is.

        Raises:
            ValueError: if no decision has another option that is allowed.
        """
        open_decisions = [n for n in range(len(point)) if len(self.options[n]) > 1]
        for _ in range(1000):
            if not open_decisions:
                break
            number = open_decisions[random.integers(len(open_decisions))]
            choice = int(random.integers(len(self.options[number]) - 1))
            changed = _with(point, number, choice + (choice >= point[number]))
            if self.allowed(changed):
                return changed
        raise ValueError(f"point={point!r}; allowed is one with an allowed neighbour")

    def crossover(self, one: Point, other: Point, random: np.random.Generator) -> Point:
        """A point with each decision from one or the other, with equal chance.

        Raises:
            ValueError: if hardly any of these is allowed.
        """
        for _ in range(1000):
            picks = random.random(len(one)) < 0.5
            point = tuple(a if pick else b for a, b, pick in zip(one, other, picks, strict=True))
            if self.allowed(point):
                return point
        raise ValueError(f"one={one!r}, other={other!r}; allowed are points with allowed children")

    def neighbours(self, point: Point) -> Iterator[Point]:
        """All points that differ in one decision."""
        for number, taken in enumerate(point):
            for choice in range(len(self.options[number])):
                changed = _with(point, number, choice)
                if choice != taken and self.allowed(changed):
                    yield changed

    def encode(self, point: Point) -> np.ndarray:
        """The options taken, one-hot, one decision after the other: float32 [sum of options].

        Decisions that a smaller architecture of ``stages`` has not are zero.
        """
        code = np.zeros(sum(map(len, self.options)), np.float32)
        start = 0
        for names, choice in zip(self.options, point, strict=False):
            code[start + choice] = 1
            start += len(names)
        return code


def _with(point: Point, number: int, choice: int) -> Point:
    return (*point[:number], choice, *point[number + 1 :])
