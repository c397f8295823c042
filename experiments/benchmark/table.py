"""From records of the benchmark to Markdown: all that was measured, and a summary of it."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from experiments.page import markdown_table

_BEGIN, _END = "<!-- benchmark -->", "<!-- /benchmark -->"

Row = Mapping[str, Any]
Record = Mapping[str, Any]
Column = tuple[str, Callable[[Row, Record], str]]


def read(path: Path) -> list[dict[str, Any]]:
    """The records in a file of JSON lines, the oldest first; none if there is no such file.

    Raises:
        ValueError: for a line that is no record.
    """
    records = []
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else [], 1):
        try:
            records.append(json.loads(line))
            records[-1]["device"], records[-1]["rows"]
        except (json.JSONDecodeError, KeyError, TypeError):
            raise ValueError(
                f"line {number} of {path} is no record; allowed are those that the benchmark writes"
            ) from None
    return records


def insert(text: str, table: str) -> str:
    """A text with a table between its two markers.

    Raises:
        ValueError: for a text without them.
    """
    begin, end = text.find(_BEGIN), text.find(_END)
    if not 0 <= begin < end:
        raise ValueError(f"the text has no place for the table; allowed is {_BEGIN} ... {_END}")
    return f"{text[: begin + len(_BEGIN)]}\n\n{table}\n{text[end:]}"


def markdown(records: Iterable[Record], cases: Sequence[str] | None = None) -> str:
    """For each device a table with the newest row of each case, and how it came about.

    Args:
        records: the oldest first.
        cases: names of those to show, in order; by default all.
    """
    return "\n".join(_device(name, rows) for name, rows in _newest(records, cases))


def summary(records: Iterable[Record], cases: Sequence[str] | None = None) -> str:
    """For each device what a reader asks first: ratios of time, compilation and memory.

    Args:
        records, cases: as for ``markdown``.
    """
    parts = []
    for name, rows in _newest(records, cases):
        whole, single = _parted(rows)
        parts.append(f"**{name}**, {_versions([record for _, record in rows])}\n")
        if whole:
            parts.append(_lines([(row, record, "") for row, record in whole], _FIRST))
        if single:
            parts.append(f"{_folded([row for row, _ in single])}.\n")
    return "\n".join(parts)


def _newest(
    records: Iterable[Record], cases: Sequence[str] | None
) -> list[tuple[str, list[tuple[Row, Record]]]]:
    """By device the newest row of each case, and its record."""
    devices: dict[str, dict[str, tuple[Row, Record]]] = {}
    for record in records:
        newest = devices.setdefault(record["device"], {})
        newest.update({row["case"]: (row, record) for row in record["rows"]})
    return [
        (name, [rows[case] for case in (cases or rows) if case in rows])
        for name, rows in devices.items()
    ]


def _parted(rows: Sequence[tuple[Row, Record]]) -> tuple[list[Any], list[Any]]:
    """Whole steps, and single operations."""
    single = [each for each in rows if each[0]["kind"] == "depthwise"]
    return [each for each in rows if each not in single], single


def _device(name: str, rows: Sequence[tuple[Row, Record]]) -> str:
    records: list[Record] = []
    for _, record in rows:
        if record not in records:
            records.append(record)
    records.sort(key=lambda record: record["environment"]["written"], reverse=True)
    several = len(records) > 1
    marks = [f"({number}) " if several else "" for number in range(1, len(records) + 1)]
    parts = [f"**{name}**\n"]
    for mark, record in zip(marks, records, strict=True):
        parts.append(f"{mark}{_circumstances(record)}\n")
    for part in _parted(rows):
        marked = [(row, record, marks[records.index(record)].strip()) for row, record in part]
        if part and part[0][0]["kind"] == "depthwise":
            parts.append(f"{_folded([row for row, _ in part])}.\n")
        if part:
            parts.append(_lines(marked, _COLUMNS) + _remarks([row for row, _ in part]))
    return "\n".join(parts)


def _circumstances(record: Record) -> str:
    environment, machine = record["environment"], record["machine"]
    commit = f" at {record['commit']}" if "commit" in record else ""
    load = f" Load of the machine before: {machine['load']}." if "load" in machine else ""
    return (
        f"{environment['written']}{commit}: {environment['system']}, {_versions([record])}. "
        f"Reached by a product of float32 matrices {machine['flops'] / 1e9:.0f} GFLOP/s, by a sum "
        f"of float32 arrays {machine['bytes_per_second'] / 1e9:.0f} GB/s.{load}"
    )


def _versions(records: Sequence[Record]) -> str:
    titles = {"python": "Python", "jax": "JAX", "flax": "Flax", "torch": "PyTorch"}
    parts = []
    for key, title in titles.items():
        found = {record["environment"].get(key) for record in records} - {None}
        if found:
            parts.append(f"{title} {' and '.join(sorted(found))}")
    return ", ".join(parts)


def _folded(rows: Sequence[Row]) -> str:
    parts = []
    for other in ("PyTorch", "lax"):
        middles = [median(ratios) for row in rows if (ratios := _ratios(row, other))]
        if middles:
            parts.append(f"time jaxcv / {other} {_spread(middles)}")
    return f"depthwise_conv2d alone ({len(rows)}): {', '.join(parts) or 'nothing measured'}"


def _lines(rows: Sequence[tuple[Row, Record, str]], columns: Sequence[Column]) -> str:
    """A table of those columns in which there is something; the marks of the runs come last."""
    columns = [(title, cell) for title, cell in columns if any(cell(r, rec) for r, rec, _ in rows)]
    marked = any(mark for *_, mark in rows)
    return markdown_table(
        [*(title for title, _ in columns), *(["run"] if marked else [])],
        [
            [*(cell(row, record) or "–" for _, cell in columns), *([mark] if marked else [])]
            for row, record, mark in rows
        ],
    )


def _remarks(rows: Sequence[Row]) -> str:
    notes = [f"- {row['case']}: {note}" for row in rows for note in _notes(row)]
    return "\n" + "\n".join(notes) + "\n" if notes else ""


def _notes(row: Row) -> list[str]:
    notes = [f"{name} failed: {why}" for name, why in row["failed"].items()]
    if "PyTorch" not in row["failed"]:
        notes += [
            f"PyTorch {form['form']} left out: {form['failed']}"
            for form in row["forms"]
            if "failed" in form
        ]
    return [note.replace("<", "&lt;") for note in notes]


def _ratios(row: Row, other: str) -> list[float]:
    """Trial by trial, jaxcv's time by that of another side."""
    times = [row["sides"].get(name, {}).get("seconds", []) for name in ("jaxcv", other)]
    return [ours / theirs for ours, theirs in zip(*times, strict=False)]


def _spread(values: Sequence[float]) -> str:
    """The median, and in brackets smallest and largest."""
    return f"{_number(median(values))} ({_number(min(values))}–{_number(max(values))})"


def _number(value: float) -> str:
    """Three digits at least, without an exponent."""
    digits = 2 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{value:,.{max(digits, 0)}f}"


def _speed(name: str) -> Callable[[Row, Record], str]:
    def cell(row: Row, record: Record) -> str:
        if name in row["failed"]:
            return "failed"
        times = row["sides"].get(name, {}).get("seconds")
        return _spread([1 / value for value in times]) if times else ""

    return cell


def _ratio(other: str) -> Callable[[Row, Record], str]:
    def cell(row: Row, record: Record) -> str:
        ratios = _ratios(row, other)
        return _spread(ratios) if ratios else ""

    return cell


def _form(row: Row, record: Record) -> str:
    return row["sides"].get("PyTorch", {}).get("form", "")


def _compilation(row: Row, record: Record) -> str:
    side = row["sides"].get("jaxcv", {})
    return " / ".join(
        _number(found["trace_seconds"] + found["compile_seconds"])
        for found in (side.get("cold", {}), side)
        if "trace_seconds" in found
    )


def _memory(row: Row, record: Record) -> str:
    peaks = [row["sides"].get(name, {}).get("peak_bytes") for name in ("jaxcv", "PyTorch")]
    texts = [_number(peak / 1e6) if peak else "–" for peak in peaks]
    return " / ".join(texts) if any(peaks) else ""


def _millions(key: str) -> Callable[[Row, Record], str]:
    def cell(row: Row, record: Record) -> str:
        value = row["sides"].get("jaxcv", {}).get(key)
        return _number(value / 1e6) if value else ""

    return cell


def _share(row: Row, record: Record) -> str:
    side = row["sides"].get("jaxcv", {})
    if not side.get("seconds") or "multiply_adds" not in side:
        return ""
    # A multiply-add is two operations.
    reached = 2 * side["multiply_adds"] / median(side["seconds"])
    return f"{reached / record['machine']['flops']:.1%}"


_CASE: Column = ("case", lambda row, record: row["case"])
_TORCH: Column = ("time jaxcv / PyTorch", _ratio("PyTorch"))
_ORDER: Column = ("time jaxcv / its first order", _ratio("first order"))
_COMPILATION: Column = ("jaxcv trace and compile, s, cold / cached", _compilation)
_MEMORY: Column = ("peak memory jaxcv / PyTorch, MB", _memory)
_FIRST: tuple[Column, ...] = (_CASE, _TORCH, _ORDER, _COMPILATION, _MEMORY)
_COLUMNS: tuple[Column, ...] = (
    _CASE,
    _TORCH,
    ("time jaxcv / lax", _ratio("lax")),
    _ORDER,
    ("jaxcv steps/s", _speed("jaxcv")),
    ("PyTorch steps/s", _speed("PyTorch")),
    ("PyTorch's best form", _form),
    ("lax steps/s", _speed("lax")),
    ("first-order steps/s", _speed("first order")),
    _COMPILATION,
    _MEMORY,
    ("multiply-adds a step, millions", _millions("multiply_adds")),
    ("of the product's speed", _share),
    ("operands and results a step, MB", _millions("operand_bytes")),
)
