"""Layered drawing of a directed acyclic graph, left to right (Sugiyama's method).

Every box has a column, and an edge that passes a column has a place of its own there, as its label
has: so no line meets a box that is not its own. Within the columns an order with few crossings is
looked for, then the heights that keep the edges short and straight.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_STARTS = 16
_SWEEPS = 4
_STEPS = 20
_FINAL_STEPS = 500
_PORT = 0.15
_MARGIN = 0.06


class Box(NamedTuple):
    """A box in a column, its size and the space it wants above and below, in inches.

    A place where a line passes has no size.
    """

    column: int
    width: float = 0.0
    height: float = 0.0
    margin: float = 0.065


class Arrangement(NamedTuple):
    """Heights in inches, upwards: of the boxes' centres [boxes], and of the ports, where each link
    leaves its first box and enters its second [links, 2]."""

    y: np.ndarray
    ports: np.ndarray


def arrange(boxes: Sequence[Box], links: Sequence[tuple[int, int]]) -> Arrangement:
    """Where the boxes and the lines between them stand.

    Args:
        boxes: those of column 0 keep their order, top to bottom.
        links: pairs of boxes, the first one a column before the second.
    """
    ends = np.array(links)
    generator = random.Random(0)
    columns: list[list[int]] = [[] for _ in range(1 + max(box.column for box in boxes))]
    for number, box in enumerate(boxes):
        columns[box.column].append(number)
    best = (np.inf, np.inf)
    for start in range(_STARTS):
        if start:
            for column in columns[1:]:
                generator.shuffle(column)
        crossings = _reduce_crossings(columns, boxes, ends)
        if crossings > best[0]:
            continue
        rises = np.diff(_place(columns, boxes, ends, _STEPS).ports)
        # Rounded, so that the choice between equals is the same on every machine.
        score = (crossings, round(float(np.abs(rises).sum()), 3))
        if score < best:
            best, order = score, [list(column) for column in columns]
    return _place(order, boxes, ends, _FINAL_STEPS)


def _positions(columns: list[list[int]]) -> np.ndarray:
    position = np.zeros(sum(map(len, columns)))
    for column in columns:
        position[column] = range(len(column))
    return position


def _reduce_crossings(columns: list[list[int]], boxes: Sequence[Box], ends: np.ndarray) -> int:
    """Sorts all columns but the first in place; returns the number of crossings that remain."""
    begin = np.array([boxes[source].column for source in ends[:, 0]])
    beside = np.equal.outer(begin, begin)

    def crossings() -> int:
        # Two links cross where their sources are in one order and their targets in the other.
        source, target = _positions(columns)[ends.T]
        turned = np.subtract.outer(source, source) * np.subtract.outer(target, target) < 0
        return int((turned & beside).sum()) // 2

    def centre(box: int, side: int, position: np.ndarray) -> float:
        others = ends[ends[:, side] == box, 1 - side]
        return float(position[others].mean()) if len(others) else float(position[box])

    inner = columns[1:]
    for _ in range(_SWEEPS):
        for side, order in ((1, inner), (0, inner[::-1])):
            for column in order:
                position = _positions(columns)
                keys = {box: centre(box, side, position) for box in column}
                column.sort(key=keys.__getitem__)
    best = crossings()
    improved = True
    while improved:
        improved = False
        for column in inner:
            for i in range(len(column) - 1):
                column[i : i + 2] = column[i + 1], column[i]
                if (number := crossings()) < best:
                    best, improved = number, True
                else:
                    column[i : i + 2] = column[i + 1], column[i]
    return best


def _port_offsets(columns: list[list[int]], boxes: Sequence[Box], ends: np.ndarray) -> np.ndarray:
    """How far above its box's centre each link ends [links, 2]: spread over the side of the box in
    the order in which the lines come, so that they do not cross there."""
    position = _positions(columns)
    offsets = np.zeros(ends.shape)
    for side in (0, 1):
        for box in set(ends[:, side].tolist()):
            lines = np.flatnonzero(ends[:, side] == box)
            lines = lines[np.argsort(position[ends[lines, 1 - side]], kind="stable")]
            step = min(_PORT, max(boxes[box].height - 2 * _MARGIN, 0.0) / len(lines))
            offsets[lines, side] = step * ((len(lines) - 1) / 2 - np.arange(len(lines)))
    return offsets


def _place(
    columns: list[list[int]], boxes: Sequence[Box], ends: np.ndarray, steps: int
) -> Arrangement:
    """The heights for which the links rise least, by descent on one column after the other. A sum
    of absolute values is descended as one of squares, weighted anew each time."""
    heights = np.array([box.height for box in boxes])
    extents = heights / 2 + np.array([box.margin for box in boxes])
    offsets = _port_offsets(columns, boxes, ends)
    first, second = np.concatenate([ends, ends[:, ::-1]]).T
    shift = np.concatenate([offsets[:, 1] - offsets[:, 0], offsets[:, 0] - offsets[:, 1]])
    # Between boxes the square counts, so that a box stands amid its neighbours; for a line that
    # passes, the absolute value, so that it has few bends, and those beside the boxes.
    passing = (heights[first] == 0).astype(int) + (heights[second] == 0)
    stiffness = np.array([4.0, 1.0, 4.0])[passing]
    y = np.zeros(len(boxes))
    slots = []
    for column in columns:
        extent = extents[column]
        slot = -np.concatenate([[0.0], np.cumsum(extent[1:] + extent[:-1])])
        slots.append(slot)
        y[column] = slot - slot.mean()
    pairs = list(zip(columns, slots, strict=True))
    for _ in range(steps):
        before = y.copy()
        for column, slot in [*pairs, *reversed(pairs)]:
            goal = y[second] + shift
            weights = stiffness / np.where(passing, np.abs(y[first] - goal) + 0.01, 1.0)
            # A box without links stays where it is.
            mass = np.bincount(first, weights, len(boxes)) + 1e-9
            pull = np.bincount(first, weights * goal, len(boxes)) + 1e-9 * y
            y[column] = slot + _falling((pull / mass)[column] - slot, mass[column])
        if np.abs(y - before).max() < 1e-4:
            break
    return Arrangement(y, y[ends] + offsets)


def _falling(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The nearest sequence that never rises, by pooling adjacent violators."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        mean, mass, count = value, weight, 1
        while blocks and blocks[-1][0] < mean:
            last, last_mass, last_count = blocks.pop()
            mean = (last * last_mass + mean * mass) / (last_mass + mass)
            mass, count = mass + last_mass, count + last_count
        blocks.append((mean, mass, count))
    return np.repeat([mean for mean, _, _ in blocks], [count for _, _, count in blocks])
