"""The network of a genotype against PyTorch, in float64: logits, gradients, statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcv.genotype import published
from jaxcv.models import SKELETONS, CellNetwork

torch = pytest.importorskip("torch")

import torch_reference  # noqa: E402
import torch_weights  # noqa: E402

CHANNELS, LAYERS, CLASSES, BATCH = 4, 3, 5, 4


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def reference_cells(genotype):
    """Each cell as its edges in one list, two a node, and the states of its output."""
    return {
        kind: ([edge for node in cell.nodes for edge in node], cell.output.states)
        for kind, cell in genotype.cells.items()
    }


@pytest.mark.parametrize(
    ("name", "skeleton", "size", "auxiliary"),
    [
        ("DARTS_V2", "cifar", (32, 36), True),
        ("AMOEBANET_A", "cifar", (8, 12), False),
        ("DARTS_V2", "imagenet", (32, 64), False),
        ("AMOEBANET_A", "imagenet", (224, 224), True),
    ],
)
def test_network(name, skeleton, size, auxiliary):
    genotype = published[name]
    torch.manual_seed(0)
    theirs = torch_reference.CellNetwork(
        reference_cells(genotype), skeleton, CHANNELS, LAYERS, CLASSES, auxiliary
    ).double()
    torch_weights.randomize(theirs, seed=1)
    ours = nnx.eval_shape(
        lambda: CellNetwork(
            genotype,
            SKELETONS[skeleton],
            CHANNELS,
            LAYERS,
            CLASSES,
            auxiliary=auxiliary,
            dtype=jnp.float64,
            rngs=nnx.Rngs(0),
        )
    )
    graph, _ = nnx.split(ours)
    weights = torch_weights.tree(ours, theirs)
    statistics = torch_weights.tree(ours, theirs, nnx.BatchStat)

    random = np.random.default_rng(0)
    x = random.normal(size=(BATCH, *size, 3))
    pull_with = [random.normal(size=(BATCH, CLASSES)) for _ in range(1 + auxiliary)]
    their_x = torch_weights.to_torch(x).requires_grad_()
    their_heads = [head for head in theirs.train()(their_x) if head is not None]
    torch.autograd.backward(their_heads, [torch.from_numpy(pull) for pull in pull_with])

    @torch_weights.quick_jit
    def run(weights, statistics, x, pull_with):
        def call(weights, x):
            network = nnx.merge(graph, weights, statistics)
            names = ("logits", "auxiliary")[: 1 + auxiliary]
            found = network.features(x, names, train=True)
            heads = tuple(found[name] for name in names)
            return heads, nnx.to_pure_dict(nnx.state(network, nnx.BatchStat))

        heads, pull, moved = jax.vjp(call, weights, x, has_aux=True)
        evaluated = nnx.merge(graph, weights, moved)(x)
        return heads, moved, pull(pull_with), evaluated

    heads, moved, (weight_gradients, x_gradient), evaluated = run(
        weights, statistics, jnp.asarray(x), tuple(map(jnp.asarray, pull_with))
    )
    torch_weights.close(list(heads), [head.detach().numpy() for head in their_heads])
    torch_weights.close(moved, torch_weights.tree(ours, theirs, nnx.BatchStat))
    torch_weights.close(
        weight_gradients, torch_weights.tree(ours, theirs, of=torch_weights.gradient)
    )
    torch_weights.close(x_gradient, torch_weights.from_torch(their_x.grad))
    with torch.no_grad():
        torch_weights.close(evaluated, theirs.eval()(their_x)[0].numpy())
