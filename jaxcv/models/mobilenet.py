"""MobileNets, versions 1 (arXiv:1704.04861) and 2 (arXiv:1801.04381)."""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv.blocks import InvertedResidual, SeparableBlock
from jaxcv.blocks.mobilenet import ConvNormReLU6
from jaxcv.functional._arguments import positive, probability
from jaxcv.layers import Linear
from jaxcv.models.network import Endpoints, Entry, Names, Network, classified

_STEM_CHANNELS = 32


class Stage(NamedTuple):
    """Blocks one after the other.

    Attributes:
        block: makes one, as ``block(inputs, outputs, stride=stride, rngs=rngs)``:
            ``SeparableBlock``, ``InvertedResidual``, or a partial of them with other arguments.
        channels: what each of them puts out.
        depth: number of blocks.
        stride: of the first block, in pixels.
    """

    block: Callable[..., Any]
    channels: int
    depth: int
    stride: int


class MobileNet(Network):
    """A stem, stages of blocks of depthwise and pointwise convolutions, on request a pointwise
    convolution to many channels, the mean over the pixels, dropout, a linear classifier.

    The stem is a 3x3 convolution of stride 2 to 32 channels, batch norm and ReLU6.

    Args:
        stages: the blocks.
        head: channels of the last pointwise convolution, None for none.
        num_classes: number of logits.
        width: what all numbers of channels are multiplied with, then rounded to a multiple of 8
            that is at least 0.9 as many. The last pointwise convolution does not get narrower.
        drop_rate: of dropout.
        inputs: channels of the images.
        dtype: to compute in; parameters, statistics and logits stay float32.
        rngs: source of the initial values: of the convolutions normal with variance
            ``2 / fan-out``, of the classifier normal with deviation 0.01, of its bias 0.

    Features: "stem", "stage1", "stage2", ..., "head" if there is one, "pooled", "logits".

    Raises:
        ValueError: for numbers below 1, no stages, a width that is not positive, and a rate
            outside [0, 1).
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        head: int | None,
        num_classes: int,
        *,
        width: float = 1.0,
        drop_rate: float = 0.0,
        inputs: int = 3,
        dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        super().__init__(num_classes, inputs=inputs, dtype=dtype)
        if not stages:
            raise ValueError(f"stages={stages!r}; allowed is at least one")
        if not width > 0:
            raise ValueError(f"width={width!r}; allowed is a positive number")
        probability(drop_rate=drop_rate)
        last = _rounded(_STEM_CHANNELS * width)
        self.stem = ConvNormReLU6(inputs, last, 3, stride=2, padding=1, rngs=rngs)
        self.stages: nnx.List[nnx.List[Any]] = nnx.List()
        for block, channels, depth, stride in stages:
            positive(channels=channels, depth=depth, stride=stride)
            stage: nnx.List[Any] = nnx.List()
            for place in range(depth):
                outputs = _rounded(channels * width)
                stage.append(block(last, outputs, stride=1 if place else stride, rngs=rngs))
                last = outputs
            self.stages.append(stage)
        self.head = nnx.data(None)
        if head is not None:
            positive(head=head)
            outputs = _rounded(head * max(1.0, width))
            self.head = ConvNormReLU6(last, outputs, 1, rngs=rngs)
            last = outputs
        self.classifier = Linear(
            last, num_classes, initialize=jax.nn.initializers.normal(0.01), rngs=rngs
        )
        self.drop_rate = drop_rate

    def endpoints(self, x: jax.Array, *, train: bool, key: jax.Array | None) -> Endpoints:
        x = self.stem(x, train=train)
        yield "stem", x
        for number, stage in enumerate(self.stages, 1):
            for block in stage:
                x = block(x, train=train)
            yield f"stage{number}", x
        if self.head is not None:
            x = self.head(x, train=train)
            yield "head", x
        yield from classified(x, self.classifier, drop_rate=self.drop_rate, key=key)


def _rounded(channels: float) -> int:
    """The nearest multiple of 8, or the next one where that is less than 0.9 as many."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


V1 = (
    Stage(SeparableBlock, 64, 1, 1),
    Stage(SeparableBlock, 128, 2, 2),
    Stage(SeparableBlock, 256, 2, 2),
    Stage(SeparableBlock, 512, 6, 2),
    Stage(SeparableBlock, 1024, 2, 2),
)
V2 = (
    Stage(functools.partial(InvertedResidual, expansion=1), 16, 1, 1),
    Stage(InvertedResidual, 24, 2, 2),
    Stage(InvertedResidual, 32, 3, 2),
    Stage(InvertedResidual, 64, 4, 2),
    Stage(InvertedResidual, 96, 3, 1),
    Stage(InvertedResidual, 160, 3, 2),
    Stage(InvertedResidual, 320, 1, 1),
)


def torchvision_names(depths: Sequence[int]) -> Names:
    """How torchvision calls the variables of version 2, which counts all blocks one after the
    other."""
    first = [1 + sum(depths[:number]) for number in range(len(depths))]

    def layer(found: re.Match[str]) -> str:
        stage, block, place, kind = found.groups()
        name = f"features.{first[int(stage)] + int(block)}.conv"
        is_norm = int(kind == "norm")
        # The last convolution of a block and its norm are not in a part of their own.
        if int(place) == (1 if stage == "0" else 2):
            return f"{name}.{int(place) + is_norm}"
        return f"{name}.{place}.{is_norm}"

    return (
        (r"^stages\.(\d+)\.(\d+)\.convolutions\.(\d)\.(convolution|norm)", layer),
        (r"^stem\.", "features.0."),
        (r"^head\.", f"features.{1 + sum(depths)}."),
        (r"\.convolution\.", ".0."),
        (r"\.norm\.", ".1."),
        (r"^classifier\.", "classifier.1."),
    )


def _timm_layer(*convolutions: str) -> Callable[[re.Match[str]], str]:
    def layer(found: re.Match[str]) -> str:
        block, place, kind = found.groups()
        name = f"bn{int(place) + 1}" if kind == "norm" else convolutions[int(place)]
        return f"blocks.{block}.{name}"

    return layer


_LAYER = r"\.convolutions\.(\d)\.(convolution|norm)"
_TIMM_ENDS: Names = (
    (r"^stem\.convolution", "conv_stem"),
    (r"^stem\.norm", "bn1"),
    (r"^head\.convolution", "conv_head"),
    (r"^head\.norm", "bn2"),
)
V1_NAMES: Names = (
    (rf"^stages\.(\d+\.\d+){_LAYER}", _timm_layer("conv_dw", "conv_pw")),
    *_TIMM_ENDS,
)
V2_NAMES: Names = (
    (rf"^stages\.(0\.\d+){_LAYER}", _timm_layer("conv_dw", "conv_pw")),
    (rf"^stages\.(\d+\.\d+){_LAYER}", _timm_layer("conv_pw", "conv_dw", "conv_pwl")),
    *_TIMM_ENDS,
)

MODELS = {
    "mobilenet_v1": Entry(
        functools.partial(MobileNet, V1, None),
        {"timm": V1_NAMES},
        statistics=((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        top1=75.382,
        source="timm, mobilenetv1_100.ra4_e3600_r224_in1k",
    ),
    "mobilenet_v2": Entry(
        functools.partial(MobileNet, V2, 1280, drop_rate=0.2),
        {"torchvision": torchvision_names([stage.depth for stage in V2]), "timm": V2_NAMES},
        top1=71.878,
        source="torchvision, IMAGENET1K_V1",
    ),
}
