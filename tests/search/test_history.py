"""The file that searches go on from."""

import sqlite3

import pytest

from search.history import History, Trial
from search.strategies import Proposal


def trial(number, method="one", seed=0, score=0.5, point=(1, 2), **changed):
    reason = None if score is not None else "ValueError: no"
    whole = Trial(
        method, seed, number, Proposal(point), "text", score, reason, {"a": 1.5}, 0.1, "2026"
    )
    return whole._replace(**changed)


def test_trials_come_back_as_they_were(tmp_path):
    trials = [trial(0), trial(1, score=None, metrics={}), trial(0, "two", 3, 1 / 3)]
    trials.append(trial(2, proposal=Proposal((0, 1, 2), 9)))
    with History(tmp_path / "h.sqlite") as history:
        for one in reversed(trials):
            history.add(one)
        assert history.trials("one", 0) == [trials[0], trials[1], trials[3]]
    with History(tmp_path / "h.sqlite") as history:
        assert history.trials("two", 3) == [trials[2]] and history.trials("two", 0) == []
        assert history.searches() == [("one", 0), ("two", 3)]
        assert len(list(history)) == 4
    database = sqlite3.connect(tmp_path / "h.sqlite")
    rows = database.execute("SELECT status FROM trials WHERE method = 'one' ORDER BY number")
    assert rows.fetchall() == [("done",), ("failed",), ("done",)]
    database.close()


def test_a_row_is_on_the_disk_at_once(tmp_path):
    with History(tmp_path / "h.sqlite") as one, History(tmp_path / "h.sqlite") as other:
        one.add(trial(0))
        assert other.trials("one", 0) == [trial(0)]
        other.add(trial(1))
        assert one.trials("one", 0) == [trial(0), trial(1)]


def test_merged_histories_have_the_trials_of_both(tmp_path):
    with History(tmp_path / "a") as one, History(tmp_path / "b") as other:
        for each in (trial(0), trial(1, score=None), trial(2)):
            one.add(each)
        for each in (trial(1), trial(2, score=0.7), trial(0, seed=1), trial(3)):
            other.add(each)
        assert one.merge(other) == 3
        assert one.trials("one", 0) == [trial(0), trial(1), trial(2), trial(3)]
        assert one.trials("one", 1) == [trial(0, seed=1)]
        assert one.merge(other) == 0
        other.add(trial(0, point=(2, 2)))
        other.add(trial(9))
        with pytest.raises(ValueError, match="trial 0 of one with seed 0"):
            one.merge(other)
        assert len(one.trials("one", 0)) == 4


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text").write_text("not a database, but long enough for its header" * 9)
    other = sqlite3.connect(tmp_path / "other")
    other.execute("CREATE TABLE a (b)")
    other.close()
    for path in ("text", "other", "no/such/folder"):
        with pytest.raises(ValueError, match=r"history=.*allowed is a new file"):
            History(tmp_path / path)
