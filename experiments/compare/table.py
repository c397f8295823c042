"""The comparison as tables: Markdown, CSV, HTML."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.page import markdown_table, results_table

Row = Mapping[str, Any]


def columns(rows: Sequence[Row]) -> list[tuple[str, list[str]]]:
    """The columns of the table: a title, and a text for each row."""
    batches = list(dict.fromkeys(batch for row in rows for batch in row["seconds"]))

    def texts(text: Any) -> list[str]:
        return [text(row) for row in rows]

    def milliseconds(row: Row, batch: str) -> str:
        time = row["seconds"].get(batch)
        return f"{1e3 * time['median']:.1f}" if time else "–"

    def throughput(row: Row, batch: str) -> str:
        time = row["seconds"].get(batch)
        return f"{int(batch) / time['median']:.1f}" if time else "–"

    return [
        ("model", texts(lambda row: row["model"])),
        ("data", texts(lambda row: row["data"])),
        ("top-1 %", texts(lambda row: "–" if row["top1"] is None else f"{row['top1']:.2f}")),
        ("image", texts(lambda row: f"{row['image_size']}×{row['image_size']}")),
        ("parameters, M", texts(lambda row: f"{row['parameters'] / 1e6:.2f}")),
        ("multiply-adds, G", texts(lambda row: f"{row['multiply_adds'] / 1e9:.3f}")),
        ("activations, MB", texts(lambda row: f"{row['activation_bytes'] / 1e6:.1f}")),
        ("top-1 % per M", texts(lambda row: "–" if row["top1"] is None else f"{density(row):.2f}")),
        *(
            (f"ms at {batch}", texts(lambda row, batch=batch: milliseconds(row, batch)))
            for batch in batches
        ),
        *(
            (f"images/s at {batch}", texts(lambda row, batch=batch: throughput(row, batch)))
            for batch in batches
        ),
    ]


def density(row: Row) -> float:
    """Information density: percent of accuracy per million parameters (arXiv:1605.07678)."""
    return row["top1"] / (row["parameters"] / 1e6)


def _lines(rows: Sequence[Row]) -> Iterable[Sequence[str]]:
    titles, texts = zip(*columns(rows), strict=True)
    yield titles
    yield from zip(*texts, strict=True)


def markdown(rows: Sequence[Row]) -> str:
    """A Markdown table of the rows, the sources of the accuracies, and what was measured on."""
    head, *body = _lines(rows)
    on = ", ".join(f"{name} {value}" for name, value in environments(rows).items())
    return f"{markdown_table(head, body, slice(2, None))}\n{sources(rows)}\n\nMeasured on: {on}.\n"


def sources(rows: Sequence[Row]) -> str:
    """Where the accuracies are published, in one line."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row["top1"] is not None:
            found.setdefault(row["source"], []).append(row["model"])
    listed = "; ".join(f"{source} ({', '.join(names)})" for source, names in found.items())
    return f"Top-1 accuracies as published: {listed}."


def environments(rows: Sequence[Row]) -> dict[str, str]:
    """Of the rows, which may have been measured in several: each value that there is."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        for name, value in row["on"].items():
            found.setdefault(name, {})[value] = None
    return {name: ", ".join(values) for name, values in found.items() if name != "written"}


def comma_separated(rows: Sequence[Row]) -> str:
    """The rows as CSV, in base units: counts, bytes, seconds; not what they were measured on."""
    file = io.StringIO()
    left_out = ("on", "seconds")
    plain = [{key: value for key, value in row.items() if key not in left_out} for row in rows]
    for flat, row in zip(plain, rows, strict=True):
        for batch, time in row["seconds"].items():
            flat |= {f"seconds_{batch}_{name}": value for name, value in time.items()}
    writer = csv.DictWriter(file, list(dict.fromkeys(key for row in plain for key in row)))
    writer.writeheader()
    writer.writerows(plain)
    return file.getvalue()


def html(rows: Sequence[Row]) -> str:
    """The table for a page."""
    head, *body = _lines(rows)
    return results_table(head, body, [row["source"] for row in rows])
