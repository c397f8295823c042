"""The supernet against PyTorch, in float64: outputs, and gradients by weights and alphas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcv.models import CIFAR
from jaxcv.models.skeleton import places
from search.relaxation import softmax
from search.space import darts
from search.supernet import SearchCell, SearchNetwork

torch = pytest.importorskip("torch")

import torch_reference  # noqa: E402
import torch_weights  # noqa: E402

CHANNELS, LAYERS, CLASSES, BATCH = 4, 3, 5, 4


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def leaf(array):
    return torch.from_numpy(array).requires_grad_()


# In the skeleton of three cells: the first one, and a reduction that follows a reduction.
@pytest.mark.parametrize(("layer", "kind", "nodes"), [(0, "normal", 2), (2, "reduce", 4)])
def test_cell(layer, kind, nodes):
    space = darts(nodes)
    place = places(CIFAR, CHANNELS, LAYERS, {"normal": nodes, "reduce": nodes})[layer]
    assert place.kind == kind
    ours = nnx.eval_shape(lambda: SearchCell(space.cells[kind], place, rngs=nnx.Rngs(0)))
    graph, _ = nnx.split(ours)
    torch.manual_seed(0)
    their_place = list(torch_reference.places(CHANNELS, LAYERS))[layer]
    theirs = torch_reference.SearchCell(place.before, place.last, their_place, nodes).double()

    random = np.random.default_rng(0)
    height, width = 4, 6
    factor = 2 if place.after_reduction else 1
    before = random.normal(size=(BATCH, factor * height, factor * width, place.before))
    last = random.normal(size=(BATCH, height, width, place.last))
    mix = random.dirichlet(np.ones(8), size=len(space.cells[kind].edges))
    their_inputs = [torch_weights.to_torch(x).requires_grad_() for x in (before, last)]
    their_mix = leaf(mix)
    their_y = theirs(*their_inputs, their_mix)
    y_gradient = random.normal(size=torch_weights.from_torch(their_y).shape)
    their_y.backward(torch_weights.to_torch(y_gradient))

    @torch_weights.quick_jit
    def run(weights, before, last, mix, y_gradient):
        def call(*args):
            weights, *inputs = args
            return nnx.merge(graph, weights)(*inputs)

        y, pull = jax.vjp(call, weights, before, last, mix)
        return y, pull(y_gradient)

    y, gradients = run(torch_weights.tree(ours, theirs), before, last, mix, y_gradient)
    torch_weights.close(y, torch_weights.from_torch(their_y))
    expected = (
        torch_weights.tree(ours, theirs, of=torch_weights.gradient),
        *(torch_weights.from_torch(x.grad) for x in their_inputs),
        their_mix.grad.numpy(),
    )
    torch_weights.close(gradients, expected)


def test_network():
    space = darts(nodes=2)
    torch.manual_seed(0)
    theirs = torch_reference.SearchNetwork(CHANNELS, LAYERS, CLASSES, nodes=2).double()
    torch_weights.randomize(theirs, seed=1)
    ours = nnx.eval_shape(
        lambda: SearchNetwork(space, CHANNELS, LAYERS, CLASSES, dtype=jnp.float64, rngs=nnx.Rngs(0))
    )
    graph, _ = nnx.split(ours)

    random = np.random.default_rng(0)
    x = random.normal(size=(BATCH, 8, 12, 3))
    alphas = {kind: random.normal(size=(5, 8)) for kind in ("normal", "reduce")}
    logits_gradient = random.normal(size=(BATCH, CLASSES))
    their_alphas = {kind: leaf(value) for kind, value in alphas.items()}
    their_mix = [their_alphas[kind].softmax(-1) for kind in ("normal", "reduce")]
    their_logits = theirs(torch_weights.to_torch(x), *their_mix)
    their_logits.backward(torch.from_numpy(logits_gradient))

    @torch_weights.quick_jit
    def run(weights, alphas, x, logits_gradient):
        def call(weights, alphas):
            mix = softmax(space).decode(alphas)
            return nnx.merge(graph, weights)(x, mix)

        logits, pull = jax.vjp(call, weights, alphas)
        return logits, pull(logits_gradient)

    logits, (weight_gradients, alpha_gradients) = run(
        torch_weights.tree(ours, theirs), alphas, x, logits_gradient
    )
    torch_weights.close(logits, their_logits.detach().numpy())
    torch_weights.close(
        weight_gradients, torch_weights.tree(ours, theirs, of=torch_weights.gradient)
    )
    torch_weights.close(alpha_gradients, {kind: a.grad.numpy() for kind, a in their_alphas.items()})
