"""GoogLeNet (arXiv:1409.4842) and its successor with batch norm (arXiv:1502.03167)."""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv import functional
from jaxcv.blocks import Branches, ConvNorm, Inception, InceptionA, Reduction
from jaxcv.blocks.inception import Convolution, he_truncated
from jaxcv.layers import Linear
from jaxcv.models.inception import (
    BRANCH_NAMES,
    INCEPTION_STATISTICS,
    Heads,
    InceptionNetwork,
    Stage,
    block,
    steps,
)
from jaxcv.models.network import Entry, Names, dropped


class Inception3x3(Branches):
    """``Inception`` with a second 3x3 in place of the 5x5, as in the published weights."""

    template = ("1x1", "1x1 3x3", "1x1 3x3", "max3x3 1x1")


class GoogLeNetHead(nnx.Module):
    """A second classifier in the middle of the network: the mean of 4x4 parts of the images, a 1x1
    convolution to 128 channels, a linear layer to 1024 with ReLU and dropout of 0.7, another."""

    def __init__(self, inputs: int, num_classes: int, *, convolution: Convolution, rngs: nnx.Rngs):
        self.convolution = convolution(inputs, 128, 1, rngs=rngs)
        self.hidden = Linear(4 * 4 * 128, 1024, rngs=rngs)
        self.classifier = Linear(1024, num_classes, rngs=rngs)

    def __call__(
        self, x: jax.Array, *, train: bool = False, key: jax.Array | None = None
    ) -> jax.Array:
        """[batch, height, width, inputs] to logits [batch, num_classes], float32."""
        x = self.convolution(functional.adaptive_avg_pool2d(x, 4), train=train)
        # Channels first, which is the order of published weights.
        x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
        x = self.hidden(x.astype(jnp.promote_types(x.dtype, jnp.float32)))
        return self.classifier(dropped(jax.nn.relu(x), 0.7, key))


_STEM: dict[str, Stage] = {
    "conv1": steps("7x7/2", 64),
    "pool1": steps("max3x3C/2"),
    "conv2_reduce": steps("1x1", 64),
    "conv2": steps("3x3", 192),
    "pool2": steps("max3x3C/2"),
}


def googlenet_stages(window: int) -> dict[str, Stage]:
    """The stages of ``googlenet``, which says what they are."""
    if window not in (3, 5):
        raise ValueError(f"window={window!r}; allowed are 3 and 5")
    inception = functools.partial(block, Inception if window == 5 else Inception3x3)
    return {
        **_STEM,
        "inception_3a": inception((64,), (96, 128), (16, 32), (32,)),
        "inception_3b": inception((128,), (128, 192), (32, 96), (64,)),
        "pool3": steps("max3x3C/2"),
        "inception_4a": inception((192,), (96, 208), (16, 48), (64,)),
        "inception_4b": inception((160,), (112, 224), (24, 64), (64,)),
        "inception_4c": inception((128,), (128, 256), (24, 64), (64,)),
        "inception_4d": inception((112,), (144, 288), (32, 64), (64,)),
        "inception_4e": inception((256,), (160, 320), (32, 128), (128,)),
        "pool4": steps("max2x2C/2"),
        "inception_5a": inception((256,), (160, 320), (32, 128), (128,)),
        "inception_5b": inception((384,), (192, 384), (48, 128), (128,)),
    }


GOOGLENET_HEADS: Heads = {
    "inception_4a": ("auxiliary1", GoogLeNetHead),
    "inception_4d": ("auxiliary2", GoogLeNetHead),
}


def googlenet(
    num_classes: int,
    *,
    window: int = 3,
    auxiliary: bool = False,
    drop_rate: float = 0.2,
    **options: Any,
) -> InceptionNetwork:
    """GoogLeNet (arXiv:1409.4842) with batch norm, in the form of its published weights.

    Args:
        num_classes: number of logits.
        window: of the third branches: 5 in the paper, 3 in the published weights.
        auxiliary: whether to have auxiliary heads after "inception_4a" and "inception_4d", the
            features "auxiliary1" and "auxiliary2".
        drop_rate: of dropout before the classifier.
        options: ``inputs``, ``dtype`` and ``rngs``, as of ``InceptionNetwork``.

    Features: those of its stages: "conv1", "pool1", ..., "inception_5b", "pooled", "logits".

    Raises:
        ValueError: for numbers below 1, another window, and a rate outside [0, 1).
    """
    return InceptionNetwork(
        googlenet_stages(window),
        num_classes,
        least_size=15,
        heads=GOOGLENET_HEADS if auxiliary else None,
        drop_rate=drop_rate,
        **options,
    )


_BN: dict[str, Stage] = {
    **_STEM,
    "inception_3a": block(InceptionA, (64,), (64, 64), (64, 96, 96), (32,)),
    "inception_3b": block(InceptionA, (64,), (64, 96), (64, 96, 96), (64,)),
    "inception_3c": block(Reduction, (128, 160), (64, 96, 96), ()),
    "inception_4a": block(InceptionA, (224,), (64, 96), (96, 128, 128), (128,)),
    "inception_4b": block(InceptionA, (192,), (96, 128), (96, 128, 128), (128,)),
    "inception_4c": block(InceptionA, (160,), (128, 160), (128, 160, 160), (128,)),
    "inception_4d": block(InceptionA, (96,), (128, 192), (160, 192, 192), (128,)),
    "inception_4e": block(Reduction, (128, 192), (192, 256, 256), ()),
    "inception_5a": block(InceptionA, (352,), (192, 320), (160, 224, 224), (128,)),
    "inception_5b": block(InceptionA, (352,), (192, 320), (192, 224, 224), (128,), pool="max"),
}


def bn_inception(num_classes: int, *, drop_rate: float = 0.0, **options: Any) -> InceptionNetwork:
    """BN-Inception, also called Inception-v2 (arXiv:1502.03167), in the form of its published
    weights, whose convolutions have biases although batch norms follow them.

    They were trained on images with the channels in the order blue, green, red.

    Args:
        num_classes: number of logits.
        drop_rate: of dropout before the classifier.
        options: ``inputs``, ``dtype`` and ``rngs``, as of ``InceptionNetwork``.

    Features: those of its stages: "conv1", "pool1", ..., "inception_5b", "pooled", "logits".

    Raises:
        ValueError: for numbers below 1, and a rate outside [0, 1).
    """
    convolution = functools.partial(ConvNorm, bias=True, initialize=he_truncated)
    return InceptionNetwork(
        _BN, num_classes, least_size=7, drop_rate=drop_rate, convolution=convolution, **options
    )


NAMES: Names = (
    (r"^stages\.", ""),
    (r"^conv2\.", "conv3."),
    (r"^conv2_reduce\.", "conv2."),
    (r"^inception_", "inception"),
    (r"^auxiliary\.(\d)\.", lambda found: f"aux{int(found[1]) + 1}."),
    (r"convolution\.(?=convolution|norm)", "conv."),
    (r"hidden\.", "fc1."),
    (r"^(aux\d)\.classifier\.", r"\1.fc2."),
    (r"^classifier\.", "fc."),
    # Its branches are counted from 1.
    (r"branches\.(\d)", lambda found: f"branch{int(found[1]) + 1}"),
    *BRANCH_NAMES,
)
_BN_STEM = {"conv1": "conv1_7x7_s2", "conv2_reduce": "conv2_3x3_reduce", "conv2": "conv2_3x3"}
_BN_BRANCHES = (
    ("1x1",),
    ("3x3_reduce", "3x3"),
    ("double_3x3_reduce", "double_3x3_1", "double_3x3_2"),
    ("pool", "pool_proj"),
)


def _bn_name(found: re.Match[str]) -> str:
    stage, branch, place = found.groups()
    # Reductions have no 1x1 branch.
    first = int(stage in ("inception_3c", "inception_4e"))
    return f"{stage}_{_BN_BRANCHES[int(branch) + first][int(place or 0)]}"


BN_NAMES: Names = (
    (r"^stages\.", ""),
    (r"^(conv\w+)", lambda found: _BN_STEM[found[1]]),
    (r"^(\w+)\.branches\.(\d)(?:\.operations\.(\d))?", _bn_name),
    (r"\.convolution\.", "."),
    (r"\.norm\.", "_bn."),
    (r"^classifier\.", "last_linear."),
)

MODELS = {
    "googlenet": Entry(
        googlenet,
        {"torchvision": NAMES},
        statistics=INCEPTION_STATISTICS,
        top1=69.778,
        source="torchvision, IMAGENET1K_V1",
    ),
    "bn_inception": Entry(
        bn_inception,
        {"pretrainedmodels": BN_NAMES},
        statistics=((104 / 255, 117 / 255, 128 / 255), (1 / 255, 1 / 255, 1 / 255)),
        top1=73.524,
        source="pretrainedmodels, imagenet",
    ),
}
