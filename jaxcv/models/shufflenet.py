"""ShuffleNets, versions 1 (arXiv:1707.01083) and 2 (arXiv:1807.11164)."""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv import functional
from jaxcv.blocks import ConvNorm, ShuffleUnit, ShuffleUnitV2
from jaxcv.functional._arguments import positive
from jaxcv.layers import Linear
from jaxcv.models.network import Endpoints, Entry, Names, Network, check_depths, classified

_STEM_CHANNELS = 24
_DEPTHS = (4, 8, 4)


class ShuffleNet(Network):
    """A stem that divides height and width by 4, stages of units, on request a pointwise
    convolution to more channels, the mean over the pixels, a linear classifier.

    The stem is a 3x3 convolution of stride 2 to 24 channels, batch norm, ReLU and 3x3 max pooling
    of stride 2. Each stage begins with stride 2.

    Args:
        unit: makes one, as ``unit(inputs, outputs, stride=stride, rngs=rngs)``: ``ShuffleUnit``,
            ``ShuffleUnitV2``, or a partial of them with other arguments.
        channels: of each stage.
        head: channels of the last pointwise convolution, None for none.
        num_classes: number of logits.
        depths: for each stage, how many units it has.
        inputs: channels of the images.
        dtype: to compute in; parameters, statistics and logits stay float32.
        rngs: source of the initial values, uniform in ``+-1 / sqrt(fan-in)``.

    Features: "stem", "stage1", "stage2", ..., "head" if there is one, "pooled", "logits".

    Raises:
        ValueError: for numbers below 1, no stages, another number of channels than stages, and
            channels that the units do not allow.
    """

    def __init__(
        self,
        unit: Callable[..., Any],
        channels: Sequence[int],
        head: int | None,
        num_classes: int,
        *,
        depths: Sequence[int] = _DEPTHS,
        inputs: int = 3,
        dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        super().__init__(num_classes, inputs=inputs, dtype=dtype)
        check_depths(depths)
        if len(channels) != len(depths):
            raise ValueError(f"channels={channels!r}; allowed is one for each of depths={depths}")
        last = _STEM_CHANNELS
        self.stem = ConvNorm(inputs, last, 3, stride=2, padding=1, rngs=rngs)
        self.stages: nnx.List[nnx.List[Any]] = nnx.List()
        for outputs, depth in zip(channels, depths, strict=True):
            stage: nnx.List[Any] = nnx.List()
            for place in range(depth):
                stage.append(unit(last, outputs, stride=1 if place else 2, rngs=rngs))
                last = outputs
            self.stages.append(stage)
        self.head = nnx.data(None)
        if head is not None:
            positive(head=head)
            self.head = ConvNorm(last, head, 1, rngs=rngs)
            last = head
        self.classifier = Linear(last, num_classes, rngs=rngs)

    def endpoints(self, x: jax.Array, *, train: bool, key: jax.Array | None) -> Endpoints:
        x = self.stem(x, train=train)
        yield "stem", x
        x = functional.max_pool2d(x, 3, stride=2, padding=1)
        for number, stage in enumerate(self.stages, 1):
            for unit in stage:
                x = unit(x, train=train)
            yield f"stage{number}", x
        if self.head is not None:
            x = self.head(x, train=train)
            yield "head", x
        yield from classified(x, self.classifier)


# By the number of groups, so that all have about as many multiply-adds.
_V1_CHANNELS = {
    1: (144, 288, 576),
    2: (200, 400, 800),
    3: (240, 480, 960),
    4: (272, 544, 1088),
    8: (384, 768, 1536),
}


def shufflenet_v1(num_classes: int, *, groups: int = 3, **options: Any) -> ShuffleNet:
    """ShuffleNet (arXiv:1707.01083).

    Args:
        num_classes: number of logits.
        groups: of its pointwise convolutions, but for the first one, which reads few channels: 1,
            2, 3, 4 or 8.
        options: ``depths``, ``inputs``, ``dtype`` and ``rngs``, as of ``ShuffleNet``.

    Raises:
        ValueError: for another number of groups.
    """
    if groups not in _V1_CHANNELS:
        allowed = ", ".join(map(str, _V1_CHANNELS))
        raise ValueError(f"groups={groups!r}; allowed are {allowed}")

    def unit(inputs: int, outputs: int, *, stride: int, rngs: nnx.Rngs) -> ShuffleUnit:
        first = 1 if inputs == _STEM_CHANNELS else groups
        return ShuffleUnit(
            inputs, outputs, groups=groups, first_groups=first, stride=stride, rngs=rngs
        )

    return ShuffleNet(unit, _V1_CHANNELS[groups], None, num_classes, **options)


def _v2_layer(found: re.Match[str]) -> str:
    stage, unit, branch, place, kind = found.groups()
    # ReLU counts as a layer, where there is one.
    first, name = {"first": ((0, 2), "branch1"), "second": ((0, 3, 5), "branch2")}[branch]
    layer = first[int(place)] + (kind == "norm")
    return f"stage{int(stage) + 2}.{unit}.{name}.{layer}"


NAMES: Names = (
    (r"^stages\.(\d+)\.(\d+)\.(first|second)\.(\d)\.(convolution|norm)", _v2_layer),
    (r"^stem\.", "conv1."),
    (r"^head\.", "conv5."),
    (r"\.convolution\.", ".0."),
    (r"\.norm\.", ".1."),
    (r"^classifier\.", "fc."),
)


def _v2(channels: Sequence[int], head: int, top1: float) -> Entry:
    return Entry(
        functools.partial(ShuffleNet, ShuffleUnitV2, channels, head),
        {"torchvision": NAMES},
        top1=top1,
        source="torchvision, IMAGENET1K_V1",
    )


MODELS = {
    "shufflenet_v1": Entry(shufflenet_v1, top1=67.4, source="arXiv:1707.01083, 3 groups"),
    "shufflenet_v2_x0_5": _v2((48, 96, 192), 1024, 60.552),
    "shufflenet_v2_x1_0": _v2((116, 232, 464), 1024, 69.362),
    "shufflenet_v2_x1_5": _v2((176, 352, 704), 1024, 72.996),
    "shufflenet_v2_x2_0": _v2((244, 488, 976), 2048, 76.230),
}
