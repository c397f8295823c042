"""The primitives where arrays are on several devices, and where nothing is compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from forced_devices import check_equal
from jax import lax

from jaxcv import functional

SHARDED = """
import jax, jax.numpy as jnp, numpy as np
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
import search
from jaxcv import functional
from jaxcv.training.loss import cross_entropy
from search.supernet import SearchNetwork

x = jax.random.normal(jax.random.key(0), (4, 6, 6, 4))
kernel = jax.random.normal(jax.random.key(1), (3, 3, 4, 4))
space = search.darts(2)
mix = space.init_alphas(jax.random.key(2))
network = SearchNetwork(space, 2, 1, 3, inputs=4, rngs=nnx.Rngs(0))
graph, weights = nnx.split(network)

def supernet(x, scale):
    scaled = jax.tree.map(lambda leaf: leaf * (1 + scale.mean()), weights)
    return nnx.merge(graph, scaled)(x, mix)

FUNCTIONS = {
    "plain": lambda x, k: functional.conv2d(x, k, padding=1),
    "grouped": lambda x, k: functional.conv2d(x, k[:, :, :2], padding=1, groups=2),
    "depthwise": lambda x, k: functional.depthwise_conv2d(x, k[:, :, :1], padding=1),
    "transposed": lambda x, k: functional.conv_transpose2d(x, k, stride=2),
    "max": lambda x, k: functional.max_pool2d(x * k.mean(), 3),
    "average": lambda x, k: functional.avg_pool2d(x * k.mean(), 3),
    "bilinear": lambda x, k: functional.upsample_bilinear(x * k.mean(), 2),
    "supernet": supernet,
}

def loss(function, x, kernel, mean):
    # Of each half, so that batch norms, whose statistics are of a half, do not matter.
    y = function(x, kernel).reshape(len(x), -1)
    return mean(cross_entropy(y ** 3, jnp.arange(len(x)) % 2))

for name, function in FUNCTIONS.items():
    halves = lambda x, k: sum(loss(function, half, k, lambda a: a / 2) for half in (x[:2], x[2:]))
    expected = jax.jit(jax.value_and_grad(halves, (0, 1)))(x, kernel)
    for kind in ("manual", "explicit"):
        if (name, kind) == ("supernet", "explicit"):
            # Its batch norms are those of the whole batch here.
            whole = lambda x, k: loss(function, x, k, lambda a: a)
            expected = jax.jit(jax.value_and_grad(whole, (0, 1)))(x, kernel)
        types = (AxisType.Auto,) if kind == "manual" else (AxisType.Explicit,)
        mesh = jax.make_mesh((2,), ("d",), axis_types=types)
        specs = (P("d"), P())
        placed = [jax.device_put(a, NamedSharding(mesh, s)) for a, s in zip((x, kernel), specs)]
        if kind == "manual":
            whole = jax.shard_map(
                lambda x, k: loss(function, x, k, lambda a: jax.lax.pmean(a, "d")),
                mesh=mesh, in_specs=specs, out_specs=P(),
            )
        else:
            whole = lambda x, k: loss(function, x, k, lambda a: a)
            y = jax.eval_shape(function, *placed)
            assert y.sharding.spec[0] == "d", (name, y)
        found = jax.jit(jax.value_and_grad(whole, (0, 1)))(*placed)
        for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5, err_msg=f"{name} {kind}")
print("equal")
"""


def test_gradients_on_two_devices_are_those_on_one():
    """In ``jax.shard_map``, which sums gradients by what varies, and with explicit shardings."""
    check_equal(SHARDED, 2)


KERNEL = jnp.arange(18.0).reshape(3, 3, 1, 2)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: functional.conv2d(x, KERNEL),
        lambda x: functional.max_pool2d(x, 2),
        lambda x: functional.upsample_bilinear(x, 2),
    ],
)
def test_all_work_where_compilation_is_switched_off(function):
    x = jnp.arange(25.0).reshape(1, 5, 5, 1)
    expected = jax.jit(function)(x)
    with jax.disable_jit():
        found = function(x)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: functional.conv2d(x, KERNEL),
        lambda x: functional.depthwise_conv2d(x, KERNEL),
        lambda x: functional.conv_transpose2d(x, jnp.ones((2, 2, 1, 1))),
        lambda x: functional.max_pool2d(x, 2),
        lambda x: functional.avg_pool2d(x, 2),
        lambda x: functional.global_avg_pool2d(x),
        lambda x: functional.adaptive_avg_pool2d(x, 2),
        lambda x: functional.upsample_bilinear(x, 2),
        lambda x: functional.batch_norm(x),
    ],
)
def test_bytes_are_refused_where_weights_would_be_rounded_to_them(function):
    with pytest.raises(ValueError, match="x has type uint8; allowed are floats"):
        function(jnp.full((1, 5, 5, 1), 7, jnp.uint8))


def test_sizes_may_come_from_arrays():
    x = jnp.arange(25.0).reshape(1, 5, 5, 1)
    expected = functional.conv2d(x, KERNEL, stride=2, padding=1)
    found = functional.conv2d(x, KERNEL, stride=np.int64(2), padding=np.ones(1, int)[0])
    np.testing.assert_array_equal(found, expected)


def test_images_with_the_same_kernel_stay_one_convolution():
    x, kernel = jnp.ones((3, 2, 5, 5, 4)), jnp.ones((3, 3, 4, 6))

    def mapped(x):
        return jax.vmap(lambda x: functional.conv2d(x, kernel))(x)

    def gradient(x):
        return jax.grad(lambda x: mapped(x).sum())(x)

    for function, times in ((mapped, 1), (gradient, 2)):
        lowered = jax.jit(function).lower(x).as_text()
        assert 0 < lowered.count("stablehlo.convolution") <= times
    expected = [
        lax.conv_general_dilated(
            each, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        for each in x
    ]
    np.testing.assert_allclose(mapped(x), expected)
