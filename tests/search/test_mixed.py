"""The fused mixed operation and the network made of it, against the same edge by edge."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import plain_supernet
import pytest
from flax import nnx

import search
from jaxcv import functional
from jaxcv.analysis import count_multiply_adds
from search.mixed import mixed_edges
from search.mixed_definition import Stage, Static
from search.supernet import SearchNetwork


def branches(stride):
    return (
        (Stage(stride, 1, 1), Stage(1, 1, 1)),
        (Stage(stride, 2, 1), Stage(1, 2, 1)),
        (Stage(stride, 4, 2),),
    )


def plain(arguments, static):
    """The formula, edge by edge."""
    x, mix, shared, kernels = arguments
    terms = [
        functional.batch_norm(s)[0] if normalized else s
        for s, normalized in zip(shared, static.normalized, strict=True)
    ]
    edges = []
    for e in range(static.edges):
        y = sum(mix[e, q].astype(x.dtype) * term for q, term in enumerate(terms))
        for k, (stages, pairs) in enumerate(zip(static.branches, kernels, strict=True)):
            state = x
            for (stride, padding, dilation), (depthwise, pointwise) in zip(
                stages, pairs, strict=True
            ):
                state = jax.lax.conv_general_dilated(
                    jax.nn.relu(state),
                    depthwise[e],
                    (stride, stride),
                    ((padding, padding),) * 2,
                    rhs_dilation=(dilation, dilation),
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                    feature_group_count=x.shape[-1],
                )
                state = jnp.einsum("nhwc,ck->nhwk", state, pointwise[e, 0, 0])
                state, _ = functional.batch_norm(state)
            y = y + mix[e, len(terms) + k].astype(x.dtype) * state
        edges.append(y)
    return edges


def fused(arguments, static):
    return mixed_edges(*arguments, static)


def case(edges, batch, height, width, channels, stride, dtype=jnp.float32, seed=0):
    random = np.random.default_rng(seed)

    def normal(*shape, dtype=dtype):
        return jnp.asarray(random.normal(size=shape), dtype)

    static = Static(edges, (True, False), branches(stride))
    kernels = [
        [
            (normal(edges, size, size, 1, channels), normal(edges, 1, 1, channels, channels))
            for _ in stages
        ]
        for size, stages in zip((3, 5, 5), static.branches, strict=True)
    ]
    result = (batch, -(-height // stride), -(-width // stride), channels)
    mix = normal(edges, 5, dtype=jnp.float32)
    arguments = (normal(batch, height, width, channels), mix, [normal(*result)] * 2, kernels)
    return arguments, static, [normal(*result) for _ in range(edges)]


def close(ours, theirs, tolerance):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max())


# Channels that fill a block of lanes, several, and neither; sizes that fill a strip and do not.
SIZES = [(2, 3, 8, 8, 16, 1), (3, 9, 9, 7, 20, 2), (1, 1, 6, 6, 5, 1), (2, 2, 34, 5, 33, 1)]


@pytest.mark.parametrize("size", SIZES)
def test_results_and_gradients(size):
    arguments, static, gradients = case(*size)

    @functools.partial(jax.jit, static_argnums=0)
    def run(function, arguments, gradients):
        y, transposed = jax.vjp(lambda a: function(a, static), arguments)
        return y, transposed(gradients)

    close(run(fused, arguments, gradients), run(plain, arguments, gradients), 2e-5)


def test_gradients_in_float64_by_the_definition():
    with jax.enable_x64(True):
        arguments, static, gradients = case(2, 3, 5, 6, 3, 2, jnp.float64)
        results = [
            jax.jit(lambda a, g, f=f: jax.vjp(lambda a: f(a, static), a)[1](g))(
                arguments, gradients
            )
            for f in (fused, plain)
        ]
    # Mixing weights are float32, and so are their gradients.
    close(*results, 1e-6)


def test_mixing_weights_of_another_dtype_than_the_images():
    with jax.enable_x64(True):
        (x, mix, *rest), static, _ = case(2, 3, 8, 8, 4, 1)
        double = (x, mix.astype(jnp.float64), *rest)
        close(fused(double, static), plain(double, static), 2e-5)


@pytest.mark.parametrize("wanted", [(1,), (0, 1, 2), (3,)])
def test_gradients_by_some_arguments_only(wanted):
    arguments, static, gradients = case(2, 3, 8, 8, 4, 1)

    def run(function):
        def some(*given):
            by_number = dict(zip(wanted, given, strict=True))
            return function(
                [by_number.get(number, a) for number, a in enumerate(arguments)], static
            )

        return jax.jit(lambda given: jax.vjp(some, *given)[1](gradients))(
            [arguments[number] for number in wanted]
        )

    close(run(fused), run(plain), 2e-5)


def test_forward_mode_and_second_derivatives():
    arguments, static, gradients = case(2, 2, 5, 5, 3, 1)
    tangents = jax.tree.map(lambda a: jnp.cos(3 * a), arguments)

    def run(function):
        def loss(a):
            edges = function(a, static)
            return sum(jnp.vdot(g, jnp.sin(y)) for g, y in zip(gradients, edges, strict=True))

        def all_of_them(a, tangents):
            gradient = jax.grad(loss)
            return (
                jax.jvp(loss, (a,), (tangents,)),
                jax.jvp(gradient, (a,), (tangents,))[1],
                jax.grad(lambda a: jax.tree.reduce(
                    jnp.add, jax.tree.map(jnp.vdot, gradient(a), tangents)))(a),
            )  # fmt: skip

        return jax.jit(all_of_them)(arguments, tangents)

    close(run(fused), run(plain), 2e-4)


@pytest.mark.parametrize("size", [(2, 2, 8, 8, 16, 1), (3, 9, 9, 7, 20, 2), (1, 1, 6, 6, 5, 1)])
def test_tangents_of_gradients(size):
    arguments, static, gradients = case(*size)
    tangents = jax.tree.map(lambda a: jnp.cos(3 * a), (arguments, gradients))

    def run(function, arguments, gradients, tangents):
        def by(wanted):
            def gradient(arguments, gradients):
                def some(*given):
                    return function([*given, *arguments[len(given) :]], static)

                y, transposed = jax.vjp(some, *arguments[:wanted])
                return y, transposed(gradients)

            return jax.jvp(gradient, (arguments, gradients), tangents)[1]

        return by(4), by(3)

    jitted = jax.jit(run, static_argnums=0)
    close(jitted(fused, arguments, gradients, tangents),
          jitted(plain, arguments, gradients, tangents), 2e-4)  # fmt: skip


def test_tangents_of_several_searches_at_once_and_in_bfloat16():
    (first, static, g), (second, _, h) = (case(2, 3, 6, 6, 4, 2, seed=seed) for seed in (0, 1))

    def run(arguments, g):
        def gradient(arguments):
            return jax.vjp(lambda a: fused(a, static), arguments)[1](g)

        return jax.jvp(gradient, (arguments,), (jax.tree.map(jnp.cos, arguments),))[1]

    stacked = jax.tree.map(lambda *a: jnp.stack(a), (first, g), (second, h))
    both, single = jax.jit(jax.vmap(run))(*stacked), jax.jit(run)
    for number, arguments in enumerate([(first, g), (second, h)]):
        close(jax.tree.map(lambda a, n=number: a[n], both), single(*arguments), 1e-6)
    low = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (first, g))
    for a, b in zip(jax.tree.leaves(single(*low)), jax.tree.leaves(single(first, g)), strict=True):
        error = np.linalg.norm(np.asarray(a, np.float64) - np.asarray(b))
        assert error < 0.1 * np.linalg.norm(b)


def test_several_searches_at_once():
    (first, static, g), (second, _, h) = (case(2, 3, 6, 6, 4, 2, seed=seed) for seed in (0, 1))

    def run(arguments, g):
        y, transposed = jax.vjp(lambda a: fused(a, static), arguments)
        return y, transposed(g)

    stacked = jax.tree.map(lambda *a: jnp.stack(a), (first, g), (second, h))
    both = jax.jit(jax.vmap(run))(*stacked)
    for number, arguments in enumerate([(first, g), (second, h)]):
        close(jax.tree.map(lambda a, n=number: a[n], both), jax.jit(run)(*arguments), 1e-6)


def test_bfloat16_is_nearer_to_float32_than_the_formula_in_bfloat16():
    arguments, static, gradients = case(2, 3, 8, 8, 16, 1)
    low = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (arguments, gradients))
    low = ((low[0][0], arguments[1], *low[0][2:]), low[1])

    def run(function, arguments, gradients):
        y, transposed = jax.vjp(lambda a: function(a, static), arguments)
        return jax.tree.leaves((y, transposed(gradients)))

    jitted = jax.jit(run, static_argnums=0)
    ours, theirs = jitted(fused, *low), jitted(plain, *low)
    exact = jitted(plain, *jax.tree.map(lambda a: a.astype(jnp.float32), low))

    def error(some):
        return sum(
            np.linalg.norm(np.asarray(a, np.float64) - b) / np.linalg.norm(b)
            for a, b in zip(some, exact, strict=True)
        )

    assert 0 < error(ours) < error(theirs)


def test_the_network_is_as_near_to_its_plain_form_in_float64_as_that_is_in_float32():
    space = search.darts(2)
    network = SearchNetwork(space, 4, 3, 5, rngs=nnx.Rngs(0))
    graph, weights = nnx.split(network)
    alphas = jax.tree.map(lambda a: 300 * a, space.init_alphas(jax.random.key(1)))
    x = np.random.default_rng(0).normal(size=(3, 16, 16, 3)).astype(np.float32)

    def run(form, dtype):
        def loss(weights, alphas, x):
            network = nnx.merge(graph, weights)
            network.dtype = x.dtype
            logits = form(network, x, jax.tree.map(jax.nn.softmax, alphas))
            return jnp.sin(logits).sum(), logits

        cast = jax.tree.map(lambda a: np.asarray(a, dtype), (weights, alphas, x))
        return jax.value_and_grad(loss, (0, 1), has_aux=True)(*cast)

    def plain_form(network, x, mix):
        return plain_supernet.run_network(network, space, x, mix)

    ours = run(jax.jit(lambda network, x, mix: network(x, mix)), np.float32)
    theirs = run(plain_form, np.float32)
    with jax.enable_x64(True):
        exact = jax.device_get(run(plain_form, np.float64))

    def errors(some):
        return [
            float(np.linalg.norm(np.asarray(a, np.float64) - b) / np.linalg.norm(b))
            for a, b in zip(jax.tree.leaves(some), jax.tree.leaves(exact), strict=True)
        ]

    assert max(errors(ours)) < 2 * max(errors(theirs)) < 2e-3
    assert np.median(errors(ours)) < 2 * np.median(errors(theirs)) < 1e-3


def test_multiply_adds_are_those_of_the_formula():
    arguments, static, gradients = case(2, 3, 6, 6, 4, 2)
    pixels = 2 * 3 * 3 * 3  # edges, images, and pixels of a result
    forward = pixels * 4 * sum(window**2 + 4 for window in (3, 3, 5, 5, 5))
    assert count_multiply_adds(lambda a: fused(a, static), arguments) == forward

    def backward(arguments):
        return jax.vjp(lambda a: fused(a, static), arguments)[1](gradients)

    assert count_multiply_adds(backward, arguments) == 3 * forward
