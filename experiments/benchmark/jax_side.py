"""The sides that run in JAX: jaxcv's work, its first-order step of a search, lax's of a convolution
alone."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax

from experiments.benchmark.worker import Work, resident_peak, serve
from experiments.environment import environment
from jaxcv import analysis, functional
from jaxcv.data import Augmentation, Split
from jaxcv.genotype import published
from jaxcv.models.resnet import Bottleneck, ResNet
from jaxcv.training import classification
from jaxcv.training.loss import cross_entropy
from search import Config, darts, recurrent, step
from search.recurrent import step as recurrent_step

_CLASSES = 10
_BATCHES = 4


class Program(NamedTuple):
    """A compiled function to be, and its arguments."""

    function: Callable[..., Any]
    state: Any
    """The first argument; what a call returns is the next one's, if it is ``carried``."""
    data: tuple[Any, ...] = ()
    """The other arguments."""
    carried: bool = False
    counted: bool = False
    """Whether a last argument is the number of steps to take, which otherwise are calls."""


def prepare(request: dict[str, Any]) -> Work:
    """The work of a request: {"side", "kind", "sizes"}."""
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if request["kind"] == "machine":
        return Work(lambda steps: None, machine(**request["sizes"]), peak_bytes)
    program = PROGRAMS[request["kind"]](side=request["side"], **request["sizes"])
    steps = (np.int32(1),) if program.counted else ()
    arguments = (program.state, *program.data, *steps)
    start = time.perf_counter()
    lowered = jax.jit(program.function, donate_argnums=0 if program.carried else ()).lower(
        *arguments
    )
    traced = time.perf_counter()
    compiled = lowered.compile()
    figures = {
        "trace_seconds": traced - start,
        "compile_seconds": time.perf_counter() - traced,
        "multiply_adds": analysis.count_multiply_adds(program.function, *arguments),
        "operand_bytes": analysis.count_operand_bytes(program.function, *arguments),
    }
    state, data = program.state, program.data

    def run(steps: int) -> None:
        nonlocal state
        result = state
        if program.counted:
            state = result = compiled(state, *data, np.int32(steps))
        else:
            for _ in range(steps):
                result = compiled(state, *data)
                if program.carried:
                    state = result
        jax.block_until_ready(result)

    return Work(run, figures, peak_bytes)


def peak_bytes() -> int:
    """Of the device's memory, where it counts that."""
    statistics = jax.devices()[0].memory_stats() or {}
    return statistics.get("peak_bytes_in_use", 0) or resident_peak()


def machine(*, matrix: int, array: int) -> dict[str, Any]:
    """The most that a large product of float32 matrices, and a large sum of float32 arrays
    ``a + 2 b``, reach; and what the machine is."""
    a = jax.random.normal(jax.random.key(0), (matrix, matrix))
    b, c = jnp.ones(array), jnp.ones(array)
    # So that no case has to wait for the C++ kernels, which are built once.
    small = search(side="jaxcv", channels=2, layers=1, image=8, batch=2)
    jax.jit(small.function).lower(small.state, *small.data, np.int32(1))
    jax.jit(functional.depthwise_conv2d).lower(jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 1, 2)))
    return {
        "environment": environment(),
        "platform": jax.devices()[0].platform,
        "flops": 2 * matrix**3 / _fastest(jax.jit(jnp.dot), a, a),
        "bytes_per_second": 3 * b.nbytes / _fastest(jax.jit(lambda b, c: b + 2 * c), b, c),
    }


def _fastest(function: Callable[..., jax.Array], *arguments: jax.Array) -> float:
    function(*arguments).block_until_ready()
    times = []
    for _ in range(10):
        start = time.perf_counter()
        function(*arguments).block_until_ready()
        times.append(time.perf_counter() - start)
    return min(times)


def _images(count: int, size: int) -> tuple[jax.Array, jax.Array]:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, size, size, 3), np.uint8)
    return jnp.asarray(images), jnp.asarray(random.integers(0, _CLASSES, count, np.int32))


def _data_set(image: int) -> dict[str, Any]:
    return {
        "image_shape": (image, image, 3),
        "num_classes": _CLASSES,
        "augmentation": Augmentation(),
        "mean": (0.5,) * 3,
        "std": (0.25,) * 3,
    }


def search(
    *,
    side: str,
    channels: int,
    layers: int,
    image: int,
    batch: int,
    gradient: str = "first_order",
) -> Program:
    """Steps of a search, on batches drawn inside."""
    count = _BATCHES * batch
    if side == "first order":
        gradient = "first_order"
    config = Config(channels=channels, layers=layers, batch_size=batch, gradient=gradient)
    built = step.build(darts(), config, count=count, **_data_set(image))
    images, labels = _images(2 * count, image)
    data = step.Images(images, labels, jnp.arange(count), count + jnp.arange(count))
    return Program(
        built.advance, built.init(jax.random.key(0)), (data,), carried=True, counted=True
    )


def train(*, side: str, channels: int, layers: int, image: int, batch: int) -> Program:
    """Steps of training a discovered network, on batches drawn inside."""
    count = _BATCHES * batch
    config = classification.Config(
        channels=channels,
        layers=layers,
        batch_size=batch,
        drop_path=0,
        auxiliary_weight=0,
        cutout=0,
    )
    genotype = published["DARTS_V2"]
    built = classification.build(genotype, config, count=count, **_data_set(image))
    images, labels = _images(count, image)
    data = Split(images, labels)  # type: ignore[arg-type]
    return Program(
        built.advance, built.init(jax.random.key(0)), (data,), carried=True, counted=True
    )


def recurrent_search(*, side: str, units: int, batch: int, steps: int, vocabulary: int) -> Program:
    """Steps of a search of a recurrent cell, on segments of text in turn."""
    random = np.random.default_rng(0)
    words = random.integers(0, vocabulary, batch * (_BATCHES * steps + 1), np.int32)
    corpus = recurrent.Corpus("random", tuple(map(str, range(vocabulary))), words, words, words)
    config = recurrent.SearchConfig(units=units, batch_size=batch, bptt=steps)
    built = recurrent_step.build(recurrent.recurrent(), config, corpus)
    return Program(
        built.advance, built.init(jax.random.key(0)), (built.texts,), carried=True, counted=True
    )


def _resnet(depths: list[int], classes: int, image: int, batch: int) -> tuple[Any, ...]:
    model = ResNet(Bottleneck, depths, classes, rngs=nnx.Rngs(0))
    graph, _ = nnx.split(model)
    weights = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    statistics = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
    random = np.random.default_rng(0)
    images = jnp.asarray(random.normal(size=(batch, image, image, 3)), jnp.float32)
    labels = jnp.asarray(random.integers(0, classes, batch, np.int32))
    return graph, weights, statistics, images, labels


def resnet_inference(
    *, side: str, depths: list[int], classes: int, image: int, batch: int
) -> Program:
    """Logits, with running statistics."""
    graph, weights, statistics, images, _ = _resnet(depths, classes, image, batch)

    def logits(state: Any, images: jax.Array) -> jax.Array:
        return nnx.merge(graph, *state)(images)

    return Program(logits, (weights, statistics), (images,))


def resnet_training(
    *, side: str, depths: list[int], classes: int, image: int, batch: int
) -> Program:
    """Forward, backward, stochastic gradient descent with momentum."""
    graph, weights, statistics, images, labels = _resnet(depths, classes, image, batch)
    optimizer = optax.sgd(0.1, momentum=0.9)

    def update(state: Any, images: jax.Array, labels: jax.Array) -> Any:
        weights, statistics, momentum = state

        def loss(weights: Any) -> tuple[jax.Array, Any]:
            model = nnx.merge(graph, weights, statistics)
            value = cross_entropy(model(images, train=True), labels)
            return value, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

        gradient, moved = jax.grad(loss, has_aux=True)(weights)
        change, momentum = optimizer.update(gradient, momentum, weights)
        return optax.apply_updates(weights, change), moved, momentum

    state = (weights, statistics, optimizer.init(weights))
    return Program(update, state, (images, labels), carried=True)


def depthwise(
    *,
    side: str,
    window: int,
    dilation: int,
    stride: int,
    channels: int,
    gradients: bool,
    image: int,
    batch: int,
) -> Program:
    """A depthwise convolution alone; with ``gradients`` those by images and kernel too."""
    padding = dilation * (window - 1) // 2
    random = np.random.default_rng(0)
    x = jnp.asarray(random.normal(size=(batch, image, image, channels)), jnp.float32)
    kernel = jnp.asarray(random.normal(size=(window, window, 1, channels)), jnp.float32)

    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        if side == "jaxcv":
            return functional.depthwise_conv2d(
                x, kernel, stride=stride, padding=padding, dilation=dilation
            )
        return lax.conv_general_dilated(
            x,
            kernel,
            window_strides=(stride, stride),
            padding=((padding, padding), (padding, padding)),
            rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=channels,
        )

    if not gradients:
        return Program(convolve, x, (kernel,))
    shape = jax.eval_shape(convolve, x, kernel).shape
    cotangent = jnp.asarray(random.normal(size=shape), jnp.float32)

    def both(x: jax.Array, kernel: jax.Array, cotangent: jax.Array) -> Any:
        y, transpose = jax.vjp(convolve, x, kernel)
        return y, transpose(cotangent)

    return Program(both, x, (kernel, cotangent))


PROGRAMS: dict[str, Callable[..., Program]] = {
    "search": search,
    "train": train,
    "recurrent_search": recurrent_search,
    "resnet_inference": resnet_inference,
    "resnet_training": resnet_training,
    "depthwise": depthwise,
}


if __name__ == "__main__":
    serve(prepare)
