"""The lecture's table: the committed file, what it explains, the command."""

import functools
from pathlib import Path

import pytest

from experiments import cli, table1
from experiments.table1 import ROWS, count, markdown
from jaxcv.layers import Linear
from jaxcv.models import list_models

FILE = Path(__file__).parents[2] / "experiments" / "results" / "table1.md"


def committed():
    """The counts of the committed table."""
    lines = FILE.read_text().splitlines()[2 : 2 + len(ROWS)]
    cells = [line.split(" | ")[5] for line in lines]
    return [None if cell == "–" else int(cell.replace(",", "")) for cell in cells]


def test_the_committed_table_is_that_of_the_rows():
    assert FILE.read_text() == markdown(ROWS, committed())


def test_counts_are_the_published_ones_or_a_remark_says_why_not():
    for row, parameters in zip(ROWS, committed(), strict=True):
        published = {each.parameters for each in (row.lecture, row.paper) if each is not None}
        if parameters is None:
            assert row.make is None and row.note
        elif round(parameters / 1e6, 1) not in published:
            assert row.note


def test_rows_with_a_name_of_the_registry():
    named = [row.name for row in ROWS if row.make is not None and ", " not in row.name]
    assert len(named) == 12
    assert set(named) <= set(list_models())


def test_the_command_counts_and_writes(monkeypatch, tmp_path, capsys):
    small = ROWS[0]._replace(name="small", make=functools.partial(Linear, 3, 2))
    monkeypatch.setattr(table1, "ROWS", (small, ROWS[6]))
    assert count(small) == 8 and count(ROWS[6]) is None
    table1.command(["--file", str(tmp_path / "table.md")])
    table1.command([])
    text = (tmp_path / "table.md").read_text()
    assert capsys.readouterr().out == text == markdown((small, ROWS[6]), [8, None])
    assert "| DenseNet-BC | 3.46 | 3.46 | 25.6 | 25.6 | 8 | – |" in text
    assert "Hierarchical Evo [1]" in text and text.endswith(f"\n\n1. {ROWS[6].note}\n")


def test_an_unknown_flag_ends_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["table1", "--files", "x"])
    with pytest.raises(SystemExit) as end:
        cli.main(table1.command)
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")
