"""Compare all models: published accuracy against parameters, operations, memory and speed on this
machine, as in arXiv:1605.07678. Writes a table (Markdown, CSV) and a page with pictures."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tqdm import tqdm

from experiments import cli
from experiments.compare import table
from experiments.compare.measure import measure
from experiments.compare.pictures import PICTURES
from experiments.environment import environment
from experiments.page import picture, settings_table, write_page
from jaxcv.functional._arguments import positive
from jaxcv.models import list_models
from jaxcv.training.run import Run, write_atomically


@dataclass(frozen=True)
class Options:
    """Which models to compare, and how."""

    only: str = "*"
    """Only models whose name matches this pattern, such as "res*"."""
    batches: tuple[int, ...] = (1, 16)
    """Numbers of images at once to time."""
    trials: int = 5
    """Timings of each."""
    folder: str = "runs/compare"
    """Where the run goes: rows, tables, pictures, page."""

    def __post_init__(self) -> None:
        positive(trials=self.trials, batches=min(self.batches, default=0))
        if not list_models(self.only):
            raise ValueError(f"only={self.only!r} matches no model; allowed: {list_models()}")


def command(arguments: Sequence[str]) -> None:
    folder = cli.resumed(arguments)
    if folder is None:
        options = cli.typed(Options, arguments, "python -m experiments.compare", __doc__ or "")
        run = Run.create(options.folder, "compare", {"options": asdict(options)})
        run.begin()
    else:
        run = Run.open(folder, "compare")
        options = cli.options_of(run, Options)
    done = {row["model"] for row in run.rows}
    names = list_models(options.only)
    bar = tqdm(names, initial=len(done), unit="model", dynamic_ncols=True, file=sys.stderr)
    with cli.resumable("compare", run), bar:
        for name in names:
            if name in done:
                continue
            bar.set_description(name)
            run.log(measure(name, options.batches, options.trials) | {"on": environment()})
            write(run)
            bar.update()
    write(run)
    print(f"page: {run.path / 'compare.html'}")


def write(run: Run) -> None:
    """Writes tables, pictures and the page of the rows so far."""
    order = {name: number for number, name in enumerate(list_models())}
    rows = sorted(run.rows, key=lambda row: order.get(row["model"], len(order)))
    write_atomically(run.path / "compare.md", table.markdown(rows))
    write_atomically(run.path / "compare.csv", table.comma_separated(rows))
    body = [
        "<h1>Networks for images</h1>",
        f'<p class="headline">{len(rows)} models compared</p>',
        '<p class="detail">Point at a circle, a bar or a row to read more.</p>',
    ]
    for data in dict.fromkeys(row["data"] for row in rows):
        shown = [row for row in rows if row["data"] == data and row["top1"] is not None]
        if not shown:
            continue
        body.append(f"<h2>{data}</h2>")
        for name, (caption, draw) in PICTURES.items():
            notes = {row["model"]: _note(row) for row in shown}
            file = f"{name}_{data.lower().replace('-', '')}"
            body.append(picture(run.path, file, caption, draw(shown), notes))
    body += [
        "<h2>All figures</h2>",
        table.html(rows),
        f"<p>{table.sources(rows)} Multiply-adds are those of convolutions and matrix products. "
        "Activations are the most bytes of results alive at one time, of one image.</p>",
        "<h2>Environment</h2>",
        settings_table(table.environments(rows)),
    ]
    write_page(run.path / "compare.html", "Networks for images", body)


def _note(row: table.Row) -> str:
    facts = [f"{title}: {text}" for title, (text,) in table.columns([row])[1:]]
    return "\n".join([row["model"], *facts, f"source: {row['source']}"])
