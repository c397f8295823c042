"""The comparison of models: its rows, tables and pictures, wrong input, interrupts, resuming."""

import csv
import io
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.compare import command, table
from experiments.compare.measure import measure
from experiments.compare.pictures import PICTURES
from jaxcv.training.run import Run


def row(name, **changes):
    time = {"median": 0.5, "shortest": 0.4, "longest": 0.75}
    figures = {
        "model": name,
        "family": name.rstrip("0123456789"),
        "data": "ImageNet",
        "top1": 75.0,
        "source": "a paper",
        "image_size": 224,
        "parameters": 5_000_000,
        "multiply_adds": 300_000_000,
        "activation_bytes": 2_500_000,
        "seconds": {"1": time, "8": {**time, "median": 2.0}},
        "on": {"device": "a device", "processors": "2", "written": "now"},
    }
    return figures | changes


ROWS = [row("a1"), row("a2", top1=70.0, parameters=10_000_000), row("b", top1=None)]


def test_tables_hold_the_figures_in_units_for_readers():
    columns = dict(table.columns(ROWS))
    assert columns["parameters, M"] == ["5.00", "10.00", "5.00"]
    assert columns["multiply-adds, G"][0] == "0.300"
    assert columns["top-1 % per M"] == ["15.00", "7.00", "–"]
    assert columns["ms at 8"][0] == "2000.0" and columns["images/s at 8"][0] == "4.0"
    lines = table.markdown(ROWS).splitlines()
    assert len({line.count("|") for line in lines[:5]}) == 1
    assert "a paper (a1, a2)" in lines[-3]
    assert lines[-1] == "Measured on: device a device, processors 2."


def test_csv_holds_the_figures_in_base_units():
    first, *_ = csv.DictReader(io.StringIO(table.comma_separated(ROWS)))
    assert first["parameters"] == "5000000" and first["seconds_8_longest"] == "0.75"
    assert "on" not in first


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_have_a_part_for_each_model(name):
    figure = PICTURES[name][1](ROWS[:2])
    figure.draw_without_rendering()
    (axes,) = figure.axes
    parts = {part.get_gid() for part in (*axes.collections, *axes.patches)}
    assert {"a1", "a2"} <= parts


def test_names_stand_beside_their_circles_and_cover_nothing():
    rows = [
        row(f"{'abcdefgh'[n // 8] * 9}{n}", top1=70 + 0.2 * n, parameters=10 ** (6 + n % 3))
        | {"multiply_adds": 3e8 * (1 + 0.1 * (7 * n % 30))}
        for n in range(60)
    ]
    figure = PICTURES["operations"][1](rows)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = {text.get_text(): text.get_window_extent() for text in axes.texts}
    best = {f"{'abcdefgh'[n // 8] * 9}{n}" for n in (7, 15, 23, 31, 39, 47, 55, 59)}
    assert best <= set(boxes) and len(boxes) < len(rows)
    others = [axes.get_legend().get_window_extent(), *boxes.values()]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(others, 2))
    assert {text.get_text() for text in axes.get_legend().get_texts()} >= {
        "others",
        "10 M parameters",
    }
    lined = {
        text
        for text, box in boxes.items()
        if any(
            box.padded(8).contains(*axes.transData.transform(line.get_xydata()[-1]))
            for line in axes.get_lines()
        )
    }
    for circle in axes.collections:
        if circle.get_gid():
            place = axes.transData.transform(circle.get_offsets()[0])
            radius = np.sqrt(circle.get_sizes()[0] / np.pi) * figure.dpi / 72
            for name, box in boxes.items():
                far = np.maximum(0, np.maximum(box.min - place, place - box.max))
                distance = np.hypot(*far) - radius
                assert distance > 0
                if name not in lined:
                    assert (distance < 8) == (name == circle.get_gid())


def test_the_page_says_the_figures_of_each_part(tmp_path):
    run = Run.create(tmp_path / "run", "compare", {})
    run.begin()
    for each in ROWS:
        run.log(each)
    command.write(run)
    page = (tmp_path / "run" / "compare.html").read_text()
    assert page.count("<title>a1\n") == len(PICTURES)
    assert "parameters, M: 10.00" in page and "a device" in page
    assert (tmp_path / "run" / "operations_imagenet.png").exists()


def test_a_row_is_measured():
    found = measure("resnet20_cifar", (1, 2), 1)
    assert found["data"] == "CIFAR-10" and found["family"] == "ResNet"
    assert found["parameters"] in range(260_000, 280_000)
    assert found["multiply_adds"] in range(40_000_000, 42_000_000)
    assert found["activation_bytes"] > 2 * 4 * 32 * 32 * 16
    assert set(found["seconds"]) == {"1", "2"}
    assert json.loads(json.dumps(found)) == found


def test_a_stopped_comparison_goes_on_with_the_models_that_are_left(tmp_path, monkeypatch, capsys):
    asked = []

    def pretend(name, batches, trials):
        asked.append(name)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return row(name, data="CIFAR-10")

    monkeypatch.setattr(command, "measure", pretend)
    folder = str(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt, match=r"Go on with: .* --resume"):
        command.command(["--only", "resnet[23]*_cifar", "--folder", folder])
    command.command(["--resume", folder])
    assert asked == ["resnet20_cifar", "resnet32_cifar", "resnet32_cifar"]
    assert [each["model"] for each in Run.open(folder, "compare").rows] == list(
        dict.fromkeys(asked)
    )
    assert "page: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "nothing*"], "only='nothing\\*' matches no model"),
        (["--batches", "0"], "batches=0; allowed is a positive int"),
        (["--trials", "0"], "trials=0; allowed is a positive int"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        command.command(arguments)


def test_the_command_shows_its_options():
    done = subprocess.run(
        [sys.executable, "-m", "experiments.compare", "--help"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "--batches" in done.stdout
