import jax
import jax.numpy as jnp
import pytest

from jaxcv.analysis import measure_latency


def test_the_form_of_a_latency():
    traced = []

    def function(x, weights):
        traced.append(x.shape)
        return {"y": x @ weights["w"]}

    latency = measure_latency(function, jnp.ones((2, 3)), {"w": jnp.ones((3, 4))}, trials=5)
    assert 0 < latency.shortest <= latency.median <= latency.longest
    assert traced == [(2, 3)]


def test_it_runs_as_often_as_it_says():
    calls = []

    @jax.jit
    def function(x):
        jax.debug.callback(lambda: calls.append(1))
        return x

    measure_latency(function, jnp.ones(2), trials=3)
    jax.effects_barrier()
    assert len(calls) == 1 + 3


def test_bad_arguments():
    with pytest.raises(ValueError, match="trials=0"):
        measure_latency(jnp.sin, 1.0, trials=0)
