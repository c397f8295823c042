"""What the features along one axis read, in closed form."""

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple


def hull(parts: Iterable[range]) -> range:
    """The smallest range that holds them all."""
    full = [part for part in parts if part]
    if not full:
        return range(0)
    return range(min(part.start for part in full), max(part.stop for part in full))


class Reach(NamedTuple):
    """Which pixels each feature along one axis reads: of P phases, feature ``P t + r`` reads
    ``phases[r]`` moved by ``advance t``. There is one phase unless a layer upsamples.

    Image and feature maps are taken to go on beyond their borders, as in arXiv:1603.07285: what is
    outside the image is padding.
    """

    advance: int
    phases: tuple[range, ...]

    def pixels(self, feature: int) -> range:
        """The smallest range of pixels with all that the feature reads."""
        turn, phase = divmod(feature, len(self.phases))
        first, last = self.phases[phase].start, self.phases[phase].stop
        return range(first + turn * self.advance, last + turn * self.advance)

    @property
    def size(self) -> int:
        """Pixels from the first one to the last one that a feature reads, the most of any."""
        return max(map(len, self.phases))

    @property
    def jump(self) -> int | Fraction:
        """Pixels from the centre of one feature to that of the next."""
        ratio = Fraction(self.advance, len(self.phases))
        return ratio.numerator if ratio.denominator == 1 else ratio

    @property
    def centre(self) -> float:
        """Middle of what feature 0 reads, in pixels; pixel 0 has its middle at 0. With several
        phases that of the line nearest to them all, NaN where nothing is read."""
        middles = [
            Fraction(phase.start + phase.stop - 1, 2) - number * self.jump
            for number, phase in enumerate(self.phases)
            if phase
        ]
        return float(sum(middles) / len(middles)) if middles else math.nan

    def compose(self, advance: int, offsets: Sequence[Iterable[int]]) -> "Reach":
        """The reach of a next layer whose feature ``len(offsets) t + r`` reads the features
        ``advance t + o`` of this one, o in ``offsets[r]``."""
        # After so many turns the phases of this layer come round again.
        turns = len(self.phases) // math.gcd(advance, len(self.phases))
        phases = tuple(
            hull(self.pixels(advance * turn + offset) for offset in each)
            for turn in range(turns)
            for each in offsets
        )
        return Reach(self.advance * advance * turns // len(self.phases), phases)

    def window(
        self, size: int, stride: int = 1, offset: int = 0, dilation: int = 1, spread: int = 1
    ) -> "Reach":
        """The reach of a next layer whose feature i reads each feature j of this one with
        ``spread j = stride i + dilation k + offset`` for a k in ``range(size)``."""
        offsets: list[list[int]] = []
        for phase in range(spread):
            taps = (stride * phase + dilation * k + offset for k in range(size))
            offsets.append([tap // spread for tap in taps if tap % spread == 0])
        return self.compose(stride, offsets)

    def union(self, other: "Reach") -> "Reach":
        """What a feature reads by two ways. Their jumps have to be equal."""
        period = math.lcm(len(self.phases), len(other.phases))
        phases = tuple(hull((self.pixels(i), other.pixels(i))) for i in range(period))
        return Reach(self.advance * period // len(self.phases), phases)


IDENTITY = Reach(1, (range(1),))
