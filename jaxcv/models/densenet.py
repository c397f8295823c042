"""Densely connected networks (arXiv:1608.06993)."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv import functional
from jaxcv.blocks import DenseBlock, Transition
from jaxcv.functional._arguments import positive, probability
from jaxcv.layers import BatchNorm, Conv2d, Linear, he_fan_out
from jaxcv.models.network import (
    CIFAR10_STATISTICS,
    Endpoints,
    Entry,
    Names,
    Network,
    check_depths,
    classified,
)


class DenseNet(Network):
    """A DenseNet-BC: a stem to ``2 * growth`` channels, dense blocks with transitions between them
    that halve height, width and channels, batch norm, ReLU, a linear classifier.

    The stem is a 7x7 convolution of stride 2, batch norm, ReLU and 3x3 max pooling of stride 2.

    Args:
        depths: for each dense block, how many layers it has.
        growth: channels that each layer adds.
        num_classes: number of logits.
        inputs: channels of the images.
        small_images: whether the stem is one 3x3 convolution of stride 1, as for CIFAR.
        drop_rate: of dropout after each convolution but the first (0.2 in the paper for CIFAR
            without augmentation).
        dtype: to compute in; parameters, statistics and logits stay float32.
        rngs: source of the initial values: of the convolutions normal with variance
            ``2 / fan-out``.

    Features: "stem", "stage1", "stage2", ... (of the dense blocks), "pooled", "logits".

    Raises:
        ValueError: for numbers below 1, no blocks, and a rate outside [0, 1).
    """

    def __init__(
        self,
        depths: Sequence[int],
        growth: int,
        num_classes: int,
        *,
        inputs: int = 3,
        small_images: bool = False,
        drop_rate: float = 0.0,
        dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        # Each transition needs two pixels a side.
        least = 2 ** (len(depths) - 1) if depths else 1
        least = least if small_images else 4 * least - 3
        super().__init__(num_classes, inputs=inputs, least_size=least, dtype=dtype)
        check_depths(depths)
        positive(growth=growth)
        probability(drop_rate=drop_rate)
        channels = 2 * growth
        if small_images:
            self.stem = Conv2d(inputs, channels, 3, padding=1, initialize=he_fan_out, rngs=rngs)
            self.stem_norm = nnx.data(None)
        else:
            self.stem = Conv2d(
                inputs, channels, 7, stride=2, padding=3, initialize=he_fan_out, rngs=rngs
            )
            self.stem_norm = BatchNorm(channels)
        self.blocks: nnx.List[DenseBlock] = nnx.List()
        self.transitions: nnx.List[Transition] = nnx.List()
        for number, depth in enumerate(depths):
            if number:
                half = channels // 2
                self.transitions.append(Transition(channels, half, drop_rate=drop_rate, rngs=rngs))
                channels = half
            self.blocks.append(DenseBlock(depth, channels, growth, drop_rate=drop_rate, rngs=rngs))
            channels = self.blocks[-1].outputs
        self.norm = BatchNorm(channels)
        self.classifier = Linear(channels, num_classes, rngs=rngs)

    def endpoints(self, x: jax.Array, *, train: bool, key: jax.Array | None) -> Endpoints:
        x = self.stem(x)
        if self.stem_norm is not None:
            x = jax.nn.relu(self.stem_norm(x, train=train))
        yield "stem", x
        if self.stem_norm is not None:
            x = functional.max_pool2d(x, 3, stride=2, padding=1)
        parts: list[DenseBlock | Transition] = [self.blocks[0]]
        for transition, block in zip(self.transitions, self.blocks[1:], strict=True):
            parts += [transition, block]
        for number, part in enumerate(parts):
            x = part(x, train=train, key=None if key is None else jax.random.fold_in(key, number))
            if isinstance(part, DenseBlock):
                yield f"stage{number // 2 + 1}", x
        yield from classified(jax.nn.relu(self.norm(x, train=train)), self.classifier)


NAMES: Names = (
    (r"^stem\.", "features.conv0."),
    (r"^stem_norm\.", "features.norm0."),
    (r"^blocks\.(\d+)", lambda found: f"features.denseblock{int(found[1]) + 1}"),
    (r"layers\.(\d+)", lambda found: f"denselayer{int(found[1]) + 1}"),
    (r"norms\.(\d+)", lambda found: f"norm{int(found[1]) + 1}"),
    (r"convolutions\.(\d+)", lambda found: f"conv{int(found[1]) + 1}"),
    (r"^transitions\.(\d+)", lambda found: f"features.transition{int(found[1]) + 1}"),
    (r"convolution\.", "conv."),
    (r"^norm\.", "features.norm5."),
)
# The published files still have the names of its first version.
_FIRST_NAMES: Names = (*NAMES, (r"(denselayer\d+\.(?:norm|conv))", r"\1."))
_SMALL_NAMES: Names = (*NAMES, (r"norm5", "norm_final"))


def _entry(depths: Sequence[int], growth: int, top1: float) -> Entry:
    names = {"torchvision": NAMES, "timm": NAMES, "torchvision, its files": _FIRST_NAMES}
    make = functools.partial(DenseNet, depths, growth)
    return Entry(make, names, top1=top1, source="torchvision, IMAGENET1K_V1")


def _cifar(depth: int, growth: int, top1: float) -> Entry:
    # Without the first and the last layer and the transitions, two convolutions in each layer.
    depths = ((depth - 4) // 6,) * 3
    return Entry(
        functools.partial(DenseNet, depths, growth, small_images=True),
        {"efficient_densenet_pytorch": _SMALL_NAMES},
        num_classes=10,
        image_size=32,
        statistics=CIFAR10_STATISTICS,
        top1=top1,
        source="arXiv:1608.06993, CIFAR-10 with augmentation",
    )


MODELS = {
    "densenet121": _entry((6, 12, 24, 16), 32, 74.434),
    "densenet161": _entry((6, 12, 36, 24), 48, 77.138),
    "densenet169": _entry((6, 12, 32, 32), 32, 75.600),
    "densenet201": _entry((6, 12, 48, 32), 32, 76.896),
    "densenet_bc_100_k12": _cifar(100, 12, 95.49),
    "densenet_bc_190_k40": _cifar(190, 40, 96.54),
}
