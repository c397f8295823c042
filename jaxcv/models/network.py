"""How every network is called, its named features, and what a name stands for."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv import functional
from jaxcv.functional._arguments import positive
from jaxcv.layers import Linear

Endpoints = Iterator[tuple[str, jax.Array]]


class Network(nnx.Module):
    """A network for images: named features, one computed after the other, "logits" among them.

    A subclass calls this constructor and defines ``endpoints``.

    Args:
        num_classes: number of logits.
        inputs: channels of the images.
        least_size: smallest height and width of the images, in pixels.
        dtype: to compute in; parameters, statistics and logits stay float32.

    Raises:
        ValueError: for numbers below 1.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        inputs: int,
        least_size: int = 1,
        dtype: jax.typing.DTypeLike = jnp.float32,
    ):
        positive(num_classes=num_classes, inputs=inputs)
        self.image_channels, self.least_size, self.dtype = inputs, least_size, dtype

    def endpoints(self, x: jax.Array, *, train: bool, key: jax.Array | None) -> Endpoints:
        """The features with their names, in the order in which they are computed.

        Args:
            x: checked images, in the dtype to compute in.
            train, key: as of ``features``.
        """
        raise NotImplementedError

    def __call__(
        self,
        x: jax.Array,
        *,
        train: bool = False,
        key: jax.Array | None = None,
        **options: Any,
    ) -> jax.Array:
        """Logits [batch, num_classes], float32, of images [batch, height, width, inputs].

        Args:
            x: the images, normalised as in training.
            train: whether batch norms use and move the statistics of their batch.
            key: for what is random, such as dropout; without one nothing is.
            options: of ``endpoints``, where it has more.

        Raises:
            ValueError: for another shape, or images too small for the network.
        """
        return self.features(x, ("logits",), train=train, key=key, **options)["logits"]

    def features(
        self,
        x: jax.Array,
        names: str | Collection[str] | None = None,
        *,
        train: bool = False,
        key: jax.Array | None = None,
        **options: Any,
    ) -> dict[str, jax.Array]:
        """Features by name, each [batch, height', width', C] or, of whole images, [batch, C].

        What comes after the last of them is not computed.

        Args:
            x, train, key, options: as of a call.
            names: of the features, or a single one; by default all.

        Raises:
            ValueError: as a call, and for a name that no feature has.
        """
        check_images(x.shape, self.image_channels, self.least_size)
        names = (names,) if isinstance(names, str) else names
        found: dict[str, jax.Array] = {}
        passed: list[str] = []
        for name, y in self.endpoints(x.astype(self.dtype), train=train, key=key, **options):
            passed.append(name)
            if names is None or name in names:
                found[name] = y
            if names is not None and len(found) == len(set(names)):
                return found
        if names is not None:
            raise ValueError(f"names={tuple(names)!r}; allowed are {', '.join(passed)}")
        return found


def check_images(shape: Sequence[int], channels: int, least_size: int) -> None:
    """Raises a ValueError unless it is the shape of a batch of images that are large enough."""
    if len(shape) != 4 or shape[-1] != channels:
        raise ValueError(
            f"x has shape {tuple(shape)}; allowed is [batch, height, width, {channels}]"
        )
    if min(shape[1:3]) < least_size:
        raise ValueError(
            f"x has height and width {tuple(shape[1:3])}; allowed is at least {least_size} by "
            f"{least_size} in this network"
        )


def check_depths(depths: Sequence[int]) -> None:
    """Raises a ValueError unless each stage of a network has a number of blocks, and one is."""
    if not depths or any(not isinstance(depth, int) or depth < 1 for depth in depths):
        raise ValueError(f"depths={depths!r}; allowed are positive ints, at least one")


def classified(
    x: jax.Array, classifier: Linear, *, drop_rate: float = 0.0, key: jax.Array | None = None
) -> Endpoints:
    """The end of most networks: the mean over the pixels, in float32 at least, as "pooled", and a
    linear layer of it, after dropout if there is a key, as "logits"."""
    pooled = functional.global_avg_pool2d(x.astype(jnp.promote_types(x.dtype, jnp.float32)))
    yield "pooled", pooled
    yield "logits", classifier(dropped(pooled, drop_rate, key))


def dropped(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """``functional.dropout``, where there is a key."""
    return x if key is None else functional.dropout(key, x, rate)


# How names of ours, their parts joined by dots, become another library's: pattern and replacement,
# as of ``re.sub``, applied in turn.
Names = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR10_STATISTICS = (
    (0.49139968, 0.48215827, 0.44653124),
    (0.24703233, 0.24348505, 0.26158768),
)


@dataclass(frozen=True)
class Entry:
    """What the name of a model stands for.

    Attributes:
        make: the network, of ``(num_classes, inputs=, dtype=, rngs=)`` and its own options.
        names: by library, how it calls the variables. The first is the one to write.
        num_classes: of the data set that its published weights were trained on.
        image_size: height and width of the images that they were evaluated on, in pixels.
        statistics: mean and standard deviation of each channel, for images scaled to 0..1.
        top1: published accuracy on the validation images, in percent, if there is one.
        source: where ``top1`` is published.
    """

    make: Callable[..., Network]
    names: Mapping[str, Names] = field(default_factory=dict)
    num_classes: int = 1000
    image_size: int = 224
    statistics: tuple[tuple[float, ...], tuple[float, ...]] = _IMAGENET
    top1: float | None = None
    source: str = ""
