"""What networks of Inception blocks share: stages and auxiliary heads by name."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv.blocks import Branches
from jaxcv.blocks.inception import CONVOLUTION, Convolution, create_steps
from jaxcv.functional._arguments import probability
from jaxcv.layers import Linear
from jaxcv.models.network import Endpoints, Names, Network, classified

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
        ValueError: for numbers below 1, a rate outside [0, 1), and heads after no stage.
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
        probability(drop_rate=drop_rate)
        heads = heads or {}
        if not heads.keys() <= stages.keys():
            raise ValueError(f"heads after {', '.join(heads)}; allowed are {', '.join(stages)}")
        self.order, self.drop_rate = tuple(stages), drop_rate
        # Names of the heads, each with the stage that it reads.
        self.heads = tuple((stage, heads[stage][0]) for stage in stages if stage in heads)
        self.stages: nnx.Dict[Any] = nnx.Dict()
        self.auxiliary: nnx.List[Any] = nnx.List()
        last = inputs
        for name, make in stages.items():
            self.stages[name] = make(last, convolution=convolution, rngs=rngs)
            last = self.stages[name].outputs
            if name in heads:
                _, make_head = heads[name]
                head = make_head(last, num_classes, convolution=convolution, rngs=rngs)
                self.auxiliary.append(head)
        self.classifier = Linear(last, num_classes, rngs=rngs)

    def endpoints(self, x: jax.Array, *, train: bool, key: jax.Array | None) -> Endpoints:
        count = len(self.heads)
        keys = [None] * (count + 1) if key is None else [*jax.random.split(key, count + 1)]
        heads = {stage: (number, name) for number, (stage, name) in enumerate(self.heads)}
        for stage in self.order:
            x = self.stages[stage](x, train=train)
            yield stage, x
            if stage in heads:
                number, name = heads[stage]
                yield name, self.auxiliary[number](x, train=train, key=keys[number])
        yield from classified(x, self.classifier, drop_rate=self.drop_rate, key=keys[count])


def steps(text: str, *widths: int) -> Stage:
    """A stage in the notation of ``jaxcv.blocks.inception``."""

    def make(inputs: int, *, convolution: Convolution, rngs: nnx.Rngs) -> Any:
        return create_steps(inputs, text, widths, convolution=convolution, rngs=rngs)

    return make


def block(kind: type[Branches], *widths: Sequence[int], **options: Any) -> Stage:
    """A stage of one block, with the channels of each branch."""
    return functools.partial(kind, widths=widths, **options)


def check_repeats(repeats: Sequence[int]) -> None:
    """Raises a ValueError unless these are numbers of blocks A, B and C."""
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
