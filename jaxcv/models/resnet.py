"""Residual networks (arXiv:1512.03385), ResNeXt (arXiv:1611.05431), wide (arXiv:1605.07146) and
pre-activation ones (arXiv:1603.05027)."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv import functional
from jaxcv.blocks import (
    BasicBlock,
    Bottleneck,
    PreActivationBlock,
    PreActivationBottleneck,
    ResidualBlock,
)
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

_CHANNELS, _SMALL_CHANNELS = 64, 16
_OUTPUT_STRIDES = (1, 2, 4, 8, 16, 32)


class ResNet(Network):
    """A stem, stages of residual blocks, a linear classifier.

    The stem is a 7x7 convolution of stride 2 to 64 channels, batch norm, ReLU and 3x3 max pooling
    of stride 2. Each stage but the first begins with stride 2 and doubles the channels.

    Args:
        block: makes one, as ``block(inputs, channels, stride=stride, dilation=dilation,
            first_dilation=first_dilation, rngs=rngs, **options)``: ``BasicBlock``, ``Bottleneck``,
            or a partial of them with other arguments.
        depths: for each stage, how many blocks it has.
        num_classes: number of logits.
        inputs: channels of the images.
        small_images: whether the stem is a 3x3 convolution of stride 1 to 16 channels, batch norm
            and ReLU, as for CIFAR.
        output_stride: pixels of the images to one of the last stage, at most. A stride beyond it
            is left out, and what follows is dilated instead (arXiv:1606.00915), so that weights
            keep their meaning.
        dtype: to compute in; parameters, statistics and logits stay float32.
        rngs: source of the initial values: of the convolutions normal with variance
            ``2 / fan-out``.
        options: of every block, such as ``zero_scale`` or, of a bottleneck, ``stride_first``.

    Features: "stem", "stage1", "stage2", ..., "pooled", "logits".

    Raises:
        ValueError: for numbers below 1, no stages, and an output stride that is no power of two, of
            the stem's stride to 32.
    """

    def __init__(
        self,
        block: Callable[..., ResidualBlock],
        depths: Sequence[int],
        num_classes: int,
        *,
        inputs: int = 3,
        small_images: bool = False,
        output_stride: int = 32,
        dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        super().__init__(num_classes, inputs=inputs, dtype=dtype)
        self.small_images = small_images
        self.stem = _stem(inputs, small_images, rngs)
        self.stem_norm = BatchNorm(self.stem.kernel.shape[-1])
        self.stages = _stages(
            functools.partial(block, **options), depths, small_images, output_stride, rngs
        )
        self.classifier = Linear(self.stages[-1][-1].outputs, num_classes, rngs=rngs)

    def endpoints(self, x: jax.Array, *, train: bool, key: jax.Array | None) -> Endpoints:
        x = jax.nn.relu(self.stem_norm(self.stem(x), train=train))
        yield "stem", x
        if not self.small_images:
            x = functional.max_pool2d(x, 3, stride=2, padding=1)
        for number, stage in enumerate(self.stages, 1):
            for block in stage:
                x = block(x, train=train)
            yield f"stage{number}", x
        yield from classified(x, self.classifier)


class PreActivationResNet(Network):
    """A stem of one 3x3 convolution to 16 channels, stages of pre-activation blocks, batch norm,
    ReLU, a linear classifier: for images as small as those of CIFAR.

    Args:
        block: makes one, as for ``ResNet``: ``PreActivationBasicBlock``,
            ``PreActivationBottleneck``, or a partial of them with other arguments.
        depths, num_classes, inputs, output_stride, dtype, rngs, options: as for ``ResNet``.

    Features: "stem", "stage1", "stage2", ..., "pooled", "logits".

    Raises:
        ValueError: as ``ResNet``.
    """

    def __init__(
        self,
        block: Callable[..., PreActivationBlock],
        depths: Sequence[int],
        num_classes: int,
        *,
        inputs: int = 3,
        output_stride: int = 32,
        dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        super().__init__(num_classes, inputs=inputs, dtype=dtype)
        self.stem = _stem(inputs, True, rngs)
        self.stages = _stages(
            functools.partial(block, **options), depths, True, output_stride, rngs
        )
        self.stages[0][0].activate_shortcut = True  # as nothing but a convolution precedes it
        outputs = self.stages[-1][-1].outputs
        self.norm = BatchNorm(outputs)
        self.classifier = Linear(outputs, num_classes, rngs=rngs)

    def endpoints(self, x: jax.Array, *, train: bool, key: jax.Array | None) -> Endpoints:
        x = self.stem(x)
        yield "stem", x
        for number, stage in enumerate(self.stages, 1):
            for block in stage:
                x = block(x, train=train)
            yield f"stage{number}", x
        yield from classified(jax.nn.relu(self.norm(x, train=train)), self.classifier)


def _stem(inputs: int, small_images: bool, rngs: nnx.Rngs) -> Conv2d:
    if small_images:
        return Conv2d(inputs, _SMALL_CHANNELS, 3, padding=1, initialize=he_fan_out, rngs=rngs)
    return Conv2d(inputs, _CHANNELS, 7, stride=2, padding=3, initialize=he_fan_out, rngs=rngs)


def _stages(
    block: Callable[..., Any],
    depths: Sequence[int],
    small_images: bool,
    output_stride: int,
    rngs: nnx.Rngs,
) -> nnx.List[nnx.List[Any]]:
    check_depths(depths)
    channels, reached = (_SMALL_CHANNELS, 1) if small_images else (_CHANNELS, 4)
    allowed = [stride for stride in _OUTPUT_STRIDES if stride >= reached]
    if output_stride not in allowed:
        raise ValueError(
            f"output_stride={output_stride!r}; allowed are {', '.join(map(str, allowed))}"
        )
    last, dilation = channels, 1
    stages: nnx.List[nnx.List[Any]] = nnx.List()
    for number, depth in enumerate(depths):
        stride, before = 1, dilation
        if number and 2 * reached <= output_stride:
            stride, reached = 2, 2 * reached
        elif number:
            dilation *= 2
        stage: nnx.List[Any] = nnx.List()
        for place in range(depth):
            stage.append(
                block(
                    last,
                    channels * 2**number,
                    stride=1 if place else stride,
                    dilation=dilation,
                    first_dilation=dilation if place else before,
                    rngs=rngs,
                )
            )
            last = stage[-1].outputs
        stages.append(stage)
    return stages


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
_SMALL_NAMES: Names = (
    *NAMES,
    (r"downsample\.", "shortcut."),
    (r"^fc\.", "linear."),
)


def _entry(block: Callable[..., ResidualBlock], depths: Sequence[int], top1: float) -> Entry:
    make = functools.partial(ResNet, block, depths)
    names = {"torchvision": NAMES, "timm": NAMES}
    return Entry(make, names, top1=top1, source="torchvision, IMAGENET1K_V1")


def _cifar(depth: int, top1: float) -> Entry:
    # Without the first and the last layer, two in each block of three stages.
    depths = ((depth - 2) // 6,) * 3
    # Networks of pytorch-cifar-models have shortcut="projection".
    return Entry(
        functools.partial(ResNet, BasicBlock, depths, small_images=True, shortcut="padding"),
        {"pytorch_resnet_cifar10": _SMALL_NAMES, "pytorch-cifar-models": NAMES},
        num_classes=10,
        image_size=32,
        statistics=CIFAR10_STATISTICS,
        top1=top1,
        source="arXiv:1512.03385, CIFAR-10",
    )


MODELS = {
    "resnet18": _entry(BasicBlock, (2, 2, 2, 2), 69.758),
    "resnet34": _entry(BasicBlock, (3, 4, 6, 3), 73.314),
    "resnet50": _entry(Bottleneck, (3, 4, 6, 3), 76.130),
    "resnet101": _entry(Bottleneck, (3, 4, 23, 3), 77.374),
    "resnet152": _entry(Bottleneck, (3, 8, 36, 3), 78.312),
    "wide_resnet50_2": _entry(functools.partial(Bottleneck, width=128), (3, 4, 6, 3), 78.468),
    "resnext50_32x4d": _entry(
        functools.partial(Bottleneck, groups=32, width=4), (3, 4, 6, 3), 77.618
    ),
    "resnext101_32x8d": _entry(
        functools.partial(Bottleneck, groups=32, width=8), (3, 4, 23, 3), 79.312
    ),
    "resnet20_cifar": _cifar(20, 91.25),
    "resnet32_cifar": _cifar(32, 92.49),
    "resnet44_cifar": _cifar(44, 92.83),
    "resnet56_cifar": _cifar(56, 93.03),
    "resnet110_cifar": _cifar(110, 93.57),
    "preact_resnet164_cifar": Entry(
        functools.partial(
            PreActivationResNet, PreActivationBottleneck, (18, 18, 18), stride_first=True
        ),
        num_classes=10,
        image_size=32,
        statistics=CIFAR10_STATISTICS,
        top1=94.54,
        source="arXiv:1603.05027, CIFAR-10",
    ),
}
