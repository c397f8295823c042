"""Run folders, checkpoints, schedules."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.training import checkpoint
from jaxcv.training.randomness import Keys, key_data
from jaxcv.training.run import Run, write_atomically
from jaxcv.training.schedule import cosine_by_epoch, exponential_by_epoch, linear_by_epoch


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch):
    file = tmp_path / "file"
    write_atomically(file, "old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomically(file, "new")
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_run_that_never_began_leaves_its_folder_free(tmp_path):
    Run.create(tmp_path / "run", "search", {})
    run = Run.create(tmp_path / "run", "search", {"a": 1})
    run.begin()
    assert Run.open(tmp_path / "run", "search").config["a"] == 1
    with pytest.raises(ValueError, match="is not empty; allowed is a new folder, or --resume"):
        Run.create(tmp_path / "run", "search", {})
    with pytest.raises(ValueError, match="holds a search run; allowed is a train run"):
        Run.open(tmp_path / "run", "train")


def test_what_a_killed_process_left_half_written_stands_in_no_ones_way(tmp_path):
    (tmp_path / "genotype.json").write_text("{}")
    (tmp_path / "config.json.0123abcd.partial").write_text("{")
    run = Run.create(tmp_path, "train", {}, {"genotype.json": "[]"})
    run.begin()
    assert (tmp_path / "genotype.json").read_text() == "[]"
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match="is not empty"):
        Run.create(tmp_path, "train", {})


def test_metrics_after_a_step_are_forgotten(tmp_path):
    run = Run.create(tmp_path, "search", {})
    run.begin()
    for step in (1, 2, 3):
        run.log({"step": step})
    run.rewind(2)
    assert Run.open(tmp_path, "search").rows == [{"step": 1}, {"step": 2}]


def test_of_several_processes_only_the_first_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    run = Run.create(tmp_path / "run", "train", {"a": 1}, {"genotype.json": "{}"})
    run.begin()
    run.log({"step": 1})
    run.log({"step": 2})
    run.rewind(1)
    assert run.rows == [{"step": 1}] and run.config["a"] == 1
    assert not list(tmp_path.iterdir())


STATE = {"a": (jnp.arange(3.0), jnp.int32(7)), "b": jnp.eye(2), "c": jnp.bfloat16(1.5)}


def test_checkpoints_come_back_bit_for_bit_and_the_newest_two_are_kept(tmp_path):
    for step in (0, 5, 10):
        checkpoint.save(tmp_path, step, STATE | {"c": jnp.bfloat16(step)})
    assert checkpoint.steps(tmp_path) == [5, 10]
    step, state = checkpoint.restore_latest(tmp_path, STATE)
    assert step == 10
    np.testing.assert_array_equal(state["a"][0], [0, 1, 2])
    assert state["a"][1] == 7 and state["a"][1].dtype == np.int32
    np.testing.assert_array_equal(state["b"], [[1, 0], [0, 1]])
    assert state["c"] == 10 and state["c"].dtype == jnp.bfloat16


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("damage", ["truncate", "remove"])
def test_of_damaged_checkpoints_the_one_before_is_used(tmp_path, damage):
    for step in (5, 10):
        checkpoint.save(tmp_path, step, STATE)
    for file in [path for path in (tmp_path / "10").rglob("*") if path.is_file()]:
        if damage == "remove":
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="checkpoint 10 is damaged"):
        step, _ = checkpoint.restore_latest(tmp_path, STATE)
    assert step == 5


def test_damage_that_has_no_words_is_damage_too(tmp_path, monkeypatch):
    for step in (5, 10):
        checkpoint.save(tmp_path, step, STATE)
    load = checkpoint._load

    def silent(path, like):
        if path.name == "10":
            raise EOFError
        return load(path, like)

    monkeypatch.setattr(checkpoint, "_load", silent)
    with pytest.warns(UserWarning, match=r"checkpoint 10 is damaged \(EOFError\)"):
        assert checkpoint.restore_latest(tmp_path, STATE)[0] == 5


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_reading_removes_nothing_and_the_writer_what_is_no_good(tmp_path):
    for step in (5, 10):
        checkpoint.save(tmp_path, step, STATE)
    for file in [path for path in (tmp_path / "10").rglob("*") if path.is_file()]:
        file.unlink()
    (tmp_path / "15.half-written").mkdir()
    names = {"5", "10", "15.half-written"}
    assert checkpoint.restore_latest(tmp_path, STATE)[0] == 5
    assert {path.name for path in tmp_path.iterdir()} == names
    checkpoint.clear_after(tmp_path, 5)
    assert [path.name for path in tmp_path.iterdir()] == ["5"]
    checkpoint.clear_after(tmp_path, None)
    assert not list(tmp_path.iterdir())


def test_there_may_be_no_checkpoint(tmp_path):
    assert checkpoint.restore_latest(tmp_path / "none", STATE) is None


def test_schedules_are_constant_within_an_epoch():
    cosine, linear = cosine_by_epoch(0.025, 0.001, 50, 10), linear_by_epoch(0.2, 50, 10)
    exponential = exponential_by_epoch(0.1, 0.97, 10)
    for step in (0, 9, 10, 255, 499):
        epoch = step // 10
        expected = 0.001 + 0.024 * (1 + math.cos(math.pi * epoch / 50)) / 2
        assert float(cosine(step)) == pytest.approx(expected, rel=1e-6)
        assert float(linear(step)) == pytest.approx(0.2 * epoch / 50, rel=1e-6)
        assert float(exponential(step)) == pytest.approx(0.1 * 0.97**epoch, rel=1e-5)


def test_keys_differ_by_name_and_step():
    keys = Keys(jax.random.key(0))
    drawn = [jax.random.key_data(k).tolist() for k in (keys("a"), keys("b"), keys("a", 1))]
    assert len({tuple(each) for each in drawn}) == 3
    assert drawn[0] == jax.random.key_data(keys("a", 0)).tolist()


def test_a_key_outlives_the_state_that_carries_its_data():
    key = jax.random.key(7)
    data = key_data(key)
    assert jax.random.key_data(Keys(data).key).tolist() == jax.random.key_data(key).tolist()
    jax.jit(lambda data: data, donate_argnums=0)(data)
    assert data.is_deleted() and not jax.random.key_data(key).is_deleted()
