"""Pages of HTML that need no other file and no network, and the pictures in them; tables of
Markdown."""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from jaxcv.training.run import write_atomically
from search.plot import save

_CSS = """
:root { color-scheme: light dark; --ink: #1d2126; --soft: #5d6670; --line: #dfe3e8; --page: #fff;
  --card: #f6f7f9; --mark: #00517f; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ec; --soft: #9aa4ae; --line: #343b43; --page: #15181c; --card: #1e2328;
    --mark: #7fc1ec; }
  figure svg { filter: invert(1) hue-rotate(180deg); mix-blend-mode: screen; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0; font-size: 1.15rem; font-weight: 600; color: var(--soft); }
h2 { margin: 2.5rem 0 .75rem; font-size: 1.2rem; }
.headline { margin: .25rem 0 0; font-size: clamp(1.5rem, 5vw, 2.25rem); font-weight: 700;
  line-height: 1.2; color: var(--mark); }
.detail { margin: .4rem 0 0; color: var(--soft); }
.scroll, figure { overflow-x: auto; }
figure { margin: 0 0 1.5rem; }
figcaption { font-weight: 600; margin-bottom: .25rem; position: sticky; left: 0; }
svg { display: block; height: auto; max-width: 100%; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem 1.25rem .35rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
thead th { color: var(--soft); font-weight: 500; white-space: nowrap; }
tbody th { font-weight: 500; }
th { overflow-wrap: normal; }
.results td { text-align: right; white-space: nowrap; }
.results thead th + th { text-align: right; }
.results .best td, .results .best th { font-weight: 700; }
.settings th { color: var(--soft); }
pre { padding: .75rem 1rem; background: var(--card); border-radius: .4rem; overflow-x: auto;
  font-size: .85rem; overflow-wrap: normal; }
g.note:hover path { stroke: var(--mark); stroke-width: 3px; }
summary { cursor: pointer; color: var(--soft); }
"""


def write_page(path: Path, title: str, body: Iterable[str]) -> None:
    """Writes a page of HTML.

    Args:
        path: of the file.
        title: of the page.
        body: its parts, as HTML; empty ones are left out.
    """
    write_atomically(
        path,
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body>\n</html>\n",
    )


def settings_table(settings: Mapping[str, Any]) -> str:
    """A table of settings by name, those within others under both names."""
    body = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>\n"
        for name, value in _flat(settings)
    )
    return f'<table class="settings"><tbody>{body}</tbody></table>'


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def results_table(
    head: Iterable[str], lines: Iterable[Sequence[str]], hints: Iterable[str] = ()
) -> str:
    """A table of results.

    Args:
        head: titles of the columns.
        lines: texts of each row, the first of which names it.
        hints: what the page says of a row under the mouse; none by default.
    """
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    body = ""
    for (name, *cells), hint in zip(lines, itertools.chain(hints, itertools.repeat(""))):  # noqa: B905
        said = f' title="{escape(hint)}"' if hint else ""
        texts = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        body += f"<tr{said}><th>{escape(name)}</th>{texts}</tr>\n"
    return (
        f'<div class="scroll"><table class="results"><thead><tr>{titles}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def markdown_table(
    head: Sequence[str], lines: Iterable[Sequence[str]], numbers: slice = slice(1, None)
) -> str:
    """A table of Markdown.

    Args:
        head: titles of the columns.
        lines: texts of each row.
        numbers: the columns that stand on the right; all but the first by default.
    """
    rule = ["---"] * len(head)
    rule[numbers] = ["---:"] * len(rule[numbers])
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *lines))


def picture(
    folder: Path,
    name: str,
    caption: str,
    figure: Figure,
    notes: Mapping[str, str] | None = None,
) -> str:
    """Saves the figure in the folder and returns it as part of the page.

    Args:
        folder: where the pictures go, as SVG and PNG.
        name: of its files.
        caption: of the picture.
        figure: the picture.
        notes: what the page says of a part of the figure under the mouse, by the part's gid.
    """
    save(figure, folder / name)
    svg = (folder / f"{name}.svg").read_text(encoding="utf-8")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    for part, note in (notes or {}).items():
        svg = svg.replace(
            f'<g id="{part}">', f'<g id="{part}" class="note"><title>{escape(note)}</title>'
        )
    # The identifiers of one picture must not meet those of another.
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{escape(name)}-", svg)
    # On a narrow screen a picture is scrolled rather than made too small to read.
    width = f"{figure.get_figwidth():.2f}in"
    start = f'<svg role="img" aria-label="{escape(caption)}" style="min-width:min(34rem,{width})"'
    svg = svg.replace("<svg", start, 1)
    return f"<figure><figcaption>{escape(caption)}</figcaption>{svg}</figure>"
