"""Inception networks with residual connections (arXiv:1602.07261)."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from flax import nnx

from jaxcv.blocks import (
    InceptionA5,
    InceptionResidual,
    InceptionResidualA,
    InceptionResidualB,
    InceptionResidualC,
    ReductionA,
    ResidualReductionB,
)
from jaxcv.blocks.inception import Convolution, Steps
from jaxcv.models.inception import (
    BRANCH_NAMES,
    INCEPTION_STATISTICS,
    STEM,
    InceptionNetwork,
    Stage,
    block,
    check_repeats,
    steps,
)
from jaxcv.models.network import Entry, Names


def _repeated(kind: type[InceptionResidual], *widths: Sequence[int], scale: float) -> Stage:
    """Of a number, the stage of so many blocks."""

    def make(number: int, inputs: int, *, convolution: Convolution, rngs: nnx.Rngs) -> Steps:
        return Steps(
            kind(inputs, widths, scale=scale, convolution=convolution, rngs=rngs)
            for _ in range(number)
        )

    return make


_STEM: dict[str, Stage] = {
    **STEM,
    "maxpool_3a": steps("max3x3V/2"),
    "conv2d_3b": steps("1x1", 80),
    "conv2d_4a": steps("3x3V", 192),
}
_V1: dict[str, Stage] = {
    **_STEM,
    "conv2d_4b": steps("3x3V/2", 256),
    "block35": _repeated(InceptionResidualA, (32,), (32, 32), (32, 32, 32), scale=0.17),
    "mixed_6a": block(ReductionA, (384,), (192, 192, 256), ()),
    "block17": _repeated(InceptionResidualB, (128,), (128, 128, 128), scale=0.1),
    "mixed_7a": block(ResidualReductionB, (256, 384), (256, 256), (256, 256, 256), ()),
    "block8": _repeated(InceptionResidualC, (192,), (192, 192, 192), scale=0.2),
}
_V2: dict[str, Stage] = {
    **_STEM,
    "maxpool_5a": steps("max3x3V/2"),
    "mixed_5b": block(InceptionA5, (96,), (48, 64), (64, 96, 96), (64,), pool="inner_mean"),
    "block35": _repeated(InceptionResidualA, (32,), (32, 32), (32, 48, 64), scale=0.17),
    "mixed_6a": block(ReductionA, (384,), (256, 256, 384), ()),
    "block17": _repeated(InceptionResidualB, (192,), (128, 160, 192), scale=0.1),
    "mixed_7a": block(ResidualReductionB, (256, 384), (256, 288), (256, 288, 320), ()),
    "block8": _repeated(InceptionResidualC, (192,), (192, 224, 256), scale=0.2),
    "block8_linear": block(InceptionResidualC, (192,), (192, 224, 256), linear=True),
    "conv2d_7b": steps("1x1", 1536),
}


def _network(
    stages: Mapping[str, Stage], num_classes: int, repeats: Sequence[int], **options: Any
) -> InceptionNetwork:
    check_repeats(repeats)
    numbers = zip(("block35", "block17", "block8"), repeats, strict=True)
    chosen = {name: functools.partial(stages[name], number) for name, number in numbers}
    return InceptionNetwork({**stages, **chosen}, num_classes, least_size=75, **options)


def inception_resnet_v1(
    num_classes: int,
    *,
    repeats: Sequence[int] = (5, 10, 5),
    drop_rate: float = 0.2,
    **options: Any,
) -> InceptionNetwork:
    """Inception-ResNet-v1, with about the cost of Inception-v3.

    Args:
        num_classes: number of logits.
        repeats: numbers of residual blocks A, B and C.
        drop_rate: of dropout before the classifier.
        options: ``inputs``, ``dtype`` and ``rngs``, as of ``InceptionNetwork``.

    Features: those of its stages: "conv2d_1a", ..., "block35", "mixed_6a", "block17", "mixed_7a",
    "block8", "pooled", "logits".

    Raises:
        ValueError: for numbers below 1, and a rate outside [0, 1).
    """
    return _network(_V1, num_classes, repeats, drop_rate=drop_rate, **options)


def inception_resnet_v2(
    num_classes: int,
    *,
    repeats: Sequence[int] = (10, 20, 9),
    drop_rate: float = 0.2,
    **options: Any,
) -> InceptionNetwork:
    """Inception-ResNet-v2, with about the cost of Inception-v4, in the form of its published
    weights: with the stem of Inception-v3, twice as many blocks as in the paper, and after them one
    without scaling and ReLU.

    Args:
        num_classes: number of logits.
        repeats: numbers of residual blocks A, B and C, without the last one.
        drop_rate: of dropout before the classifier.
        options: ``inputs``, ``dtype`` and ``rngs``, as of ``InceptionNetwork``.

    Features: those of its stages: "conv2d_1a", ..., "mixed_5b", "block35", "mixed_6a", "block17",
    "mixed_7a", "block8", "block8_linear", "conv2d_7b", "pooled", "logits".

    Raises:
        ValueError: for numbers below 1, and a rate outside [0, 1).
    """
    return _network(_V2, num_classes, repeats, drop_rate=drop_rate, **options)


_NAMES: Names = ((r"^stages\.", ""), (r"projection\.", "conv2d."), *BRANCH_NAMES)
V1_NAMES: Names = (
    (r"^stages\.block35\.operations", "repeat_1"),
    (r"^stages\.block17\.operations", "repeat_2"),
    (r"^stages\.block8\.operations", "repeat_3"),
    (r"^classifier\.", "logits."),
    *_NAMES,
)
V2_NAMES: Names = (
    (r"^stages\.block35\.operations", "repeat"),
    (r"^stages\.block17\.operations", "repeat_1"),
    (r"^stages\.block8\.operations", "repeat_2"),
    (r"^stages\.block8_linear\.", "block8."),
    (r"^classifier\.", "classif."),
    *_NAMES,
)

MODELS = {
    # What is published of facenet-pytorch is for faces, and its classifier reads an embedding.
    "inception_resnet_v1": Entry(
        inception_resnet_v1,
        {"facenet-pytorch": V1_NAMES},
        image_size=299,
        statistics=INCEPTION_STATISTICS,
    ),
    "inception_resnet_v2": Entry(
        inception_resnet_v2,
        {"timm": V2_NAMES},
        image_size=299,
        statistics=INCEPTION_STATISTICS,
        top1=80.434,
        source="timm, inception_resnet_v2.tf_in1k",
    ),
}
