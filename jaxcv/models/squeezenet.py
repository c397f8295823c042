"""SqueezeNets (arXiv:1602.07360)."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv import functional
from jaxcv.blocks import Fire
from jaxcv.functional._arguments import probability
from jaxcv.layers import Conv2d
from jaxcv.models.network import Endpoints, Entry, Names, Network, dropped

_EXPANSION = 4  # channels of each expanding convolution for one of the squeezing one


class SqueezeNet(Network):
    """A stem, stages of fire modules with 3x3 max pooling of stride 2 before each, a 1x1
    convolution to a map for each class, ReLU, the mean over the pixels.

    Args:
        stem: channels and window of its convolution, of stride 2.
        stages: for each stage, how many channels each of its fire modules squeezes to.
        num_classes: number of logits.
        drop_rate: of dropout before the last convolution.
        inputs: channels of the images.
        dtype: to compute in; parameters and logits stay float32.
        rngs: source of the initial values: of convolutions uniform with variance ``2 / fan-in``,
            of the last one normal with deviation 0.01, of biases 0.

    Features: "stem", "stage1", "stage2", ..., "maps" [batch, height', width', num_classes],
    "logits".

    Raises:
        ValueError: for numbers below 1, no stages, and a rate outside [0, 1).
    """

    def __init__(
        self,
        stem: tuple[int, int],
        stages: Sequence[Sequence[int]],
        num_classes: int,
        *,
        drop_rate: float = 0.5,
        inputs: int = 3,
        dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        channels, window = stem
        super().__init__(
            num_classes, inputs=inputs, least_size=_least_size(window, len(stages)), dtype=dtype
        )
        if any(not isinstance(size, int) or size < 1 for size in stem):
            raise ValueError(f"stem={stem!r}; allowed are two positive ints, channels and window")
        if not stages or not all(stages):
            raise ValueError(f"stages={stages!r}; allowed are stages of fire modules, at least one")
        probability(drop_rate=drop_rate)
        self.stem = Conv2d(
            inputs,
            channels,
            window,
            stride=2,
            bias=True,
            initialize=jax.nn.initializers.he_uniform(),
            rngs=rngs,
        )
        self.stages: nnx.List[nnx.List[Fire]] = nnx.List()
        for widths in stages:
            stage: nnx.List[Fire] = nnx.List()
            for squeezed in widths:
                stage.append(Fire(channels, squeezed, _EXPANSION * squeezed, rngs=rngs))
                channels = stage[-1].outputs
            self.stages.append(stage)
        self.classifier = Conv2d(
            channels,
            num_classes,
            1,
            bias=True,
            initialize=jax.nn.initializers.normal(0.01),
            rngs=rngs,
        )
        self.drop_rate = drop_rate

    def endpoints(self, x: jax.Array, *, train: bool, key: jax.Array | None) -> Endpoints:
        x = jax.nn.relu(self.stem(x))
        yield "stem", x
        for number, stage in enumerate(self.stages, 1):
            x = functional.max_pool2d(x, 3, stride=2, ceil_mode=True)
            for fire in stage:
                x = fire(x)
            yield f"stage{number}", x
        x = jax.nn.relu(self.classifier(dropped(x, self.drop_rate, key)))
        yield "maps", x
        yield (
            "logits",
            functional.global_avg_pool2d(x.astype(jnp.promote_types(x.dtype, jnp.float32))),
        )


def _least_size(window: int, stages: int) -> int:
    """So that the last pooling has two pixels a side, of which ``ceil_mode`` makes one."""
    return 2 * (2**stages - 1) + window


def names(stages: Sequence[Sequence[int]]) -> Names:
    """How torchvision calls the variables, which counts all layers one after the other."""
    # The stem's convolution, its ReLU, and the pooling before each stage.
    first = [3 + sum(len(stage) + 1 for stage in stages[:number]) for number in range(len(stages))]
    return (
        (r"^stem\.", "features.0."),
        (
            r"^stages\.(\d+)\.(\d+)",
            lambda found: f"features.{first[int(found[1])] + int(found[2])}",
        ),
        (r"^classifier\.", "classifier.1."),
    )


def _entry(stem: tuple[int, int], stages: Sequence[Sequence[int]], top1: float) -> Entry:
    return Entry(
        functools.partial(SqueezeNet, stem, stages),
        {"torchvision": names(stages)},
        top1=top1,
        source="torchvision, IMAGENET1K_V1",
    )


MODELS = {
    "squeezenet1_0": _entry((96, 7), ((16, 16, 32), (32, 48, 48, 64), (64,)), 58.092),
    "squeezenet1_1": _entry((64, 3), ((16, 16), (32, 32), (48, 48, 64, 64)), 58.178),
}
