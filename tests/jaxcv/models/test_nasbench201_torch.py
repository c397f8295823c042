"""Networks of NAS-Bench-201 against PyTorch, in float64: logits, gradients, statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcv.models.nasbench201 import NASBench201Network

torch = pytest.importorskip("torch")

import torch_nasbench201  # noqa: E402
import torch_weights  # noqa: E402

CELL = (
    "nor_conv_3x3",
    "skip_connect",
    "nor_conv_1x1",
    "none",
    "avg_pool_3x3",
    "nor_conv_3x3",
)


def test_parity():
    theirs = torch_nasbench201.Network(CELL, 2, 1, 3).double().train()
    torch_weights.randomize(theirs, seed=1)
    x = np.random.default_rng(0).normal(size=(3, 8, 12, 3))
    with jax.enable_x64(True):
        ours = nnx.eval_shape(
            lambda: NASBench201Network(CELL, 2, 1, 3, dtype=jnp.float64, rngs=nnx.Rngs(0))
        )
        graph, _ = nnx.split(ours)
        weights = torch_weights.tree(ours, theirs)
        statistics = torch_weights.tree(ours, theirs, nnx.BatchStat)
        their_logits = theirs(torch_weights.to_torch(x))
        their_logits.square().sum().backward()
        their_gradient = torch_weights.tree(ours, theirs, of=torch_weights.gradient)
        their_statistics = torch_weights.tree(ours, theirs, nnx.BatchStat)
        evaluated = theirs.eval()(torch_weights.to_torch(x))

        @torch_weights.quick_jit
        def run(weights, statistics, x):
            def loss(weights):
                network = nnx.merge(graph, weights, statistics)
                logits = network(x, train=True)
                moved = nnx.to_pure_dict(nnx.state(network, nnx.BatchStat))
                return jnp.square(logits).sum(), (logits, moved)

            (_, (logits, moved)), gradient = jax.value_and_grad(loss, has_aux=True)(weights)
            return logits, gradient, moved, nnx.merge(graph, weights, moved)(x)

        logits, gradient, moved, ours_evaluated = run(weights, statistics, x)
        torch_weights.close(logits, their_logits.detach().numpy())
        # What an offset before a batch norm adds to all pixels is gone after it.
        torch_weights.close(gradient, their_gradient, rounding=1e-12)
        torch_weights.close(moved, their_statistics)
        torch_weights.close(ours_evaluated, evaluated.detach().numpy())
