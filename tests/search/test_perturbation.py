"""Selection by perturbation: each decision against networks whose masks are built by hand."""

import json
from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from plain_supernet import run_network

import search
from jaxcv.data import Augmentation
from jaxcv.genotype import Genotype
from jaxcv.training.run import Run
from search import perturbation, runner
from search.discretize import Limit
from search.space import CellSpace, Space
from search.step import OPEN, Images, build

EDGES = ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
# Other primitives on other edges; "none" on some, one primitive alone on another.
UNEVEN = Space(
    {
        "normal": CellSpace(EDGES, (("none", "skip_connect", "max_pool_3x3"),) * 5),
        "reduce": CellSpace(
            EDGES,
            (
                ("max_pool_3x3", "avg_pool_3x3"),
                ("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect"),
                ("max_pool_3x3", "skip_connect"),
                ("max_pool_3x3",),
                ("none", "avg_pool_3x3", "skip_connect"),
            ),
        ),
    }
)
CONFIG = search.Config(
    channels=2, layers=1, epochs=1, batch_size=8, selection="perturbation", selection_epochs=1
)


@pytest.fixture(scope="module")
def images():
    random = np.random.default_rng(0)
    return random.integers(0, 256, (48, 8, 8, 3), np.uint8), random.integers(0, 4, 48)


@pytest.fixture(scope="module")
def step():
    return build(
        UNEVEN,
        CONFIG,
        count=16,
        image_shape=(8, 8, 3),
        num_classes=4,
        augmentation=Augmentation(),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
    )


@pytest.fixture(scope="module")
def state(step):
    """At the end of the search."""
    random = np.random.default_rng(1)
    state = step.init(jax.random.key(0))
    alphas = {kind: random.normal(size=a.shape) for kind, a in state.alphas.items()}
    alphas = jax.tree.map(lambda alpha: jnp.asarray(alpha, jnp.float32), alphas)
    return state._replace(alphas=alphas, step=state.step + step.steps_per_epoch)


def softmax(row):
    return np.exp(row) / np.exp(row).sum()


def rows_by_hand(alphas):
    """{(kind, edge): {primitive: mixing weight}}"""
    rows = {}
    for kind, cell in UNEVEN.cells.items():
        for edge, names in enumerate(cell.primitives):
            columns = [cell.vocabulary.index(name) for name in names]
            weights = softmax(np.asarray(alphas[kind])[edge, columns])
            rows[kind, edge] = dict(zip(names, weights.tolist(), strict=True))
    return rows


def mix_of(rows):
    return {
        kind: np.array(
            [[rows[kind, edge].get(name, 0) for name in cell.vocabulary] for edge in range(5)],
            np.float32,
        )
        for kind, cell in UNEVEN.cells.items()
    }


def test_every_decision_is_that_of_masks_built_by_hand(images, step, state):
    """All decisions at once, without tuning, so that the weights stay as they are."""
    pictures, _ = images
    network = nnx.eval_shape(lambda: search.SearchNetwork(UNEVEN, 2, 1, 4, rngs=nnx.Rngs(0)))
    graph = nnx.graphdef(network)
    x = (np.float32(pictures[16:]) / 255 - 0.5) / 0.25

    @jax.jit
    def answers(mix):
        model = nnx.merge(graph, state.weights)
        return jax.lax.map(lambda x: run_network(model, UNEVEN, x, mix).argmax(1), batches)

    batches = x.reshape(4, 8, 8, 8, 3)
    rows = rows_by_hand(state.alphas)
    # What the whole supernet says is right, so that what is taken out makes a difference.
    right = np.asarray(answers(mix_of(rows)))
    labels = np.concatenate([np.zeros(16, int), right.ravel()])

    def accuracy(rows):
        return np.mean(np.asarray(answers(mix_of(rows))) == right)

    traced, decisions = [], []

    def accuracy_of(*arguments):
        traced.append(arguments)
        return step.valid_accuracy(*arguments)

    data = Images(jnp.asarray(pictures), jnp.asarray(labels), jnp.arange(16), jnp.arange(16, 48))
    select = perturbation.selector(
        UNEVEN,
        replace(CONFIG, selection_epochs=0),
        step._replace(valid_accuracy=accuracy_of),
        data,
        jax.random.key(5),
        decisions.append,
    )
    found = jax.device_get(select(state).decided)
    assert len(traced) == 1

    told = iter(decisions)
    for now in perturbation.rounds(UNEVEN, jax.random.key(5)):
        for kind, edges in now.items():
            if len(edges) == 1:
                (edge,) = edges
                own = rows[kind, edge]
                names = [name for name in own if name != "none"]
                accuracies = [accuracy(rows | {(kind, edge): own | {name: 0}}) for name in names]
                stay = [names[int(np.argmin(accuracies))]]
                rows[kind, edge] = {stay[0]: 1}
                question = f"{EDGES[edge][0]} -> {EDGES[edge][1]}"
            else:
                question, names = "node 3", [f"{source} -> 3" for source in range(3)]
                accuracies = [accuracy(rows | {(kind, edge): {}}) for edge in edges]
                last = max(range(3), key=lambda number: (accuracies[number], number))
                stay = [name for number, name in enumerate(names) if number != last]
                rows[kind, edges[last]] = {}
            decision = next(told)
            assert (decision["cell"], decision["question"]) == (kind, question)
            assert decision["accuracy_without"] == pytest.approx(
                dict(zip(names, accuracies, strict=True))
            )
            assert decision["stays"] == stay
    assert next(told, None) is None
    chex.assert_trees_all_equal(found, mix_of(rows))
    # One cell, of the kind "reduce", is all that the network has. There a choice is one.
    counted = [d for d in decisions if d["cell"] == "reduce" and len(d["accuracy_without"]) > 1]
    assert sum(len(set(d["accuracy_without"].values())) > 1 for d in counted) >= 4
    assert any(d["stays"] != list(d["accuracy_without"])[: len(d["stays"])] for d in counted)


def test_every_edge_and_then_every_node_is_decided_once_in_an_order_of_the_key():
    orders = [perturbation.rounds(search.darts(), jax.random.key(seed)) for seed in range(2)]
    for found in orders:
        for kind in ("normal", "reduce"):
            asked = [now[kind] for now in found]
            assert sorted(asked[:14]) == [(edge,) for edge in range(14)]
            # The first node has the two edges that stay.
            assert sorted(asked[14:]) == [(2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12, 13)]
        assert [now["normal"] for now in found] != [now["reduce"] for now in found]
    assert orders[0] != orders[1]
    assert perturbation.tuning_epochs(search.darts(), search.Config()) == 0
    published = search.Config(selection="perturbation")
    assert perturbation.tuning_epochs(search.darts(), published) == 80


@pytest.mark.parametrize(("keep", "rows"), [(1, [2]), (2, [0, 2]), (3, [0, 1, 2])])
def test_the_edges_that_are_missed_most_stay_and_earlier_ones_of_equals(keep, rows):
    cell = CellSpace(((0, 2), (1, 2), (0, 2), (1, 2)), (("skip_connect",),) * 4, keep)
    after = perturbation.settled(cell, np.ones((4, 1)), (0, 1, 2, 3), [0.5, 0.5, 0.25, 0.5])
    assert np.flatnonzero(after).tolist() == rows


def test_decided_weights_hold_whatever_the_architecture_weights_do(images, step, state):
    decided = np.full((5, 4), OPEN, np.float32)
    decided[:3] = np.eye(4)[[0, 1, 0]]
    state = state._replace(decided={**state.decided, "reduce": jnp.asarray(decided)})
    assert np.array_equal(step.mix(state)["reduce"][:3], decided[:3])
    pictures, labels = images
    train, valid = (
        (jnp.asarray(pictures[first : first + 8] / 255, jnp.float32), labels[first : first + 8])
        for first in (0, 8)
    )
    after = step.update(state, train, valid)
    chex.assert_trees_all_equal(after.decided, state.decided)
    gradient = optax.tree_utils.tree_get(after.alpha_optimizer, "mu")["reduce"]
    from_decay = CONFIG.alpha_weight_decay * state.alphas["reduce"]
    gradient = gradient / (1 - CONFIG.alpha_beta1) - from_decay
    allowed = UNEVEN.cells["reduce"].allowed[4]
    np.testing.assert_allclose(gradient[:3], 0, atol=1e-9)
    assert (np.abs(gradient[4][allowed]) > 1e-6).all()


class StoppedError(Exception):
    pass


def test_a_search_selects_between_epochs_resumes_and_keeps_to_limits(images, tmp_path, monkeypatch):
    space = search.darts(2, ("none", "skip_connect", "max_pool_3x3"))

    def traced_once(*arguments, **settings):
        own = build(*arguments, **settings)
        chex.clear_trace_counter()
        advance = chex.assert_max_traces(own.advance.__wrapped__, 1)
        return own._replace(advance=jax.jit(advance, donate_argnums=0))

    monkeypatch.setattr(runner, "build", traced_once)
    arguments = (space, *images, CONFIG, jax.random.key(0))

    def run(name, **settings):
        path = tmp_path / name
        folder = Run.open(path, "search") if path.exists() else Run.create(path, "search", {})
        found = search.run(*arguments, folder=folder, progress=False, **settings)
        lines = (path / "selection.jsonl").read_text().splitlines()
        return found, [json.loads(line) for line in lines]

    whole, decisions = run("whole")
    # Five edges and a node of each kind of cell, an epoch between two rounds.
    assert [row["epoch"] for row in whole.history] == list(range(1, 7))
    assert [row["epoch"] for row in decisions] == [epoch for epoch in range(1, 7) for _ in "ab"]
    assert [row["cell"] for row in decisions] == ["normal", "reduce"] * 6
    rates = [row["learning_rate"] for row in whole.history]
    np.testing.assert_allclose(rates, [0.025] + [0.0025] * 5, rtol=1e-5)
    for number, row in enumerate(whole.history):
        for kind, weights in row["mix"].items():
            hard = [max(own) == 1 for own in weights]
            assert sum(hard) == number, kind
    for kind, cell in whole.genotype.cells.items():
        stays = {
            (row["question"], row["stays"][0])
            for row in decisions
            if row["cell"] == kind and not row["question"].startswith("node")
        }
        (of_node,) = [
            row["stays"]
            for row in decisions
            if row["cell"] == kind and row["question"].startswith("node")
        ]
        chosen = {
            (f"{source} -> {node}", name)
            for node, edges in enumerate(cell.nodes, 2)
            for name, source in edges
        }
        assert chosen <= stays
        assert {arrow for arrow, _ in chosen} == {"0 -> 2", "1 -> 2", *of_node}

    def stop(row):
        if row["epoch"] == 4:
            raise StoppedError

    with pytest.raises(StoppedError):
        run("stopped", on_epoch=stop)
    pools = {
        kind: np.tile([name == "max_pool_3x3" for name in cell.vocabulary], (5, 1)).astype(int)
        for kind, cell in space.cells.items()
    }
    limited, again = run("stopped", limits=[Limit("pools", pools, 0)])
    assert again == decisions
    chex.assert_trees_all_equal(limited.weights, whole.weights)
    names = {name for cell in limited.genotype.cells.values() for n in cell.nodes for name, _ in n}
    assert names == {"skip_connect"} and limited.genotype != whole.genotype
    path = tmp_path / "stopped" / "genotype.json"
    assert Genotype.from_json(path.read_text()) == limited.genotype


def test_several_searches_select_as_single_ones_do(images, step):
    pictures, labels = (jnp.asarray(array) for array in images)
    halves = jnp.arange(16), jnp.arange(16, 48)
    keys = jax.random.split(jax.random.key(3), 2)
    decided, decisions = [], []
    for key, half in ((keys, [jnp.stack([h, h]) for h in halves]), (keys[1], halves)):
        state = step.init(key)
        state = state._replace(step=state.step + step.steps_per_epoch)
        told = []
        data = Images(pictures, labels, *half)
        config = replace(CONFIG, selection_epochs=0)
        select = perturbation.selector(UNEVEN, config, step, data, key, told.append)
        decided.append(select(state).decided)
        decisions.append([{**row, "search": 0} for row in told if row["search"] == key.ndim])
    chex.assert_trees_all_equal(jax.tree.map(lambda array: array[1], decided[0]), decided[1])
    assert decisions[0] == decisions[1] and len(decisions[1]) == 12


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"selection": "random"}, "selection='random'; allowed are weights and perturbation"),
        ({"selection_epochs": -1}, "selection_epochs=-1; allowed is at least 0"),
        ({"threshold": 0.8}, "threshold=0.8 with selection='perturbation'"),
        ({"early_stop": True, "watch_every": 1}, "early_stop=True with selection='perturbation'"),
    ],
)
def test_settings_that_cannot_be_are_named(setting, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **setting)


def test_stages_select_by_weights(images):
    stages = search.Stages(layers=(1,), primitives=(2,), skip_dropout=(0.0,))
    with pytest.raises(ValueError, match="selection='perturbation'; allowed in stages is weights"):
        search.run_stages(search.darts(1), *images, CONFIG, jax.random.key(0), stages)
