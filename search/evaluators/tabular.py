"""A tabular benchmark: what training would have given, looked up."""

import csv
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from search.discrete import DiscreteSpace, Point
from search.evaluators.evaluator import Outcome
from search.strategies import Proposal

DATA = {"cifar10": "c10", "cifar100": "c100", "imagenet16": "in16"}
"""The data sets of NAS-Bench-201, and what their columns begin with."""

_COUNTS = {"params_M": "parameters", "flops_M": "multiply_adds"}


@dataclass(frozen=True)
class Tabular:
    """Scores a point by the validation accuracy that a table has for a training of a budget.

    Attributes:
        rows: the row of each point.
        valid: validation accuracy by the epochs of the training, each [rows], in 0..1.
        metrics: more numbers by name, each [rows].
    """

    rows: Mapping[Point, int]
    valid: Mapping[int, Sequence[float]]
    metrics: Mapping[str, Sequence[float]]

    def __call__(self, proposal: Proposal, seed: int) -> Outcome:
        """The accuracy after ``budget`` epochs, by default the most that there are."""
        budget = max(self.valid) if proposal.budget is None else proposal.budget
        if budget not in self.valid:
            raise ValueError(
                f"budget={budget!r}; allowed are the epochs after which the table has a validation "
                f"accuracy, {', '.join(map(str, sorted(self.valid)))}"
            )
        row = self.rows[proposal.point]
        metrics = {name: column[row] for name, column in self.metrics.items()}
        return Outcome(self.valid[budget][row], metrics)


def tabular(path: Path | str, space: DiscreteSpace, data: str = "cifar10") -> Tabular:
    """An evaluator from a table of trainings, such as NAS-Bench-201's (arXiv:2001.00326).

    Args:
        path: a .csv file, or an .npz file. Arrays of one axis are columns; those of two, such as
            ``ep12`` or ``ep200_test``, have the names of theirs in another, such as ``ep12_cols``
            or ``ep200_cols``. Columns are

            - ``arch``: the operations in the order of the space's decisions, each followed by
              ``~`` and the state that it reads, such as ``|none~0|+|skip_connect~0|none~1|``;
            - ``params_M`` and ``flops_M``: millions of parameters and of multiply-adds;
            - ``<data>_val_ep<epochs>`` and ``<data>_test_ep<epochs>``: accuracy in percent after
              so many epochs of training.
        space: whose options have the names of the operations.
        data: what the columns of accuracy begin with, or a name of ``DATA``.

    Returns:
        The evaluator. Its metrics are ``test_accuracy``, in 0..1 after the longest training of
        all, ``parameters`` and ``multiply_adds``, as far as the table has them.

    Raises:
        ValueError: for a file that cannot be read, without such columns, or with an architecture
            that is not in the space.
    """
    columns = _columns(Path(path))
    prefix = DATA.get(data, data)
    accuracies: dict[str, dict[int, list[float]]] = {"val": {}, "test": {}}
    for name, values in columns.items():
        # NAS-Bench-201 tells the validation half of CIFAR-10, c10valid, from its test set, c10.
        match = re.fullmatch(rf"{re.escape(prefix)}(?:valid)?_(val|test)_ep(\d+)", name)
        if match:
            kind, epochs = match.groups()
            accuracies[kind][int(epochs)] = (np.asarray(values, float) / 100).tolist()
    if "arch" not in columns or not accuracies["val"]:
        raise ValueError(
            f"path={str(path)!r} has the columns {', '.join(columns)}; allowed is a table with "
            f"arch and {prefix}_val_ep<epochs>"
        )
    metrics: dict[str, list[float]] = {}
    if accuracies["test"]:
        metrics["test_accuracy"] = accuracies["test"][max(accuracies["test"])]
    for name, known in _COUNTS.items():
        if name in columns:
            metrics[known] = np.round(1e6 * np.asarray(columns[name], float)).tolist()
    rows = {_point(str(name), space): row for row, name in enumerate(columns["arch"])}
    return Tabular(rows, accuracies["val"], metrics)


def _point(name: str, space: DiscreteSpace) -> Point:
    operations = re.findall(r"([^|+~]+)~\d+", name)
    try:
        pairs = zip(space.options, operations, strict=True)
        return tuple(options.index(operation) for options, operation in pairs)
    except ValueError:
        raise ValueError(
            f"arch has {name!r}; allowed are {len(space.options)} operations, each an option of "
            f"the space {space.name}"
        ) from None


_BROKEN = (csv.Error, zipfile.BadZipFile, zlib.error)


def _columns(path: Path) -> dict[str, Sequence]:
    """The columns of a table by name."""
    try:
        if path.suffix == ".csv":
            with path.open(newline="") as file:
                rows = list(csv.DictReader(file))
            return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
        columns: dict[str, Sequence] = {}
        with path.open("rb") as binary, np.load(binary) as arrays:
            for name, values in arrays.items():
                if values.ndim == 1 and not name.endswith("_cols"):
                    columns[name] = values
                elif values.ndim == 2:
                    names = arrays[f"{name.partition('_')[0]}_cols"]
                    columns |= dict(zip(names.tolist(), values.T, strict=True))
        return columns
    except (OSError, EOFError, ValueError, TypeError, KeyError, *_BROKEN) as error:
        raise ValueError(
            f"path={str(path)!r} cannot be read ({error}); allowed is a .csv or an .npz table"
        ) from None
