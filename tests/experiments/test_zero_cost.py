"""The command on a small table: interrupted, resumed, and its correlations by hand."""

import json

import numpy as np
import pytest

from experiments import zero_cost
from jaxcv.models.nasbench201 import OPERATIONS
from search.evaluators.untrained import UntrainedNASBench201

TINY = ["--data", "digits", "--cells", "6", "--channels", "2", "--depth", "1", "--batch-size", "4"]


@pytest.fixture
def table(tmp_path):
    """Seven cells, whose first edge and accuracy differ."""
    random = np.random.default_rng(0)
    names = [OPERATIONS[number % 5] for number in range(7)]
    texts = [
        f"|{name}~0|+|{OPERATIONS[number // 5]}~0|none~1|+|none~0|nor_conv_3x3~1|none~2|"
        for number, name in enumerate(names)
    ]
    path = tmp_path / "table.npz"
    columns = {"c10_val_ep12": np.zeros(7), "c10_test_ep200": 100 * random.random(7)}
    np.savez(path, arch=texts, in16_val_ep12=np.zeros(7), **columns)
    return path


def fake(evaluator, point, seed):
    """Scores that are better for later operations; the first fails."""
    assert evaluator.images.shape == (4, 8, 8, 1) and seed == 0
    scores = dict.fromkeys(zero_cost.PROXIES, float(point[0]))
    return scores | {"naswot": -np.inf if point[0] == 0 else -float(point[0])}


def test_an_interrupted_run_goes_on(table, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"

    def stopping(evaluator, point, seed):
        if (folder / "metrics.jsonl").exists():
            raise KeyboardInterrupt
        return fake(evaluator, point, seed)

    monkeypatch.setattr(UntrainedNASBench201, "proxies", stopping)
    with pytest.raises(KeyboardInterrupt, match=f"experiments.zero_cost --resume {folder}"):
        zero_cost.command([*TINY, "--table", str(table), "--folder", str(folder)])
    monkeypatch.setattr(UntrainedNASBench201, "proxies", fake)
    zero_cost.command(["--resume", str(folder)])
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((folder / "result.json").read_text())
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert all(0 <= row["test_accuracy"] <= 1 for row in rows)
    assert {row["naswot"] for row in rows if row["cell"][0] == "none"} <= {None}
    assert "synflow: Spearman" in capsys.readouterr().out
    assert result["correlations"] == zero_cost.correlations(rows)
    assert (folder / "zero_cost.png").exists()


def test_correlations_rank_what_is_not_finite_last():
    scores = [None, 3.0, 1.0, 2.0]
    accuracies = [0.1, 0.9, 0.2, 0.5]
    rows = [
        {"test_accuracy": accuracy, **dict.fromkeys(zero_cost.PROXIES, score), "parameters": -score}
        if score
        else {"test_accuracy": accuracy, **dict.fromkeys(zero_cost.PROXIES), "parameters": -9}
        for score, accuracy in zip(scores, accuracies, strict=True)
    ]
    found = zero_cost.correlations(rows)
    assert found["synflow"] == {"spearman": pytest.approx(1), "kendall": pytest.approx(1)}
    # Ranks 1, 2, 4, 3 beside 1, 4, 2, 3: the squares of their differences sum to 8.
    assert found["parameters"]["spearman"] == pytest.approx(1 - 6 * 8 / (4 * 15))
    assert found["parameters"]["kendall"] == pytest.approx((3 - 3) / 6)


def test_what_is_all_alike_ranks_nothing():
    assert np.isnan(list(zero_cost.rank_correlation([None] * 3, [0.1, 0.2, 0.3]).values())).all()
    assert np.isnan(list(zero_cost.rank_correlation([1.0, 2.0], [0.1, 0.1]).values())).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--table", "missing.npz"], r"path='missing.npz' cannot be read"),
        (["--columns", "cifar100"], "table with arch and c100_val_ep"),
        (["--columns", "imagenet16"], "table='.*' has no test accuracy of imagenet16"),
        (["--cells", "8"], "cells=8; allowed are 1 to 7"),
        (["--cells", "0"], "cells=0; allowed is a positive int"),
    ],
)
def test_wrong_options_are_named(options, message, table, tmp_path):
    given = [*TINY, "--table", str(table), "--folder", str(tmp_path / "run"), *options]
    with pytest.raises(ValueError, match=message):
        zero_cost.command(given)
