"""Counts of multiply-adds and bytes against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxcv import analysis, functional
from jaxcv.analysis import count_multiply_adds, count_operand_bytes


def shape(*sizes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype)


def lax_convolution(x, kernel, **options):
    return lax.conv_general_dilated(
        x, kernel, padding="SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), **options
    )


def test_matrix_products():
    a, b = shape(2, 3), shape(3, 5)
    assert count_multiply_adds(jnp.dot, a, b) == 2 * 3 * 5
    batched = shape(7, 2, 3), shape(7, 3, 5)
    assert count_multiply_adds(jnp.matmul, *batched) == 7 * 2 * 3 * 5
    assert count_multiply_adds(lambda a: jnp.sin(a) + a * a, a) == 0

    def loss(a, b):
        return (a @ b).sum()

    assert count_multiply_adds(jax.grad(loss, argnums=(0, 1)), a, b) == 3 * 2 * 3 * 5


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions_and_their_gradients(groups, stride):
    x, kernel = shape(2, 8, 8, 4), shape(3, 3, 4 // groups, 8)
    one = 2 * (8 // stride) ** 2 * 9 * 4 // groups * 8

    def ours(x, kernel):
        return functional.conv2d(x, kernel, stride=stride, padding=1, groups=groups)

    def plain(x, kernel):
        return lax_convolution(
            x, kernel, window_strides=(stride, stride), feature_group_count=groups
        )

    for convolution in (ours, plain):
        assert count_multiply_adds(convolution, x, kernel) == one

        def loss(x, kernel, convolution=convolution):
            return convolution(x, kernel).sum()

        assert count_multiply_adds(jax.grad(loss, argnums=(0,)), x, kernel) == 2 * one
        assert count_multiply_adds(jax.grad(loss, argnums=(0, 1)), x, kernel) == 3 * one


@pytest.mark.parametrize("kernels_too", [False, True])
def test_a_leading_axis(kernels_too):
    axis = 0 if kernels_too else None
    many = jax.vmap(lambda x, kernel: functional.conv2d(x, kernel), in_axes=(0, axis))
    kernel = shape(5, 3, 3, 4, 6) if kernels_too else shape(3, 3, 4, 6)
    assert count_multiply_adds(many, shape(5, 2, 8, 8, 4), kernel) == 5 * 2 * 6 * 6 * 9 * 4 * 6


def test_programs_within_programs():
    a = shape(4, 4)

    def square(a):
        return a @ a

    custom_jvp = jax.custom_jvp(square)
    custom_jvp.defjvp(lambda primals, tangents: (custom_jvp(*primals), tangents[0]))
    custom_vjp = jax.custom_vjp(square)
    custom_vjp.defvjp(lambda a: (square(a), a), lambda a, c: (c @ a,))
    for wrapped in (jax.jit(square), custom_jvp, custom_vjp, jax.checkpoint(square)):
        assert count_multiply_adds(wrapped, a) == 64
    assert count_multiply_adds(jax.grad(lambda a: custom_vjp(a).sum()), a) == 2 * 64

    known = count_multiply_adds(lambda a: lax.fori_loop(0, 5, lambda _, a: a @ a, a), a)
    assert known == 5 * 64
    unknown = count_multiply_adds(
        lambda a, turns: lax.fori_loop(0, turns, lambda _, a: a @ a, a), a, 5
    )
    assert unknown == 64
    branches = count_multiply_adds(
        lambda a: lax.cond(a[0, 0] > 0, lambda a: a @ a, lambda a: a @ a @ a, a), a
    )
    assert branches == 2 * 64


def test_another_primitive_needs_only_a_rule(monkeypatch):
    monkeypatch.setitem(analysis.MULTIPLY_ADDS, "sin", lambda equation: 10)
    assert count_multiply_adds(lambda a: jnp.sin(a) @ a, shape(2, 2)) == 10 + 8


def test_operand_bytes():
    assert count_operand_bytes(jnp.dot, shape(2, 3), shape(3, 5)) == 4 * (6 + 15 + 10)
    halves = shape(2, 3, dtype=jnp.bfloat16), shape(3, 5, dtype=jnp.bfloat16)
    assert count_operand_bytes(jnp.dot, *halves) == 2 * (6 + 15 + 10)
    x, kernel = np.zeros((1, 4, 4, 2), np.float32), np.zeros((1, 1, 2, 3), np.float32)
    assert count_operand_bytes(functional.conv2d, x, kernel) == 4 * (32 + 6 + 48)
