"""Averaged SGD against plain loops; real steps, resumed runs, and what they leave behind."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import search
from jaxcv.genotype import RECURRENT, published_recurrent
from jaxcv.training import checkpoint
from jaxcv.training.run import Run
from search import recurrent
from search.recurrent import training
from search.recurrent.training import add_to_average, rises

V1 = published_recurrent["DARTS_V1"]
DROPOUT = recurrent.Dropout(0.1, 0.1, 0.1, 0.1, 0.1)
SEARCH = recurrent.SearchConfig(
    units=4,
    epochs=2,
    batch_size=8,
    bptt=5,
    learning_rate=4.0,
    dropout=DROPOUT,
    alpha_learning_rate=0.1,
)
TRAIN = recurrent.TrainConfig(
    units=4, epochs=3, batch_size=20, bptt=8, dropout=DROPOUT, patience=0, learning_rate=4.0
)


def corpus():
    """A text whose next word the last one says."""
    words = np.arange(2000, dtype=np.int32) % 6
    return recurrent.Corpus("counting", tuple("abcdef"), words, words[:90], words[:60])


def test_averaging_begins_where_a_plain_loop_says():
    random = np.random.default_rng(0)
    for patience in (0, 1, 5):
        for _ in range(20):
            losses = random.normal(size=12) - 0.1 * np.arange(12)
            before, begun = [], []
            for loss in losses:
                kept = before[: len(before) - patience] if len(before) > patience else []
                begun.append(bool(kept) and loss > min(kept))
                before.append(loss)
            # What stands behind the epochs so far must not count.
            known = [np.where(np.arange(12) < epoch, losses, -99) for epoch in range(12)]
            ours = [rises(jnp.asarray(known[e]), e, losses[e], patience) for e in range(12)]
            assert [bool(each) for each in ours] == begun


def test_the_average_is_the_mean_since_it_began():
    weights = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    average, count = weights[0], jnp.int32(0)
    for number, w in enumerate(weights[1:], 1):
        average, count = add_to_average(average, count, w)
        if number < 3:
            np.testing.assert_array_equal(average, w)
        else:
            np.testing.assert_allclose(average, weights[3 : number + 1].mean(0), 1e-5)
        if number == 3:
            count = jnp.int32(1)
    assert int(count) == 4


def arrays(folder):
    newest = checkpoint.steps(folder / "checkpoints")[-1]
    from orbax.checkpoint import v1 as ocp

    return {k: np.asarray(v) for k, v in ocp.load(folder / "checkpoints" / str(newest)).items()}


def rows(folder):
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row in found:
        del row["seconds"], row["words_per_second"]
    return found


def stopped_and_resumed(tmp_path, create, work):
    """The folders of a run that never stops, and of one that is stopped in its second epoch."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    result = work(create(whole))
    run, log = create(parts), Run.log

    def stop(self, row):
        log(self, row)
        if len(self.rows) == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "log", stop)
        with pytest.raises(KeyboardInterrupt):
            work(run)
    work(Run.open(parts, run.config["kind"]))
    return whole, parts, result


def assert_same_bits(whole, parts):
    assert rows(whole) == rows(parts)
    first, second = arrays(whole), arrays(parts)
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], name)


def test_a_search_learns_resumes_to_the_same_bits_and_discretizes(tmp_path):
    space = recurrent.recurrent(2)
    whole, parts, found = stopped_and_resumed(
        tmp_path,
        lambda path: Run.create(path, "language_search", {}),
        lambda run: recurrent.run(space, corpus(), SEARCH, folder=run, progress=False),
    )
    assert_same_bits(whole, parts)
    first, last = found.history
    assert last["loss"] < first["loss"] < np.log(6) + 0.1
    assert last["perplexity"] == pytest.approx(np.exp(last["loss"]))
    assert np.array(last["mix"][RECURRENT]).shape == (3, 5)
    assert np.abs(found.alphas[RECURRENT]).max() > 0.1
    assert found.genotype == search.discretize(space, {RECURRENT: np.array(last["mix"][RECURRENT])})
    assert (parts / "genotype.json").read_text() == found.genotype.to_json()


def test_a_training_learns_averages_resumes_to_the_same_bits_and_loads(tmp_path):
    whole, parts, trained = stopped_and_resumed(
        tmp_path,
        lambda path: recurrent.create_run(path, V1, corpus(), TRAIN),
        lambda run: recurrent.train(V1, corpus(), TRAIN, folder=run, progress=False),
    )
    assert_same_bits(whole, parts)
    history = trained.history
    assert history[-1]["valid_perplexity"] < history[0]["valid_perplexity"] < 6.5
    assert recurrent.best(history)["valid_loss"] == min(row["valid_loss"] for row in history)

    model, vocabulary = recurrent.load(parts)
    assert vocabulary == tuple("abcdef")
    words = jnp.asarray(corpus().valid[:6, None])
    expected = trained.model(words, jnp.zeros((1, 4))).logits
    np.testing.assert_array_equal(model(words, jnp.zeros((1, 4))).logits, expected)


def test_a_validation_loss_that_rises_begins_the_averaging():
    words = corpus().train
    config = dataclasses.replace(TRAIN, patience=1, epochs=4)
    built = training.build(V1, config, vocabulary=6, words=words)
    state, averaged = built.init(jax.random.key(0)), []
    for epoch, loss in enumerate([1.0, 3.0, 2.0, 9.0], 1):
        state = state._replace(step=jnp.int32(epoch * built.steps_per_epoch))
        state = built.record(state, jnp.float32(loss))
        averaged.append(int(state.averaged))
    # The second is compared with none; the third is larger than the first; it stays so.
    assert averaged == [0, 0, 1, 1]
    np.testing.assert_array_equal(state.losses, [1, 3, 2, 9])


def test_wrong_settings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="batch_size=1200; allowed are 1 to 1000"):
        recurrent.train(V1, corpus(), recurrent.TrainConfig(batch_size=1200))
    with pytest.raises(ValueError, match="batch_size=60; allowed are 1 to 45"):
        recurrent.run(recurrent.recurrent(), corpus(), recurrent.SearchConfig(batch_size=60))
    with pytest.raises(ValueError, match="bptt=0; allowed is a positive int"):
        recurrent.SearchConfig(bptt=0)
    with pytest.raises(ValueError, match="gradient='unrolled'; allowed are first_order, second_"):
        recurrent.SearchConfig(gradient="unrolled")
    with pytest.raises(ValueError, match=r"clip=0; allowed is a positive number"):
        recurrent.TrainConfig(clip=0)
    with pytest.raises(ValueError, match=r"patience=-1; allowed is at least 0"):
        recurrent.TrainConfig(patience=-1)
    Run.create(tmp_path / "run", "language", {}).begin()
    with pytest.raises(ValueError, match="does not describe a training"):
        recurrent.load(tmp_path / "run")
