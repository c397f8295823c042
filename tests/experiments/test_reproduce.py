"""The whole protocol in small: interrupted, resumed, summarized."""

import json

import numpy as np
import pytest

from experiments import reproduce, train
from jaxcv.genotype import Genotype

# In a space of two primitives an edge, which compile quickly.
TINY = [
    *("--preset", "digits", "--searches", "2", "--trainings", "2", "--random-cells", "1"),
    *("--space", "s2", "--search.channels", "2", "--search.layers", "1", "--search.epochs", "1"),
    *("--brief.channels", "2", "--brief.layers", "1", "--brief.epochs", "1"),
    *("--train.channels", "2", "--train.layers", "1", "--train.epochs", "1"),
]


def test_an_interrupted_protocol_goes_on(tmp_path, monkeypatch, capsys):
    folder, begun = tmp_path / "run", []

    def few_trainings(run, *arguments, **settings):
        begun.append(run.path.name)
        if len(begun) == 4:
            raise KeyboardInterrupt("stopped")
        return train_in(run, *arguments, **settings)

    train_in = train.train_in
    monkeypatch.setattr(train, "train_in", few_trainings)
    with pytest.raises(KeyboardInterrupt, match=f"experiments.reproduce --resume {folder}"):
        reproduce.command([*TINY, "--folder", str(folder)])
    before = {path: path.read_bytes() for path in folder.glob("*/metrics.jsonl")}
    reproduce.command(["--resume", str(folder)])
    assert begun[:4] == [
        "discovered_0_brief",
        "discovered_1_brief",
        "discovered_final_0",
        "discovered_final_1",
    ]
    assert begun[4:] == [*begun[:4], "random_0_brief", "random_final_0", "random_final_1"]
    # What was done is not done again.
    assert len(before) == 4 and all(path.read_bytes() == before[path] for path in before)

    record = json.loads((folder / "result.json").read_text())
    accuracies = {row["name"]: row["test_accuracy"] for row in record["trainings"]}
    discovered, random = record["summary"]
    final = [accuracies[f"discovered final {seed}"] for seed in (0, 1)]
    assert discovered["test_accuracy"] == pytest.approx(np.mean(final))
    assert discovered["deviation"] == pytest.approx(abs(final[0] - final[1]) / 2**0.5)
    assert len(discovered["candidates"]) == 2 and len(random["candidates"]) == 1
    best = int(np.argmax(discovered["candidates"]))
    assert (folder / "genotype.json").read_text() == (
        folder / "search" / f"genotype_{best}.json"
    ).read_text()
    Genotype.parse((folder / "genotype.json").read_text())
    assert "test accuracy" in capsys.readouterr().out
    assert (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--searches", "0", "searches=0; allowed is a positive int"),
        ("--trainings", "-1", "trainings=-1; allowed is a positive int"),
        ("--random-cells", "-1", "random_cells=-1; allowed is at least 0"),
        ("--space", "s5", "space='s5'; allowed are darts"),
    ],
)
def test_wrong_options_are_named(option, value, message):
    with pytest.raises(ValueError, match=message):
        reproduce.command([option, value])
