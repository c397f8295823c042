"""A small space and evaluators that other processes can import, for tests of searches."""

import os
import time
from pathlib import Path

from search.discrete import DiscreteSpace, Point
from search.evaluators import Outcome
from search.strategies import Proposal

OPTIONS = 4


def decode(point: Point) -> Point:
    return point


def canonical(point: Point) -> str:
    """Points are isomorphic that have the same first decision and the same others in any order."""
    return str((point[0], *sorted(point[1:])))


SPACE = DiscreteSpace("toy", (tuple("abcd"),) * OPTIONS, decode, canonical)


def worth(point: Point) -> float:
    """One optimum, at (3, 3, 3, 3), and no other that is local."""
    return sum(point) + 0.1 * point[0]


def evaluate(proposal: Proposal, seed: int) -> Outcome:
    return Outcome(worth(proposal.point), {"seed": seed, "budget": proposal.budget or 0})


def fail_often(proposal: Proposal, seed: int) -> Outcome:
    """Raises for one first option, diverges for another."""
    if proposal.point[0] == 0:
        raise ValueError("no such network")
    return Outcome(float("nan") if proposal.point[0] == 1 else worth(proposal.point), {})


def fail(proposal: Proposal, seed: int) -> Outcome:
    raise OSError("no data")


class Deadly:
    """Takes a moment, and kills its process once, at the third trial or one soon after."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __call__(self, proposal: Proposal, seed: int) -> Outcome:
        time.sleep(0.2)
        count = self.folder / "count"
        with count.open("a") as file:
            file.write(".")
        dead = self.folder / "dead"
        if count.stat().st_size > 2 and not dead.exists():
            dead.touch()
            os._exit(9)
        return evaluate(proposal, seed)
