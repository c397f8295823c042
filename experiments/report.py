"""The report of a run: one HTML page with its result, cells, curves and configuration."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from experiments.environment import environment
from experiments.page import picture, settings_table, write_page
from jaxcv.genotype import Genotype, first_node
from jaxcv.models import Architecture
from jaxcv.models.architecture import to_json
from search.plot import draw_cell, draw_curves, draw_watch, draw_weights
from search.watch import verdict


def write_report(
    folder: Path | str,
    *,
    title: str,
    config: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    genotype: Architecture | None = None,
    primitives: Mapping[str, Sequence[str]] = {},
    results: Sequence[Mapping[str, Any]] = (),
    measure: str = "accuracy",
    notes: str = "",
    finished: bool = True,
    pictures: str | None = None,
) -> Path:
    """Writes ``report.html`` and its pictures (SVG and PNG) into the folder of a run.

    The page needs no other file and no network. What there is nothing for is left out.

    Args:
        folder: the run's folder.
        title: what was run.
        config: the configuration, nested as it may be.
        rows: of ``metrics.jsonl``, of a search (with "mix") or of a training, one an epoch.
        genotype: the cells, or other architecture, that were found or trained.
        primitives: by cell kind the names of the mixed operations in "mix".
        results: trained networks to compare, a row of the table each: "name", "test_accuracy" (a
            fraction), "parameters", "seconds" and whatever else is known. The first is the one
            that the run is about.
        measure: what is measured, "accuracy" or, of language models, "perplexity"; the names above
            with that in place of accuracy.
        notes: remarks in plain text; an empty line begins a paragraph.
        finished: whether the run has come to its end.
        pictures: what ``draw_pictures`` has returned for the same rows and genotype, for a report
            that is written again and again; by default they are drawn here.

    Returns:
        The path of the page.
    """
    folder = Path(folder)
    headline, detail = _headline(config, rows, results, measure, finished)
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="headline">{escape(headline)}</p>',
        f'<p class="detail">{escape(detail)}</p>' if detail else "",
        *(f"<p>{escape(paragraph)}</p>" for paragraph in re.split(r"\n\s*\n", notes) if paragraph),
    ]
    if results:
        body.append(f"<h2>Results</h2>{_results_table(results, measure)}")
    if pictures is None:
        pictures = draw_pictures(
            folder, rows=rows, genotype=genotype, primitives=primitives, measure=measure
        )
    body.append(pictures)
    if config:
        body.append(f"<h2>Configuration</h2>{settings_table(config)}")
    body.append(f"<h2>Environment</h2>{settings_table(environment())}")
    path = folder / "report.html"
    write_page(path, title, body)
    return path


def draw_pictures(
    folder: Path | str,
    *,
    rows: Sequence[Mapping[str, Any]],
    genotype: Architecture | None = None,
    primitives: Mapping[str, Sequence[str]] = {},
    measure: str = "accuracy",
) -> str:
    """Writes the pictures of a report and returns its part with them.

    Args:
        folder, rows, genotype, primitives, measure: as for ``write_report``.
    """
    folder, body = Path(folder), []
    if isinstance(genotype, Genotype):
        body.append("<h2>Cells</h2>")
        for kind, cell in genotype.cells.items():
            figure = draw_cell(cell, inputs=first_node(kind))
            body.append(picture(folder, f"cell_{kind}", f"{kind} cell", figure))
        body.append(
            "<details><summary>The genotype as text</summary>"
            f"<pre>{escape(genotype.to_json())}</pre></details>"
        )
    elif genotype:
        body.append(f"<h2>Architecture</h2><pre>{escape(to_json(genotype))}</pre>")
    if rows:
        body.append("<h2>Curves</h2>")
        body.append(
            picture(folder, "curves", f"loss and {measure}", draw_curves(rows, measure=measure))
        )
        if any("entropy" in row for row in rows):
            body.append(f"<h2>Signs of a collapse</h2><p>{escape(verdict(rows))}</p>")
            body.append(picture(folder, "watch", "signs of a collapse", draw_watch(rows)))
    mixes = [row["mix"] for row in rows if row.get("mix")]
    if mixes:
        body.append("<h2>Mixing weights</h2>")
        for kind in mixes[0]:
            history = np.array([mix[kind] for mix in mixes])
            found = genotype.cells.get(kind) if isinstance(genotype, Genotype) else None
            figure = draw_weights(history, primitives[kind], inputs=first_node(kind), cell=found)
            body.append(picture(folder, f"weights_{kind}", f"{kind} cell", figure))
    return "\n".join(body)


def _headline(
    config: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    results: Sequence[Mapping[str, Any]],
    measure: str,
    finished: bool,
) -> tuple[str, str]:
    """The result in one line, and what belongs to it in another."""
    epochs = _count(len(rows), "epoch")
    if not finished and "epochs" in config:
        epochs = f"{len(rows)} of {_count(config['epochs'], 'epoch')}"
    details = [] if finished else ["still running"]
    key = f"test_{measure}"
    if results and results[0].get(key) is not None:
        first, *others = results
        headline = f"{_value(key, first[key])} test {measure}"
        details += [first["name"]] if "name" in first else []
        if "parameters" in first:
            details.append(f"{_value('parameters', first['parameters'])} parameters")
        measured = [r[key] for r in others if r.get(key) is not None]
        if measured:
            mean = _value(key, float(np.mean(measured)))
            details.append(f"mean of the {_count(len(measured), 'other')} {mean}")
        return headline, " · ".join(details)
    if rows:
        details.append(epochs)
        details.append(_duration(sum(row.get("seconds") or 0.0 for row in rows)))
        for key, name in (
            (f"test_{measure}", f"test {measure}"),
            (f"valid_{measure}", f"validation {measure} of the search network"),
            (measure, f"training {measure}"),
        ):
            values = [row[key] for row in rows if row.get(key) is not None]
            if values:
                return f"{_value(key, values[-1])} {name}", " · ".join(details)
    return ("Finished" if finished else "No epoch has finished yet"), " · ".join(details)


def _results_table(results: Sequence[Mapping[str, Any]], measure: str) -> str:
    keys = list(dict.fromkeys(key for result in results for key in result if key != "name"))
    measured = [result.get(f"test_{measure}") for result in results]
    better = max if measure == "accuracy" else min
    best = better((value for value in measured if value is not None), default=None)
    names = ["time" if key == "seconds" else key.replace("_", " ") for key in keys]
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = ""
    for result, value in zip(results, measured, strict=True):
        mark = ' class="best"' if value is not None and value == best else ""
        cells = "".join(f"<td>{escape(_value(key, result.get(key)))}</td>" for key in keys)
        body += f"<tr{mark}><th>{escape(str(result.get('name', '')))}</th>{cells}</tr>\n"
    return (
        '<div class="scroll"><table class="results">'
        f"<thead><tr><th>network</th>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def _value(key: str, value: Any) -> str:
    """A number with its unit, by the name it goes under."""
    if value is None:
        return "–"
    if key.endswith("accuracy"):
        return f"{100 * value:.2f} %"
    if key.endswith("perplexity"):
        return f"{value:.2f}"
    if key == "parameters":
        return f"{value / 1e6:.2f} M" if value >= 1e5 else f"{value:,}"
    if key == "seconds":
        return _duration(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours} h {minute:02} min" if hours else f"{minute} min {second:02} s"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
