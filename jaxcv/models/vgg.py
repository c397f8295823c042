"""VGG networks (arXiv:1409.1556)."""

import functools
import re
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv import functional
from jaxcv.blocks import Perceptron, VGGBlock
from jaxcv.functional._arguments import positive
from jaxcv.models.network import Endpoints, Entry, Names, Network, check_depths

_POOLED = 7  # height and width of what the linear layers read


class VGG(Network):
    """Stages of 3x3 convolutions with 2x2 max pooling after each, the mean of 7x7 parts of the
    images, three linear layers.

    The first stage has 64 channels, each other one twice as many as the one before, at most 512.

    Args:
        depths: for each stage, how many convolutions it has.
        num_classes: number of logits.
        batch_norm: whether to have one after each convolution.
        hidden: channels of the two hidden linear layers.
        drop_rate: of dropout after each of them.
        inputs: channels of the images.
        dtype: to compute in; parameters, statistics and logits stay float32.
        rngs: source of the initial values: of the convolutions normal with variance
            ``2 / fan-out``, of the linear layers normal with deviation 0.01, of biases 0.

    Features: "stage1", "stage2", ... (before pooling), "pooled" [batch, 7, 7, C], "hidden1",
    "hidden2", "logits".

    Raises:
        ValueError: for numbers below 1, no stages, and a rate outside [0, 1).
    """

    def __init__(
        self,
        depths: Sequence[int],
        num_classes: int,
        *,
        batch_norm: bool = False,
        hidden: int = 4096,
        drop_rate: float = 0.5,
        inputs: int = 3,
        dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        super().__init__(num_classes, inputs=inputs, least_size=2 ** len(depths), dtype=dtype)
        check_depths(depths)
        positive(hidden=hidden)
        self.stages: nnx.List[VGGBlock] = nnx.List()
        last = inputs
        for number, depth in enumerate(depths):
            channels = min(64 * 2**number, 512)
            self.stages.append(VGGBlock(last, channels, depth, batch_norm=batch_norm, rngs=rngs))
            last = channels
        self.classifier = Perceptron(
            (last * _POOLED**2, hidden, hidden, num_classes),
            drop_before=(1, 2),
            drop_rate=drop_rate,
            initialize=jax.nn.initializers.normal(0.01),
            rngs=rngs,
        )

    def endpoints(self, x: jax.Array, *, train: bool, key: jax.Array | None) -> Endpoints:
        for number, stage in enumerate(self.stages, 1):
            x = stage(x, train=train)
            yield f"stage{number}", x
            x = functional.max_pool2d(x, 2)
        x = functional.adaptive_avg_pool2d(x, _POOLED)
        yield "pooled", x
        names = ("hidden1", "hidden2", "logits")
        yield from zip(names, self.classifier(x, key=key), strict=True)


def names(depths: Sequence[int], *, batch_norm: bool) -> Names:
    """How torchvision calls the variables, which counts all layers one after the other."""
    layers = 3 if batch_norm else 2  # of each convolution, with its ReLU
    first = [sum(layers * depth + 1 for depth in depths[:number]) for number in range(len(depths))]

    def layer(found: re.Match[str]) -> str:
        stage, kind, place = found.groups()
        return f"features.{first[int(stage)] + layers * int(place) + (kind == 'norms')}"

    return (
        (r"^stages\.(\d+)\.(convolutions|norms)\.(\d+)", layer),
        (r"^classifier\.layers\.(\d)", lambda found: f"classifier.{3 * int(found[1])}"),
    )


def _entry(depths: Sequence[int], batch_norm: bool, top1: float) -> Entry:
    return Entry(
        functools.partial(VGG, depths, batch_norm=batch_norm),
        {"torchvision": names(depths, batch_norm=batch_norm)},
        top1=top1,
        source="torchvision, IMAGENET1K_V1",
    )


MODELS = {
    "vgg11": _entry((1, 1, 2, 2, 2), False, 69.020),
    "vgg13": _entry((2, 2, 2, 2, 2), False, 69.928),
    "vgg16": _entry((2, 2, 3, 3, 3), False, 71.592),
    "vgg19": _entry((2, 2, 4, 4, 4), False, 72.376),
    "vgg11_bn": _entry((1, 1, 2, 2, 2), True, 70.370),
    "vgg13_bn": _entry((2, 2, 2, 2, 2), True, 71.586),
    "vgg16_bn": _entry((2, 2, 3, 3, 3), True, 73.360),
    "vgg19_bn": _entry((2, 2, 4, 4, 4), True, 74.218),
}
