"""Depthwise convolutions as shifted sums, the form for GPUs, against lax's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcv.functional import _shifted
from jaxcv.functional._convolution import Geometry, _defined


@st.composite
def geometries(draw):
    window, dilation, stride, image, padding = (
        (draw(st.integers(least, most)), draw(st.integers(least, most)))
        for least, most in ((1, 4), (1, 2), (1, 3), (6, 9), (0, 3))
    )
    high = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    pads = tuple(zip(padding, high, strict=True))
    result = tuple(
        (i + sum(p) - d * (f - 1) - 1) // s + 1
        for i, p, d, f, s in zip(image, pads, dilation, window, stride, strict=True)
    )
    channels = draw(st.integers(1, 3))
    return Geometry(channels, image, result, window, stride, pads, dilation, channels)


@pytest.mark.parametrize("to", ["result", "images", "kernel"])
@settings(max_examples=12)
@given(g=geometries(), several=st.integers(1, 3), edges=st.integers(0, 2))
def test_members_are_those_of_lax(to, g, several, edges):
    if min(g.result) < 1:
        return
    random = np.random.default_rng(0)
    lead = (edges,) if edges else ()
    with jax.enable_x64(True):
        x, y, kernel = (
            jnp.asarray(random.normal(size=(*lead, *shape)))
            for shape in (
                (2, *g.image, g.channels),
                (2, *g.result, several * g.channels),
                (*g.window, 1, several * g.channels),
            )
        )
        a, b = {"result": (x, kernel), "images": (y, kernel), "kernel": (x, y)}[to]

        def both(a, b):
            each = [_defined(*edge, to, g) for edge in zip(a, b, strict=True)] if edges else []
            defined = jnp.stack(each) if edges else _defined(a, b, to, g)
            return _shifted.depthwise(a, b, to, g), defined

        found, expected = jax.jit(both)(a, b)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
