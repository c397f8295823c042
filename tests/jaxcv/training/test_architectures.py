"""Training the networks of all kinds of architectures: steps move them, and they load back."""

import dataclasses

import chex
import numpy as np
import pytest
from flax import nnx

import jaxcv
from jaxcv.data import Augmentation, from_arrays
from jaxcv.genotype import SINGLE, Cell, Genotype, Output
from jaxcv.models.macro import Macro, MacroNetwork
from jaxcv.models.motif import Motif, MotifNetwork
from jaxcv.models.nasbench201 import NASBench201Network
from jaxcv.training import classification, train
from jaxcv.training.run import Run

CONFIG = classification.Config(
    channels=2, layers=5, epochs=2, batch_size=8, auxiliary_weight=0.0, cutout=2, drop_path=0.3
)
SINGLE_CELL = Cell(
    (
        (("nor_conv_1x1", 0),),
        (("none", 0), ("none", 1)),
        (("skip_connect", 0), ("avg_pool_3x3", 1), ("none", 2)),
    ),
    Output("concat", (3,)),
)
INNER = Motif(2, (("conv_1x1", 0, 1),))
ARCHITECTURES = {
    "nasbench201": (Genotype({SINGLE: SINGLE_CELL}), NASBench201Network),
    "macro": (
        Macro(("nor_conv_3x3", "avg_pool_3x3", "max_pool_3x3"), ((), (0,), ())),
        MacroNetwork,
    ),
    "motif": (Motif(3, ((INNER, 0, 1), ("identity", 1, 2))), MotifNetwork),
}


@pytest.fixture(scope="module")
def dataset():
    random = np.random.default_rng(0)
    arrays = []
    for count in (19, 9):
        arrays.append(random.integers(0, 256, (count, 8, 8, 3), np.uint8))
        arrays.append(np.arange(count) % 3)
    return from_arrays(*arrays, augmentation=Augmentation(pad=1, flip=True))


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_kind_of_architecture_trains_and_loads_back(kind, dataset, tmp_path):
    architecture, network = ARCHITECTURES[kind]
    run = train.create_run(tmp_path / "run", architecture, dataset, CONFIG)
    result = train.run(architecture, dataset, CONFIG, folder=run, progress=False)
    assert [row["step"] for row in result.history] == [2, 4]
    loaded = jaxcv.load(tmp_path / "run")
    assert type(loaded) is type(result.model) is network
    graph, state = nnx.split(loaded)
    assert graph == nnx.split(result.model)[0]
    chex.assert_trees_all_equal(state, nnx.split(result.model)[1])
    assert train.read_architecture(Run.open(tmp_path / "run", "train")) == architecture


def build(kind, size=8, **changes):
    return classification.build(
        ARCHITECTURES[kind][0],
        dataclasses.replace(CONFIG, **changes),
        count=19,
        image_shape=(size, size, 3),
        num_classes=3,
        augmentation=Augmentation(),
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
    )


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("macro", {"size": 3}, r"height and width \(3, 3\); allowed is at least 4"),
        ("motif", {"size": 3}, r"height and width \(3, 3\); allowed is at least 4"),
        ("macro", {"auxiliary_weight": 0.4}, "auxiliary_weight=0.4; allowed is 0.0 here: only"),
        ("motif", {"auxiliary_weight": 0.4}, "auxiliary_weight=0.4; allowed is 0.0 here: only"),
        ("nasbench201", {"auxiliary_weight": 0.4}, "auxiliary_weight=0.4; allowed is 0.0 here"),
        ("nasbench201", {"layers": 2}, "layers=2; allowed is at least 3"),
    ],
)
def test_what_a_network_cannot_be_is_named(kind, changes, message):
    with pytest.raises(ValueError, match=message):
        build(kind, **changes)
