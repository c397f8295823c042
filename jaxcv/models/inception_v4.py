"""Inception-v4 (arXiv:1602.07261)."""

from collections.abc import Sequence
from string import ascii_lowercase
from typing import Any

from jaxcv.blocks import Branches, InceptionA, InceptionB, InceptionC4, ReductionA, ReductionB
from jaxcv.models.inception import (
    BRANCH_NAMES,
    INCEPTION_STATISTICS,
    STEM,
    InceptionNetwork,
    Stage,
    block,
    check_repeats,
)
from jaxcv.models.network import Entry, Names


class _Mixed3a(Branches):
    template = ("max3x3V/2", "3x3V/2")


class _Mixed4a(Branches):
    template = ("1x1 3x3V", "1x1 1x7 7x1 3x3V")


class _Mixed5a(Branches):
    template = ("3x3V/2", "max3x3V/2")


# By their size: what leads to it, and the block that is repeated there.
_V4 = {
    "5": (
        block(_Mixed5a, (192,), ()),
        block(InceptionA, (96,), (64, 96), (64, 96, 96), (96,), pool="inner_mean"),
    ),
    "6": (
        block(ReductionA, (384,), (192, 224, 256), ()),
        block(
            InceptionB,
            (384,),
            (192, 224, 256),
            (192, 192, 224, 224, 256),
            (128,),
            pool="inner_mean",
        ),
    ),
    "7": (
        block(ReductionB, (192, 192), (256, 256, 320, 320), ()),
        block(InceptionC4, (256,), (384, 256), (384, 448, 512, 256), (256,), pool="inner_mean"),
    ),
}
_V4_REPEATS = (4, 7, 3)


def _v4_stages(repeats: Sequence[int]) -> dict[str, Stage]:
    check_repeats(repeats)
    if max(repeats) >= len(ascii_lowercase):
        raise ValueError(f"repeats={repeats!r}; allowed are at most 25, as letters name the blocks")
    stages = {
        **STEM,
        "mixed_3a": block(_Mixed3a, (), (96,)),
        "mixed_4a": block(_Mixed4a, (64, 96), (64, 64, 64, 96)),
    }
    for (size, (first, repeated)), repeat in zip(_V4.items(), repeats, strict=True):
        stages[f"mixed_{size}a"] = first
        stages |= {f"mixed_{size}{letter}": repeated for letter in ascii_lowercase[1 : repeat + 1]}
    return stages


def inception_v4(
    num_classes: int,
    *,
    repeats: Sequence[int] = _V4_REPEATS,
    drop_rate: float = 0.2,
    **options: Any,
) -> InceptionNetwork:
    """Inception-v4 (arXiv:1602.07261).

    Args:
        num_classes: number of logits.
        repeats: numbers of blocks A, B and C.
        drop_rate: of dropout before the classifier.
        options: ``inputs``, ``dtype`` and ``rngs``, as of ``InceptionNetwork``.

    Features: those of its stages: "conv2d_1a", "conv2d_2a", ..., "mixed_7d", "pooled", "logits".

    Raises:
        ValueError: for numbers below 1, more repeats than 25, and a rate outside [0, 1).
    """
    return InceptionNetwork(
        _v4_stages(repeats), num_classes, least_size=75, drop_rate=drop_rate, **options
    )


def v4_names(repeats: Sequence[int] = _V4_REPEATS) -> Names:
    """How timm calls the variables of an Inception-v4."""
    stages = enumerate(_v4_stages(repeats))
    return (
        (r"^stages\.", ""),
        # Lone convolutions beside a pooling, and those of blocks C, where two are side by side.
        (r"^mixed_3a\.branches\.1", "mixed_3a.conv"),
        (r"^mixed_5a\.branches\.0", "mixed_5a.conv"),
        (
            r"^(mixed_7[b-z])\.branches\.([12])\.operations\.(\d)(?:\.branches\.(\d))?",
            lambda found: (
                f"{found[1]}.branch{found[2]}_{found[3]}{'ab'[int(found[4])] if found[4] else ''}"
            ),
        ),
        *((rf"^{name}\.", f"features.{place}.") for place, name in stages),
        (r"^classifier", "last_linear"),
        *BRANCH_NAMES,
    )


MODELS = {
    "inception_v4": Entry(
        inception_v4,
        {"timm": v4_names()},
        image_size=299,
        statistics=INCEPTION_STATISTICS,
        top1=80.144,
        source="timm, inception_v4.tf_in1k",
    ),
}
