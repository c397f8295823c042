"""Searches of tables: what they look up, and NAS-Bench-201 against a direct simulation."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from search.discrete import DiscreteSpace
from search.engine import best_so_far, run_many
from search.evaluators import tabular
from search.spaces.nasbench201 import nasbench201
from search.strategies import Proposal, RandomSearch, RegularizedEvolution

TABLE = Path(__file__).parents[3] / "shared" / "data" / "nasbench201" / "nb201.npz"
SPACE = DiscreteSpace("two", (("none", "conv"), ("conv", "skip")), tuple, str)
CSV = """arch,params_M,flops_M,x_val_ep4,x_val_ep9,x_test_ep9,x_test_ep4,y_val_ep4
|none~0|+|skip~1|,0.5,2,50,60,61,51,70
|conv~0|+|conv~1|,1.25,3.5,55,40,41,56,71
"""


@pytest.fixture(scope="module")
def table():
    if not TABLE.exists():
        pytest.skip("without NAS-Bench-201's table")
    return tabular(TABLE, nasbench201())


def test_a_csv_table(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(CSV)
    table = pickle.loads(pickle.dumps(tabular(path, SPACE, "x")))
    score, metrics = table(Proposal((1, 0)), 0)
    assert (score, metrics) == (
        pytest.approx(0.4),
        {"test_accuracy": pytest.approx(0.41), "parameters": 1_250_000, "multiply_adds": 3_500_000},
    )
    assert table(Proposal((0, 1), 4), 0).score == pytest.approx(0.5)
    with pytest.raises(ValueError, match=r"budget=5; allowed are .* 4, 9"):
        table(Proposal((0, 1), 5), 0)
    with pytest.raises(KeyError):
        table(Proposal((0, 0)), 0)
    score, metrics = tabular(path, SPACE, "y")(Proposal((0, 1)), 0)
    assert score == pytest.approx(0.7) and "test_accuracy" not in metrics


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "table.csv"
    for content, error in (
        (CSV, "cifar10 .* has the columns .* allowed is a table with arch and c10_val"),
        (
            CSV.replace("|conv~0", "|pool~0").replace("x_", "c10_"),
            "pool~0.*option of the space two",
        ),
        (CSV.replace("|conv~0|+", "").replace("x_", "c10_"), "allowed are 2 operations"),
        ("", "has the columns ;"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=error.removeprefix("cifar10 .* ")):
            tabular(path, SPACE)
    for name in ("missing.csv", "missing.npz"):
        with pytest.raises(ValueError, match="cannot be read"):
            tabular(tmp_path / name, SPACE)
    np.savez(path.with_suffix(".npz"), arch=np.zeros(9))
    np.save(path.with_suffix(".npy"), np.zeros(9))
    whole, single = (path.with_suffix(suffix).read_bytes() for suffix in (".npz", ".npy"))
    for content in (CSV.encode(), b"", whole[:-30], whole[:100] + b"0" + whole[101:], single):
        (tmp_path / "broken.npz").write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read"):
            tabular(tmp_path / "broken.npz", SPACE)


def test_nas_bench_201(table):
    """Rows of the file itself, and what is published of the whole."""
    arrays = np.load(TABLE)
    space = nasbench201()
    for row in (0, 1, 7777, 15_624):
        names = [part.split("~")[0] for part in arrays["arch"][row].split("|") if "~" in part]
        point = tuple(space.options[0].index(name) for name in names)
        score, metrics = table(Proposal(point), 0)
        assert score == pytest.approx(arrays["ep12"][row, 0] / 100)
        assert metrics["test_accuracy"] == pytest.approx(arrays["ep200_test"][row, 0] / 100)
        small, large = names.count("nor_conv_1x1"), names.count("nor_conv_3x3")
        assert metrics["parameters"] == pytest.approx(
            73_306 + 28_000 * small + 243_040 * large, 1e-4
        )
    assert len(table.rows) == space.size == 15_625
    assert max(table.metrics["test_accuracy"]) == pytest.approx(0.9437, abs=5e-5)
    other = tabular(TABLE, space, "imagenet16")
    assert max(other.metrics["test_accuracy"]) == pytest.approx(0.4731, abs=5e-5)


def simulate(runs, evaluations, population, sample):
    """Mean test accuracy in percent that regularized evolution ends with, straight on the table,
    all runs at once; random search where the population holds all evaluations."""
    arrays = np.load(TABLE)
    names = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
    row_of = np.full((5,) * 6, -1)
    for row, text in enumerate(arrays["arch"]):
        parts = [part for part in text.split("|") if "~" in part]
        row_of[tuple(names.index(part[:-2]) for part in parts)] = row
    valid, test = arrays["ep12"][:, 0], arrays["ep200_test"][:, 0]
    random = np.random.default_rng(0)
    each = np.arange(runs)
    cells = random.integers(5, size=(runs, evaluations, 6))
    for number in range(population, evaluations):
        living = random.integers(number - population, number, (runs, sample))
        scores = valid[row_of[tuple(np.moveaxis(cells[each[:, None], living], -1, 0))]]
        child = cells[each, living[each, scores.argmax(1)]]
        edge = random.integers(6, size=runs)
        child[each, edge] = (child[each, edge] + random.integers(1, 5, runs)) % 5
        cells[:, number] = child
    rows = row_of[tuple(np.moveaxis(cells, -1, 0))]
    return test[rows[each, valid[rows].argmax(1)]].mean()


@pytest.mark.parametrize(
    ("strategy", "runs", "population", "sample"),
    [(RandomSearch(), 150, 100, 1), (RegularizedEvolution(10, 3), 250, 10, 3)],
    ids=["random", "evolution"],
)
def test_searches_end_where_a_direct_simulation_does(table, strategy, runs, population, sample):
    """Within 0.1 points, more than three standard errors of the mean of so many runs."""
    found = run_many(strategy, nasbench201(), table, trials=100, seeds=range(runs), progress=False)
    tests = [100 * best_so_far(trials)[-1].metrics["test_accuracy"] for trials in found]
    assert np.std(tests) / len(tests) ** 0.5 < 0.033
    assert np.mean(tests) == pytest.approx(simulate(4000, 100, population, sample), abs=0.1)
