"""Text files as numbers, streams and segments of them."""

import gzip
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from search.recurrent import load_corpus
from search.recurrent.corpus import streams
from search.recurrent.evaluation import one_pass
from search.recurrent.segments import (
    Lengths,
    Place,
    move,
    padded_streams,
    segments_per_epoch,
    start,
    take,
)

PTB = Path(__file__).parents[4] / "shared" / "data" / "ptb"


def write(folder, **files):
    contents = {"train": "a b <unk>\nb a\n", "valid": " a c \n", "test": "b\n"} | files
    for name, content in contents.items():
        (folder / f"{name}.txt").write_text(content)
    return str(folder)


def test_three_files(tmp_path):
    corpus = load_corpus(write(tmp_path))
    assert corpus.vocabulary == ("a", "b", "<unk>", "<eos>")
    assert corpus.train.tolist() == [0, 1, 2, 3, 1, 0, 3]
    assert corpus.valid.tolist() == [0, 2, 3]
    assert corpus.test.tolist() == [1, 3]
    for name in ("train", "valid", "test"):
        path = tmp_path / f"{name}.txt"
        (tmp_path / f"{name}.txt.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    again = load_corpus(str(tmp_path))
    assert again.vocabulary == corpus.vocabulary
    np.testing.assert_array_equal(again.train, corpus.train)


@pytest.mark.skipif(not PTB.exists(), reason="no Penn Treebank here")
def test_penn_treebank():
    corpus = load_corpus(str(PTB))
    assert len(corpus.vocabulary) == 10_000
    assert [len(part) for part in (corpus.train, corpus.valid, corpus.test)] == [
        929_589,
        73_760,
        82_430,
    ]


def test_wrong_files_are_named(tmp_path):
    def refused(message, **files):
        with pytest.raises(ValueError, match=message):
            load_corpus(write(tmp_path, **files))

    refused("train.txt' has no words", train="")
    refused("valid.txt' has no words", valid="")
    refused("test.txt' has the word 'c' in line 2; allowed", train="a b\n", valid="a\n",
            test="a\nb c\n")  # fmt: skip
    (tmp_path / "test.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"test.txt' cannot be read .*; allowed is text in UTF-8"):
        load_corpus(str(tmp_path))
    (tmp_path / "test.txt").unlink()
    with pytest.raises(ValueError, match=r"has no test.txt or test.txt.gz; allowed is a folder"):
        load_corpus(str(tmp_path))
    (tmp_path / "test.txt.gz").write_bytes(gzip.compress(b"a\n" * 99)[:-9])
    with pytest.raises(ValueError, match=r"test.txt.gz' cannot be read"):
        load_corpus(str(tmp_path))


def test_streams():
    np.testing.assert_array_equal(streams(np.arange(11), 3), [[0, 3, 6], [1, 4, 7], [2, 5, 8]])
    with pytest.raises(ValueError, match="batch_size=6; allowed are 1 to 5"):
        streams(np.arange(11), 6)
    with pytest.raises(ValueError, match="batch_size=0; allowed is a positive int"):
        streams(np.arange(11), 0)


def test_segments_follow_each_other_to_the_end_and_begin_again():
    text = padded_streams(np.arange(14, dtype=np.int32), 2, 4)
    place = Place(jnp.int32(0), jnp.ones((2, 3)))
    words, targets = [], []
    for drawn, length in ((4, 4), (4, 2)):
        segment = take(text, place, drawn, 4, None)
        assert int(segment.length) == length and segment.words.shape == (4, 2)
        words += segment.words[:length].tolist()
        targets += segment.targets[:length].tolist()
        np.testing.assert_array_equal(segment.hidden, place.hidden)
        place = move(text, place, segment.length, 4)
    assert words == [[i, 7 + i] for i in range(6)]
    assert targets == [[i, 7 + i] for i in range(1, 7)]
    assert int(place.position) == 0
    np.testing.assert_array_equal(place.hidden, start(2, 3).hidden)


def test_lengths():
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = np.asarray(jax.vmap(Lengths(35).draw)(keys))
    assert set(drawn.tolist()) == {35, 17}
    # Four standard deviations.
    assert (drawn == 17).mean() == pytest.approx(0.05, abs=0.014)

    varied = Lengths(35, 5.0)
    drawn = np.asarray(jax.vmap(varied.draw)(keys))
    assert drawn.min() >= 5 and drawn.max() <= varied.limit == 55
    random = np.random.default_rng(0)
    means = np.where(random.random(40_000) < 0.05, 17.5, 35)
    expected = np.maximum(5, random.normal(means, 5).astype(int))
    # Four standard deviations.
    assert drawn.mean() == pytest.approx(expected.mean(), abs=0.45)
    assert drawn.std() == pytest.approx(expected.std(), abs=0.45)
    assert drawn.mean() == pytest.approx(varied.average, rel=0.03)

    text = padded_streams(np.zeros(35_010, np.int32), 10, 35)
    assert segments_per_epoch(text, Lengths(35)) == round(100 / 0.975)


def test_a_pass_has_every_word_once():
    text = one_pass(np.arange(12), 3, 3)
    assert text.words.shape == text.targets.shape == text.counts.shape == (2, 3, 3)
    np.testing.assert_array_equal(np.sort(text.targets[text.counts]), np.arange(1, 12))
    np.testing.assert_array_equal(text.targets[text.counts], text.words[text.counts] + 1)
    # The first stream: words 0 to 3 in two pieces.
    assert text.words[:, :, 0].ravel()[text.counts[:, :, 0].ravel()].tolist() == [0, 1, 2, 3]
