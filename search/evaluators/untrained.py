"""Evaluators that score the networks of a space by a zero-cost proxy."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxcv.models.network import Network
from search.discrete import Point
from search.evaluators.evaluator import Outcome
from search.evaluators.zero_cost import PROXIES, proxies
from search.single_path import SinglePathNetwork
from search.strategies import Proposal


@dataclass(frozen=True)
class Untrained:
    """Scores points by a zero-cost proxy of their networks. Each one is compiled.

    Attributes:
        build: the network of a point, with initial values from the ``nnx.Rngs``.
        images: a batch of normalised images [batch, height, width, channels].
        labels: integers [batch].
        proxy: which of ``PROXIES`` is the score; the metrics are all.

    Raises:
        ValueError: for an unknown proxy.
    """

    build: Callable[[Point, nnx.Rngs], Network]
    images: np.ndarray
    labels: np.ndarray
    proxy: str = "synflow"

    def __post_init__(self) -> None:
        _check(self.proxy)

    def __call__(self, proposal: Proposal, seed: int) -> Outcome:
        """
        Raises:
            FloatingPointError: if the proxy is not finite, as where the images do not reach the
                logits.
        """
        network = self.build(proposal.point, nnx.Rngs(seed))
        with jax.enable_x64(True):
            found = jax.jit(proxies)(network, self.images, self.labels)
        return _outcome(found, self.proxy)


@dataclass(frozen=True)
class UntrainedNASBench201:
    """Scores cells of NAS-Bench-201 by a zero-cost proxy, all of them by one compiled program.

    A point is, for each of ``jaxcv.models.nasbench201.EDGES``, the number of one of its
    ``OPERATIONS``.

    Attributes:
        images, labels, proxy: as of ``Untrained``.
        num_classes: number of logits.
        channels, cells: as of ``NASBench201Network``.

    Raises:
        ValueError: for an unknown proxy.
    """

    images: np.ndarray
    labels: np.ndarray
    num_classes: int = 10
    proxy: str = "synflow"
    channels: int = 16
    cells: int = 5

    def __post_init__(self) -> None:
        _check(self.proxy)

    def __call__(self, proposal: Proposal, seed: int) -> Outcome:
        """
        Raises:
            FloatingPointError: as ``Untrained``.
        """
        return _outcome(self.proxies(proposal.point, seed), self.proxy)

    def proxies(self, point: Point, seed: int) -> dict[str, float]:
        """All proxies of a cell with weights from a seed, by name; some may not be finite."""
        network = _network(self.channels, self.cells, self.num_classes, self.images.shape[-1], seed)
        with jax.enable_x64(True):
            found = _proxies(network, np.array(point, np.int32), self.images, self.labels)
        return {name: float(value) for name, value in found.items()}


@functools.lru_cache(maxsize=1)
def _network(*arguments: int) -> SinglePathNetwork:
    *sizes, inputs, seed = arguments
    return SinglePathNetwork(*sizes, inputs=inputs, rngs=nnx.Rngs(seed))


@jax.jit
def _proxies(
    network: SinglePathNetwork, choice: jax.Array, images: jax.Array, labels: jax.Array
) -> dict[str, jax.Array]:
    return proxies(
        network,
        images,
        labels,
        call=lambda network, images: network(images, choice),
        inputs=lambda network, images: network.relu_inputs(images, choice),
    )


def _check(proxy: str) -> None:
    if proxy not in PROXIES:
        raise ValueError(f"proxy={proxy!r}; allowed are {', '.join(PROXIES)}")


def _outcome(found: dict[str, Any], proxy: str) -> Outcome:
    metrics = {name: float(value) for name, value in found.items()}
    if not np.isfinite(metrics[proxy]):
        raise FloatingPointError(
            f"{proxy} is {metrics[proxy]}; the images may not reach the logits"
        )
    return Outcome(metrics[proxy], metrics)
