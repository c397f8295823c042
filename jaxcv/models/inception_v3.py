"""Inception-v3 (arXiv:1512.00567)."""

import re
from typing import Any

import jax
from flax import nnx

from jaxcv import functional
from jaxcv.blocks import InceptionA5, InceptionB, InceptionC, ReductionA, ReductionB
from jaxcv.blocks.inception import Convolution
from jaxcv.layers import Linear
from jaxcv.models.inception import (
    INCEPTION_STATISTICS,
    STEM,
    UNIT_NAMES,
    Heads,
    InceptionNetwork,
    Stage,
    block,
    steps,
)
from jaxcv.models.network import Entry, Names, classified


class InceptionV3Head(nnx.Module):
    """A second classifier in the middle of the network: 5x5 average pooling of stride 3, a 1x1
    convolution to 128 channels, a 5x5 one to 768, the mean over the pixels left, linear."""

    def __init__(self, inputs: int, num_classes: int, *, convolution: Convolution, rngs: nnx.Rngs):
        self.first = convolution(inputs, 128, 1, rngs=rngs)
        self.second = convolution(128, 768, 5, rngs=rngs)
        self.classifier = Linear(768, num_classes, rngs=rngs)

    def __call__(
        self, x: jax.Array, *, train: bool = False, key: jax.Array | None = None
    ) -> jax.Array:
        """[batch, height, width, inputs] to logits [batch, num_classes], float32."""
        x = self.first(functional.avg_pool2d(x, 5, stride=3), train=train)
        return dict(classified(self.second(x, train=train), self.classifier))["logits"]


def _v3_b(inside: int) -> Stage:
    widths = (192,), (inside, inside, 192), (inside, inside, inside, inside, 192), (192,)
    return block(InceptionB, *widths)


V3_STAGES = {
    **STEM,
    "maxpool_3a": steps("max3x3V/2"),
    "conv2d_3b": steps("1x1", 80),
    "conv2d_4a": steps("3x3V", 192),
    "maxpool_5a": steps("max3x3V/2"),
    "mixed_5b": block(InceptionA5, (64,), (48, 64), (64, 96, 96), (32,)),
    "mixed_5c": block(InceptionA5, (64,), (48, 64), (64, 96, 96), (64,)),
    "mixed_5d": block(InceptionA5, (64,), (48, 64), (64, 96, 96), (64,)),
    "mixed_6a": block(ReductionA, (384,), (64, 96, 96), ()),
    "mixed_6b": _v3_b(128),
    "mixed_6c": _v3_b(160),
    "mixed_6d": _v3_b(160),
    "mixed_6e": _v3_b(192),
    "mixed_7a": block(ReductionB, (192, 320), (192, 192, 192, 192), ()),
    "mixed_7b": block(InceptionC, (320,), (384, 384), (448, 384, 384), (192,)),
    "mixed_7c": block(InceptionC, (320,), (384, 384), (448, 384, 384), (192,)),
}
V3_HEADS: Heads = {"mixed_6e": ("auxiliary", InceptionV3Head)}


def inception_v3(
    num_classes: int, *, auxiliary: bool = False, drop_rate: float = 0.5, **options: Any
) -> InceptionNetwork:
    """Inception-v3 (arXiv:1512.00567) in the form of its published weights.

    Args:
        num_classes: number of logits.
        auxiliary: whether to have an auxiliary head after "mixed_6e", the feature "auxiliary".
        drop_rate: of dropout before the classifier.
        options: ``inputs``, ``dtype`` and ``rngs``, as of ``InceptionNetwork``.

    Features: those of its stages: "conv2d_1a", "conv2d_2a", ..., "mixed_7c", "pooled", "logits".

    Raises:
        ValueError: for numbers below 1, and a rate outside [0, 1).
    """
    return InceptionNetwork(
        V3_STAGES,
        num_classes,
        least_size=299 if auxiliary else 75,
        heads=V3_HEADS if auxiliary else None,
        drop_rate=drop_rate,
        **options,
    )


_V3_BRANCHES = {
    "5": ("1x1", "5x5", "3x3dbl", "_pool"),
    "6a": ("3x3", "3x3dbl"),
    "6": ("1x1", "7x7", "7x7dbl", "_pool"),
    "7a": ("3x3", "7x7x3"),
    "7": ("1x1", "3x3", "3x3dbl", "_pool"),
}


def _v3_name(found: re.Match[str]) -> str:
    size, letter, branch, place, side = found.groups()
    name = (_V3_BRANCHES.get(size + letter) or _V3_BRANCHES[size])[int(branch)]
    number = f"_{int(place) + 1}" if place and name != "_pool" else ""
    return f"Mixed_{size}{letter}.branch{name}{number}{'ab'[int(side)] if side else ''}"


V3_NAMES: Names = (
    (r"^stages\.", ""),
    (r"^conv2d_3b", "Conv2d_3b_1x1"),
    (r"^conv2d_(\w+)", r"Conv2d_\1_3x3"),
    (
        r"^mixed_(\d)(\w)\.branches\.(\d)(?:\.operations\.(\d))?(?:\.branches\.(\d))?",
        _v3_name,
    ),
    (r"^auxiliary\.0\.first", "AuxLogits.conv0"),
    (r"^auxiliary\.0\.second", "AuxLogits.conv1"),
    (r"^auxiliary\.0\.classifier", "AuxLogits.fc"),
    (r"^classifier", "fc"),
    *UNIT_NAMES,
)

MODELS = {
    "inception_v3": Entry(
        inception_v3,
        {"torchvision": V3_NAMES, "timm": V3_NAMES},
        image_size=299,
        statistics=INCEPTION_STATISTICS,
        top1=77.294,
        source="torchvision, IMAGENET1K_V1",
    ),
}
