"""A run is a folder: everything that a command needs to go on is in it, and nothing else is.

``config.json``, ``metrics.jsonl``, ``checkpoints/``, ``genotype.json``, pictures, ``report.html``.
"""

import json
import os
import secrets
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

import jaxcv

# Of the temporary names: what a killed process left under one counts for nothing.
_PARTIAL = ".partial"


def write_atomically(path: Path | str, content: bytes | str) -> None:
    """Writes a whole file or nothing: to a temporary name beside it, then renamed."""
    path = Path(path)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_PARTIAL}")
    try:
        with open(temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class Run:
    """A run folder. Of several processes of ``jax.distributed`` all have it, and the first writes.

    Attributes:
        path: the folder.
        config: what ``config.json`` holds.
        rows: the metrics so far, one mapping for each epoch.
    """

    def __init__(
        self,
        path: Path,
        config: Mapping[str, Any],
        rows: list[dict[str, Any]],
        pending: Mapping[str, str] | None = None,
    ):
        self.path, self.config, self.rows = path, config, rows
        self._pending = dict(pending or {})

    @classmethod
    def create(
        cls,
        path: Path | str,
        kind: str,
        config: Mapping[str, Any],
        files: Mapping[str, str] | None = None,
    ) -> "Run":
        """A folder for a new run. It stays empty until ``begin``, so that a run that never got
        so far does not stand in the way of the next.

        Args:
            path: of the folder; made if it is not there.
            kind: of run, such as "search" or "train".
            config: for ``config.json``.
            files: contents of further files, by name.

        Raises:
            ValueError: if it is not empty, or cannot be written.
        """
        path = Path(path)
        content = {"jaxcv": jaxcv.__version__, "kind": kind, **config}
        if jax.process_index() > 0:
            return cls(path, content, [])
        # A run begins with its config.json, the last of its first files to be written.
        unbegun = set(files or {})
        try:
            path.mkdir(parents=True, exist_ok=True)
            for entry in path.iterdir():
                if entry.name not in unbegun and entry.suffix != _PARTIAL:
                    raise ValueError(
                        f"folder={str(path)!r} is not empty; allowed is a new folder, or --resume "
                        f"{path} to go on with the run in it"
                    )
            trial = path / f"trial{_PARTIAL}"
            trial.touch()
            trial.unlink()
        except OSError as error:
            raise ValueError(
                f"folder={str(path)!r} cannot be written ({error.strerror}); allowed is a folder "
                "in a place that you may write to"
            ) from None
        pending = {**(files or {}), "config.json": json.dumps(content, indent=1) + "\n"}
        return cls(path, content, [], pending)

    def begin(self) -> None:
        """Writes the files of a new run."""
        for name, content in self._pending.items():
            write_atomically(self.path / name, content)
        self._pending = {}

    @classmethod
    def open(cls, path: Path | str, kind: str) -> "Run":
        """The run in a folder.

        Raises:
            ValueError: for a folder without a run, one of another kind, or damaged metrics; but
                a last line that is torn is left out, with a warning.
        """
        path = Path(path)
        try:
            config = json.loads((path / "config.json").read_text())
            found = config["kind"]
        except (OSError, json.JSONDecodeError, KeyError, TypeError):
            raise ValueError(
                f"folder={str(path)!r} is no run folder; allowed is one with the config.json that "
                "a run writes"
            ) from None
        if found != kind:
            raise ValueError(f"folder={str(path)!r} holds a {found} run; allowed is a {kind} run")
        return cls(path, config, _read_rows(path / "metrics.jsonl"))

    @classmethod
    def within(
        cls, path: Path | str, kind: str, create: Callable[[], "Run"] | None = None
    ) -> "Run":
        """A run that is part of a larger one: opened if it has begun, else made anew, by ``create``
        if that is given."""
        if (Path(path) / "config.json").exists():
            return cls.open(path, kind)
        return cls.create(path, kind, {}) if create is None else create()

    def log(self, row: Mapping[str, Any]) -> None:
        """Adds a row to the metrics."""
        self.rows.append(dict(row))
        self._write_rows()

    def rewind(self, step: int) -> None:
        """Forgets the metrics of epochs that ended after ``step``."""
        kept = [row for row in self.rows if row["step"] <= step]
        if len(kept) < len(self.rows):
            self.rows = kept
            self._write_rows()

    def _write_rows(self) -> None:
        if jax.process_index() > 0:
            return
        text = "".join(json.dumps(row) + "\n" for row in self.rows)
        write_atomically(self.path / "metrics.jsonl", text)


def _read_rows(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise ValueError(
                    f"{str(path)!r} is damaged in line {number} ({error}); allowed is a row of "
                    "JSON a line"
                ) from None
            warnings.warn(f"the last line of {str(path)!r} is torn, and left out", stacklevel=3)
    return rows
