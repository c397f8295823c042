"""The lecture's table of image classifiers on CIFAR-10 (Table 1 of arXiv:1806.09055), with later
ones of the same space: what is published, and the parameters of the networks here, as Markdown."""

import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from flax import nnx
from tqdm import tqdm

from experiments import cli
from experiments.page import markdown_table
from jaxcv.analysis import count_parameters
from jaxcv.genotype import published
from jaxcv.models import CIFAR, CellNetwork, Network, create_model
from jaxcv.training.run import write_atomically


class Figures(NamedTuple):
    """As published: test error in percent, with its standard deviation or error if there is one,
    millions of parameters, GPU-days of search."""

    error: float
    parameters: float
    days: float | None = None
    spread: float | None = None


class Row(NamedTuple):
    """An architecture of the table.

    Attributes:
        architecture, method: as the table calls it, and how it was found.
        source: where the architecture is published.
        lecture: figures of the lecture's table, an early version of the paper's.
        paper: figures of the ICLR paper, or of the architecture's own if it is later.
        name: how to make it here.
        make: makes it, of ``rngs``; None where it is not published.
        note: on differences.
    """

    architecture: str
    method: str
    source: str
    lecture: Figures | None
    paper: Figures | None
    name: str = ""
    make: Callable[..., Network] | None = None
    note: str = ""


def _named(name: str) -> tuple[str, Callable[..., Network]]:
    return name, functools.partial(create_model, name)


def _darts(name: str, channels: int) -> tuple[str, Callable[..., Network]]:
    """In the skeleton of DARTS."""
    make = functools.partial(CellNetwork, published[name], CIFAR, channels, 20, 10)
    return f"{name}, CIFAR, {channels} channels, 20 layers", make


ROWS = (
    Row(
        "DenseNet-BC",
        "manual",
        "arXiv:1608.06993",
        Figures(3.46, 25.6),
        Figures(3.46, 25.6),
        *_named("densenet_bc_190_k40"),
    ),
    Row(
        "NASNet-A + cutout",
        "RL",
        "arXiv:1707.07012",
        Figures(2.65, 3.3, 1800),
        Figures(2.65, 3.3, 2000),
        *_named("nasnet_a_6_768"),
    ),
    Row(
        "NASNet-A + cutout, trained by DARTS's authors",
        "RL",
        "arXiv:1806.09055",
        Figures(2.83, 3.1, 3150),
        None,
        *_darts("NASNET_A", 32),
        "The cell in DARTS's skeleton, without the input and the node that its own output has.",
    ),
    Row(
        "AmoebaNet-A + cutout",
        "evolution",
        "arXiv:1802.01548",
        Figures(3.34, 3.2, 3150, 0.06),
        Figures(3.34, 3.2, 3150, 0.06),
        *_named("amoebanet_a_6_36"),
    ),
    Row(
        "AmoebaNet-A + cutout, trained by DARTS's authors",
        "evolution",
        "arXiv:1806.09055",
        Figures(3.12, 3.1, 3150),
        Figures(3.12, 3.1, 3150),
        *_darts("AMOEBANET_A", 36),
        "The cell as DARTS's authors read it: against the code of AmoebaNet's authors the inputs "
        "are exchanged, one pooling reads the other input, and fewer states make the outputs.",
    ),
    Row(
        "AmoebaNet-B + cutout",
        "evolution",
        "arXiv:1802.01548",
        Figures(2.55, 2.8, 3150, 0.05),
        Figures(2.55, 2.8, 3150, 0.05),
        *_named("amoebanet_b_6_36"),
        "Its dilated separable convolution is dilated here; the authors' code for ImageNet ignores "
        "the word, with as many parameters.",
    ),
    Row(
        "Hierarchical Evo",
        "evolution",
        "arXiv:1711.00436",
        Figures(3.75, 15.7, 300, 0.12),
        Figures(3.75, 15.7, 300, 0.12),
        note="No code or text with the motifs that were found could be located, so there is no "
        "such network; MotifNetwork makes those of any motifs.",
    ),
    Row(
        "PNAS",
        "SMBO",
        "arXiv:1712.00559",
        Figures(3.41, 3.2, 225, 0.09),
        Figures(3.41, 3.2, 225, 0.09),
        *_named("pnasnet5_3_48"),
        "Nine cells, as its author says of the network for CIFAR "
        "(chenxi116/PNASNet.pytorch, issue 1).",
    ),
    Row(
        "ENAS + cutout",
        "RL",
        "arXiv:1802.03268",
        Figures(2.89, 4.6, 0.5),
        Figures(2.89, 4.6, 0.5),
        *_named("enas_6_36"),
        "With six normal cells in a row the parameters are the published ones; the released script "
        "says five (enas_5_36, 3,894,372 parameters).",
    ),
    Row(
        "Random + cutout",
        "random",
        "arXiv:1806.09055",
        Figures(3.49, 3.1),
        Figures(3.29, 3.2, 4, 0.15),
        note="The cell is not published. The paper's is the best of 24.",
    ),
    Row(
        "DARTS, first order + cutout",
        "gradient",
        "arXiv:1806.09055",
        Figures(2.94, 2.9, 1.5),
        Figures(3.00, 3.3, 1.5, 0.14),
        *_named("darts_v1_cifar"),
        "The published cell has 3.17 million parameters in the published skeleton, neither 2.9 nor "
        "3.3.",
    ),
    Row(
        "DARTS, second order + cutout",
        "gradient",
        "arXiv:1806.09055",
        Figures(2.83, 3.4, 4, 0.06),
        Figures(2.76, 3.3, 4, 0.09),
        *_named("darts_v2_cifar"),
    ),
    Row(
        "P-DARTS + cutout",
        "gradient",
        "arXiv:1904.12760",
        None,
        Figures(2.50, 3.4, 0.3),
        *_named("p_darts_cifar"),
    ),
    Row(
        "PC-DARTS + cutout",
        "gradient",
        "arXiv:1907.05737",
        None,
        Figures(2.57, 3.6, 0.1, 0.07),
        *_named("pc_darts_cifar_cifar"),
    ),
    Row(
        "GDAS + cutout",
        "gradient",
        "arXiv:1910.04465",
        None,
        Figures(2.93, 3.4, 0.3),
        *_named("gdas_v1_cifar"),
    ),
    Row(
        "DrNAS + cutout",
        "gradient",
        "arXiv:2006.10355",
        None,
        Figures(2.46, 4.1, 0.6, 0.03),
        *_named("drnas_cifar_cifar"),
    ),
)


def count(row: Row) -> int | None:
    """Parameters of the network here, without an auxiliary head; None if there is none."""
    if row.make is None:
        return None
    make = row.make
    return count_parameters(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0))))


def markdown(rows: Sequence[Row], counts: Sequence[int | None]) -> str:
    """The rows as a table, with remarks below it, in Markdown."""
    head = (
        "architecture",
        "test error %, lecture",
        "test error %, paper",
        "parameters M, lecture",
        "parameters M, paper",
        "parameters here",
        "GPU-days, lecture",
        "GPU-days, paper",
        "method",
        "source",
        "here",
    )
    lines = []
    notes: list[str] = []
    for row, parameters in zip(rows, counts, strict=True):
        mark = ""
        if row.note:
            notes.append(row.note)
            mark = f" [{len(notes)}]"
        figures = (row.lecture, row.paper)
        days = [None if each is None else each.days for each in figures]
        lines.append(
            (
                row.architecture + mark,
                *(_error(each) for each in figures),
                *("–" if each is None else f"{each.parameters:.1f}" for each in figures),
                "–" if parameters is None else f"{parameters:,}",
                *("–" if each is None else f"{each:g}" for each in days),
                row.method,
                row.source,
                row.name or "–",
            )
        )
    listed = "".join(f"{number}. {note}\n" for number, note in enumerate(notes, 1))
    return f"{markdown_table(head, lines, slice(1, -3))}\n{listed}"


def _error(figures: Figures | None) -> str:
    if figures is None:
        return "–"
    spread = "" if figures.spread is None else f" ± {figures.spread:.2f}"
    return f"{figures.error:.2f}{spread}"


@dataclass(frozen=True)
class Options:
    """Where the table goes."""

    file: str | None = None
    """Of Markdown, such as experiments/results/table1.md; by default it is printed."""


def command(arguments: Sequence[str]) -> None:
    options = cli.typed(Options, arguments, "python -m experiments.table1", __doc__ or "")
    bar = tqdm(ROWS, unit="network", dynamic_ncols=True, file=sys.stderr)
    text = markdown(ROWS, [count(row) for row in bar])
    if options.file is None:
        print(text, end="")
    else:
        write_atomically(options.file, text)


if __name__ == "__main__":
    cli.main(command)
