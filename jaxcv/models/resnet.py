"""Residual networks (arXiv:1512.03385)."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv import functional
from jaxcv.blocks import BasicBlock, Bottleneck, ResidualBlock
from jaxcv.layers import BatchNorm, Conv2d, Linear, he_fan_out
from jaxcv.models.network import Endpoints, Entry, Names, Network, classified

_STEM_CHANNELS = 64


class ResNet(Network):
    """A stem that divides height and width by 4, stages of residual blocks, a linear classifier.

    The stem is a 7x7 convolution of stride 2 to 64 channels, batch norm, ReLU and 3x3 max pooling
    of stride 2. Each stage but the first begins with stride 2 and doubles the channels.

    Args:
        block: makes one, as ``block(inputs, channels, stride=stride, rngs=rngs)``: ``BasicBlock``,
            ``Bottleneck``, or a partial of them with other arguments.
        depths: for each stage, how many blocks it has.
        num_classes: number of logits.
        inputs: channels of the images.
        dtype: to compute in; parameters, statistics and logits stay float32.
        rngs: source of the initial values: of the convolutions normal with variance
            ``2 / fan-out``.

    Features: "stem", "stage1", "stage2", ..., "pooled", "logits".

    Raises:
        ValueError: for numbers below 1, and no stages.
    """

    def __init__(
        self,
        block: Callable[..., ResidualBlock],
        depths: Sequence[int],
        num_classes: int,
        *,
        inputs: int = 3,
        dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        super().__init__(num_classes, inputs=inputs, dtype=dtype)
        if not depths or any(not isinstance(depth, int) or depth < 1 for depth in depths):
            raise ValueError(f"depths={depths!r}; allowed are positive ints, at least one")
        channels = last = _STEM_CHANNELS
        self.stem = Conv2d(
            inputs, channels, 7, stride=2, padding=3, initialize=he_fan_out, rngs=rngs
        )
        self.stem_norm = BatchNorm(channels)
        self.stages: nnx.List[nnx.List[ResidualBlock]] = nnx.List()
        for number, depth in enumerate(depths):
            stage: nnx.List[ResidualBlock] = nnx.List()
            for place in range(depth):
                stride = 2 if number and not place else 1
                stage.append(block(last, channels * 2**number, stride=stride, rngs=rngs))
                last = stage[-1].outputs
            self.stages.append(stage)
        self.classifier = Linear(last, num_classes, rngs=rngs)

    def endpoints(self, x: jax.Array, *, train: bool, key: jax.Array | None) -> Endpoints:
        x = jax.nn.relu(self.stem_norm(self.stem(x), train=train))
        yield "stem", x
        x = functional.max_pool2d(x, 3, stride=2, padding=1)
        for number, stage in enumerate(self.stages, 1):
            for block in stage:
                x = block(x, train=train)
            yield f"stage{number}", x
        yield from classified(x, self.classifier)


NAMES: Names = (
    (r"^stem\.", "conv1."),
    (r"^stem_norm\.", "bn1."),
    (r"^stages\.(\d+)", lambda found: f"layer{int(found[1]) + 1}"),
    (r"convolutions\.(\d+)", lambda found: f"conv{int(found[1]) + 1}"),
    (r"norms\.(\d+)", lambda found: f"bn{int(found[1]) + 1}"),
    (r"shortcut\.", "downsample.0."),
    (r"shortcut_norm\.", "downsample.1."),
    (r"^classifier\.", "fc."),
)


def _entry(block: Callable[..., ResidualBlock], depths: Sequence[int], top1: float) -> Entry:
    make = functools.partial(ResNet, block, depths)
    names = {"torchvision": NAMES, "timm": NAMES}
    return Entry(make, names, top1=top1, source="torchvision, IMAGENET1K_V1")


MODELS = {
    "resnet18": _entry(BasicBlock, (2, 2, 2, 2), 69.758),
    "resnet34": _entry(BasicBlock, (3, 4, 6, 3), 73.314),
    "resnet50": _entry(Bottleneck, (3, 4, 6, 3), 76.130),
    "resnet101": _entry(Bottleneck, (3, 4, 23, 3), 77.374),
    "resnet152": _entry(Bottleneck, (3, 8, 36, 3), 78.312),
}
