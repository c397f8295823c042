"""The comparison of two trainings, on a little text."""

import json

import numpy as np
import pytest

from experiments import language_parity

pytest.importorskip("torch")


def test_both_go_the_same_way(tmp_path):
    random = np.random.default_rng(0)
    for name, lines in (("train", 60), ("valid", 20), ("test", 20)):
        words = random.choice([*"abcd"], (lines, 9))
        (tmp_path / f"{name}.txt").write_text("".join(f"{' '.join(line)}\n" for line in words))
    sizes = {"units": 4, "batch-size": 4, "bptt": 8, "evaluation-batch-size": 2}
    arguments = ["--data", str(tmp_path), "--folder", str(tmp_path / "logs"), "--every", "2"]
    arguments += [f"--train.{name}={value}" for name, value in sizes.items()]
    language_parity.command([*arguments, "--steps", "5"])
    logs = [
        [*map(json.loads, (tmp_path / "logs" / f"{name}.jsonl").read_text().splitlines())]
        for name in ("jaxcv", "pytorch")
    ]
    for ours, theirs in zip(*logs, strict=True):
        assert ours["step"] == theirs["step"] and ours["words"] == theirs["words"]
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert ours["valid_perplexity"] == pytest.approx(theirs["valid_perplexity"], rel=1e-4)
    assert [line["step"] for line in logs[0]] == [2, 4, 5]
    result = json.loads((tmp_path / "logs" / "result.json").read_text())
    assert result["ratio"] == pytest.approx(1, abs=1e-4)
    with pytest.raises(ValueError, match="steps=500; allowed are those of one pass over the text"):
        language_parity.command([*arguments, "--steps", "500"])
