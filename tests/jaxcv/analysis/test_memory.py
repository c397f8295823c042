"""Bytes of activations in programs whose peak is counted by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxcv.analysis import count_activation_bytes

SIZE = 4 * 6 * 6


def x(dtype=jnp.float32):
    return jax.ShapeDtypeStruct((6, 6), dtype)


def chain(x):
    return jnp.cos(jnp.sin(jnp.exp(x)))


def test_a_chain_holds_two_at_a_time():
    assert count_activation_bytes(jnp.exp, x()) == SIZE
    assert count_activation_bytes(chain, x()) == 2 * SIZE
    assert count_activation_bytes(chain, x(jnp.bfloat16)) == SIZE
    assert count_activation_bytes(lambda x: x, x()) == 0
    weights = np.ones((6, 6), np.float32)
    assert count_activation_bytes(lambda x: x @ weights, x()) == SIZE


def test_a_branch_is_held_until_it_is_read():
    def residual(x):
        y = jnp.exp(x)
        return chain(y) + y

    assert count_activation_bytes(residual, x()) == 3 * SIZE

    def unread(x):
        y = jnp.exp(x)
        jnp.sin(y)
        return jnp.cos(y)

    assert count_activation_bytes(unread, x()) == 2 * SIZE


def test_results_are_held_to_the_end():
    assert count_activation_bytes(lambda x: [jnp.exp(x), chain(x)], x()) == 3 * SIZE
    assert count_activation_bytes(lambda x: [chain(x), jnp.exp(x)], x()) == 2 * SIZE


@pytest.mark.parametrize("wrap", [jax.jit, jax.checkpoint, lambda f: jax.jit(jax.jit(f))])
def test_a_call_changes_nothing(wrap):
    def twice(f):
        return lambda x: f(jnp.exp(f(x)))

    assert count_activation_bytes(twice(wrap(chain)), x()) == 2 * SIZE


def test_loops_and_conditions():
    def loop(x):
        return lax.fori_loop(0, 5, lambda _, x: chain(x), x)

    # What it carries, two in a turn, and the counter, before and after.
    assert count_activation_bytes(loop, x()) == 3 * SIZE + 8

    def condition(x):
        return lax.cond(True, chain, lambda x: jnp.stack([x, x, x]).sum(0), x)

    # The index of the branch, the result, three stacked and their sum.
    assert count_activation_bytes(condition, x()) == 5 * SIZE


def test_training_holds_what_the_backward_pass_needs():
    def backward(function):
        return lambda *args: jax.vjp(function, *args)

    # The derivatives of exp, sin and cos: one array each, and the result.
    assert count_activation_bytes(backward(chain), x()) >= 4 * SIZE
    depth = 10

    def deep(x):
        for _ in range(depth):
            x = jnp.sin(x)
        return x

    assert count_activation_bytes(deep, x()) == 2 * SIZE
    kept = count_activation_bytes(backward(deep), x())
    assert depth * SIZE <= kept <= (depth + 3) * SIZE
    again = count_activation_bytes(backward(jax.checkpoint(deep)), x())
    assert again <= 3 * SIZE
