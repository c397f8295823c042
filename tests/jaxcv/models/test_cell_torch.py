"""The network of a genotype against PyTorch, in float64: logits, gradients, statistics, names."""

import functools

import pytest
from flax import nnx

from jaxcv.genotype import published
from jaxcv.models import SKELETONS, CellNetwork, create_model
from jaxcv.models.cell import reference_names
from jaxcv.models.registry import MODELS

torch = pytest.importorskip("torch")

import torch_reference  # noqa: E402
from torch_parity import CLASSES, compare, same_names  # noqa: E402

CHANNELS, LAYERS, BATCH = 4, 3, 4


def their_network(name, skeleton, channels, layers, *, auxiliary):
    """Each cell as its edges in one list, two a node, and the states of its output."""
    cells = {
        kind: ([edge for node in cell.nodes for edge in node], cell.output.states)
        for kind, cell in published[name].cells.items()
    }
    return torch_reference.CellNetwork(cells, skeleton, channels, layers, CLASSES, auxiliary)


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
    genotype, ours = published[name], SKELETONS[skeleton]
    compare(
        functools.partial(CellNetwork, genotype, ours, CHANNELS, LAYERS, auxiliary=auxiliary),
        their_network(name, skeleton, CHANNELS, LAYERS, auxiliary=auxiliary),
        reference_names(genotype, ours, LAYERS),
        (BATCH, *size, 3),
        ("logits", "auxiliary")[: 1 + auxiliary],
    )


@pytest.mark.parametrize("skeleton", ["cifar", "imagenet"])
@pytest.mark.parametrize("name", published)
def test_every_variable_has_its_name_in_the_reference_code(name, skeleton):
    # A normal cell behind none and one behind a reduction, and so two reductions.
    layers, genotype, ours = 4, published[name], SKELETONS[skeleton]
    same_names(
        nnx.eval_shape(
            lambda: CellNetwork(genotype, ours, CHANNELS, layers, CLASSES, rngs=nnx.Rngs(0))
        ),
        their_network(name, skeleton, CHANNELS, layers, auxiliary=False),
        reference_names(genotype, ours, layers),
    )


@pytest.mark.parametrize(("skeleton", "size"), [("cifar", (36, 20)), ("imagenet", (48, 14))])
def test_the_networks_by_name_have_the_size_and_names_of_the_reference_code(skeleton, size):
    name = f"darts_v2_{skeleton}"
    ours = nnx.eval_shape(lambda: create_model(name, CLASSES, auxiliary=True, rngs=nnx.Rngs(0)))
    with torch.device("meta"):
        theirs = their_network("DARTS_V2", skeleton, *size, auxiliary=True)
    same_names(ours, theirs, MODELS[name].names["darts"])
