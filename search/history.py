"""The history of searches: one SQLite file, a row for each trial that ended.

A row is written as its trial ends, so a search that is killed loses no trial that ended.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from search.strategies import Proposal

_VERSION = 1
_COLUMNS = "method, seed, number, point, budget, canonical, score, reason, metrics, seconds, ended"
_TABLE = """
CREATE TABLE trials (
    method TEXT NOT NULL,
    seed INTEGER NOT NULL,
    number INTEGER NOT NULL,
    point TEXT NOT NULL,
    budget INTEGER,
    canonical TEXT NOT NULL,
    status TEXT AS (CASE WHEN reason IS NULL THEN 'done' ELSE 'failed' END),
    reason TEXT,
    score REAL,
    metrics TEXT NOT NULL,
    seconds REAL NOT NULL,
    ended TEXT NOT NULL,
    PRIMARY KEY (method, seed, number)
)
"""


class Trial(NamedTuple):
    """A trial that ended.

    Attributes:
        method, seed: of the search.
        number: of the trial in its search, from 0.
        proposal: what was evaluated.
        canonical: text that isomorphic architectures share.
        score: the larger the better; None if it failed.
        reason: why it failed; None if it did not.
        metrics: more numbers by name.
        seconds: how long it took.
        ended: when, as ISO 8601 in UTC.
    """

    method: str
    seed: int
    number: int
    proposal: Proposal
    canonical: str
    score: float | None
    reason: str | None
    metrics: Mapping[str, float]
    seconds: float
    ended: str


class History:
    """The trials of any number of searches in one file. As a context it is closed at the end.

    Args:
        path: of the file; made if it is not there.

    Raises:
        ValueError: for a file that is no history, or cannot be opened.
    """

    def __init__(self, path: Path | str):
        self._path = Path(path)
        try:
            # Without transactions of its own: every row is on the disk once ``add`` returns.
            self._database = sqlite3.connect(self._path, timeout=60, isolation_level=None)
        except sqlite3.Error as error:
            raise self._unusable(error) from None
        try:
            self._prepare()
        except BaseException:
            self._database.close()
            raise

    def _prepare(self) -> None:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            tables = self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if not tables:
                self._database.execute(_TABLE)
                self._database.execute(f"PRAGMA user_version = {_VERSION}")
            elif version != _VERSION:
                raise sqlite3.DatabaseError("a database, but of other tables")
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def _unusable(self, error: sqlite3.Error) -> ValueError:
        return ValueError(
            f"history={str(self._path)!r} cannot be used ({error}); allowed is a new file, or one "
            "that a search has written"
        )

    def __enter__(self) -> "History":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    def add(self, trial: Trial) -> None:
        """Writes a trial, in place of the one of its method, seed and number if there is one."""
        point, budget = trial.proposal
        self._database.execute(
            f"INSERT OR REPLACE INTO trials ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            (
                *trial[:3],
                json.dumps(point),
                budget,
                trial.canonical,
                trial.score,
                trial.reason,
                json.dumps(dict(trial.metrics)),
                trial.seconds,
                trial.ended,
            ),
        )

    def searches(self) -> list[tuple[str, int]]:
        """The method and the seed of every search."""
        return self._database.execute(
            "SELECT DISTINCT method, seed FROM trials ORDER BY method, seed"
        ).fetchall()

    def trials(self, method: str, seed: int) -> list[Trial]:
        """Those of one search by their numbers, some of which may be missing."""
        rows = self._database.execute(
            f"SELECT {_COLUMNS} FROM trials WHERE method = ? AND seed = ? ORDER BY number",
            (method, seed),
        )
        return list(map(_trial, rows))

    def __iter__(self) -> Iterator[Trial]:
        """All trials, search by search."""
        rows = self._database.execute(
            f"SELECT {_COLUMNS} FROM trials ORDER BY method, seed, number"
        )
        return map(_trial, rows)

    def merge(self, other: "History") -> int:
        """Takes over the trials of another history, and says how many. A trial that both have
        stays as it is here, unless it failed only here.

        Raises:
            ValueError: if the two evaluated something else as the same trial of the same search;
                nothing is taken over then.
        """
        own = {trial[:3]: trial for trial in self}
        new = []
        for trial in other:
            known = own.get(trial[:3])
            if known is not None and known.proposal != trial.proposal:
                raise ValueError(
                    f"trial {trial.number} of {trial.method} with seed {trial.seed} is "
                    f"{known.proposal} in {self._path} and {trial.proposal} in {other._path}; "
                    "allowed are histories whose searches differ in method or seed, or are the same"
                )
            if known is None or (known.score is None and trial.score is not None):
                new.append(trial)
        self._database.execute("BEGIN")
        for trial in new:
            self.add(trial)
        self._database.execute("COMMIT")
        return len(new)


def _trial(row: tuple) -> Trial:
    method, seed, number, point, budget, canonical, score, reason, metrics, seconds, ended = row
    proposal = Proposal(tuple(json.loads(point)), budget)
    metrics = json.loads(metrics)
    return Trial(method, seed, number, proposal, canonical, score, reason, metrics, seconds, ended)
