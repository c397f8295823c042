"""Networks of Inception blocks, among them Inception-v3 (arXiv:1512.00567) and -v4
(arXiv:1602.07261)."""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from string import ascii_lowercase
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv import functional
from jaxcv.blocks import (
    Branches,
    InceptionA,
    InceptionA5,
    InceptionB,
    InceptionC,
    InceptionC4,
    ReductionA,
    ReductionB,
)
from jaxcv.blocks.inception import CONVOLUTION, Convolution, create_steps
from jaxcv.layers import Linear
from jaxcv.models.network import Endpoints, Entry, Names, Network, classified

# Makes a block of (inputs, convolution=, rngs=), with ``outputs`` channels.
Stage = Callable[..., Any]
# By the stage that it reads: the name of an auxiliary head, and what makes it, of
# (inputs, num_classes, convolution=, rngs=).
Heads = Mapping[str, tuple[str, Callable[..., Any]]]
INCEPTION_STATISTICS = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class InceptionNetwork(Network):
    """Stages one after the other, the mean over the pixels, dropout, a linear classifier.

    Args:
        stages: by its name, what makes each, of ``(inputs, convolution=, rngs=)``.
        num_classes: number of logits.
        inputs: channels of the images.
        least_size: smallest height and width of the images, in pixels.
        heads: auxiliary heads, for training: by the stage that each reads, its name and what makes
            it, of ``(inputs, num_classes, convolution=, rngs=)``.
        drop_rate: of dropout before the classifier.
        convolution: makes one, as ``ConvNorm``.
        dtype: to compute in; parameters, statistics and logits stay float32.
        rngs: source of the initial values: of the convolutions a truncated normal with variance
            ``2 / fan-in``.

    Features: those of the stages and heads by their names, "pooled", "logits".

    Raises:
        ValueError: for numbers below 1, and a rate outside [0, 1).
    """

    def __init__(
        self,
        stages: Mapping[str, Stage],
        num_classes: int,
        *,
        inputs: int = 3,
        least_size: int = 1,
        heads: Heads | None = None,
        drop_rate: float = 0.0,
        convolution: Convolution = CONVOLUTION,
        dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        super().__init__(num_classes, inputs=inputs, least_size=least_size, dtype=dtype)
        if not 0 <= drop_rate < 1:
            raise ValueError(f"drop_rate={drop_rate!r}; allowed is a probability in [0, 1)")
        self.stages, self.drop_rate = tuple(stages), drop_rate
        heads = heads or {}
        self.heads = tuple((stage, name) for stage, (name, _) in heads.items())
        made = []
        last = inputs
        for name, make in stages.items():
            stage = make(last, convolution=convolution, rngs=rngs)
            setattr(self, name, stage)
            last = stage.outputs
            if name in heads:
                made.append(heads[name][1](last, num_classes, convolution=convolution, rngs=rngs))
        self.auxiliary = nnx.List(made)
        self.classifier = Linear(last, num_classes, rngs=rngs)

    def endpoints(self, x: jax.Array, *, train: bool, key: jax.Array | None) -> Endpoints:
        keys = [
            None if key is None else jax.random.fold_in(key, n) for n in range(1 + len(self.heads))
        ]
        heads = {
            stage: (name, head, own)
            for (stage, name), head, own in zip(self.heads, self.auxiliary, keys[1:], strict=True)
        }
        for stage in self.stages:
            x = getattr(self, stage)(x, train=train)
            yield stage, x
            if stage in heads:
                name, head, own = heads[stage]
                yield name, head(x, train=train, key=own)
        yield from classified(x, self.classifier, drop_rate=self.drop_rate, key=keys[0])


def steps(text: str, *widths: int) -> Stage:
    """A stage in the notation of ``jaxcv.blocks.inception``."""

    def make(inputs: int, *, convolution: Convolution, rngs: nnx.Rngs) -> Any:
        return create_steps(inputs, text, widths, convolution=convolution, rngs=rngs)

    return make


def block(kind: type[Branches], *widths: Sequence[int], **options: Any) -> Stage:
    """A stage of one block, with the channels of each branch."""
    return functools.partial(kind, widths=widths, **options)


class AuxiliaryHead(nnx.Module):
    """A second classifier in the middle of Inception-v3: 5x5 average pooling of stride 3, a 1x1
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


def check_repeats(repeats: Sequence[int]) -> None:
    if len(repeats) != 3 or any(not isinstance(each, int) or each < 1 for each in repeats):
        raise ValueError(f"repeats={repeats!r}; allowed are three positive ints")


# How the parts of a block are called in PyTorch.
UNIT_NAMES: Names = ((r"convolution\.", "conv."), (r"norm\.", "bn."))
BRANCH_NAMES: Names = (
    (r"\.branches\.(\d)", r".branch\1"),
    (r"\.operations", ""),
    *UNIT_NAMES,
)

STEM: dict[str, Stage] = {
    "conv2d_1a": steps("3x3V/2", 32),
    "conv2d_2a": steps("3x3V", 32),
    "conv2d_2b": steps("3x3", 64),
}
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
V3_HEADS: Heads = {"mixed_6e": ("auxiliary", AuxiliaryHead)}


def inception_v3(
    num_classes: int, *, auxiliary: bool = False, drop_rate: float = 0.5, **options: Any
) -> InceptionNetwork:
    """Inception-v3 (arXiv:1512.00567) in the form of its published weights.

    Args:
        num_classes: number of logits.
        auxiliary: whether to have an auxiliary head after "mixed_6e", the feature "auxiliary".
        drop_rate: of dropout before the classifier.
        options: ``inputs``, ``dtype`` and ``rngs``, as of ``InceptionNetwork``.
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
    """
    return InceptionNetwork(
        _v4_stages(repeats), num_classes, least_size=75, drop_rate=drop_rate, **options
    )


def v4_names(repeats: Sequence[int] = _V4_REPEATS) -> Names:
    """How timm calls the variables of an Inception-v4."""
    stages = enumerate(_v4_stages(repeats))
    return (
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
    "inception_v3": Entry(
        inception_v3,
        {"torchvision": V3_NAMES, "timm": V3_NAMES},
        image_size=299,
        statistics=INCEPTION_STATISTICS,
        top1=77.294,
        source="torchvision, IMAGENET1K_V1",
    ),
    "inception_v4": Entry(
        inception_v4,
        {"timm": v4_names()},
        image_size=299,
        statistics=INCEPTION_STATISTICS,
        top1=80.144,
        source="timm, inception_v4.tf_in1k",
    ),
}
