"""The language model: published size, padding, carried hidden state, dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import search
from jaxcv.analysis import count_parameters
from jaxcv.genotype import RECURRENT, published, published_recurrent
from search.recurrent import (
    Dropout,
    LanguageModel,
    SearchCell,
    network,
    recurrent,
)
from search.recurrent.model import Segment, read

VOCABULARY, UNITS, BATCH, STEPS = 7, 4, 3, 6
V2 = published_recurrent["DARTS_V2"]


def small(kind):
    if kind == "discrete":
        genotype = search.random_genotype(recurrent(3), jax.random.key(0))
        return network(genotype, UNITS, VOCABULARY, rngs=nnx.Rngs(0)), ()
    cell = SearchCell(recurrent(3).cells[RECURRENT], UNITS, rngs=nnx.Rngs(0))
    mix = jax.random.uniform(jax.random.key(1), (6, 5))
    return LanguageModel(cell, UNITS, VOCABULARY, rngs=nnx.Rngs(0)), (mix,)


def segment(masks=None):
    words = jax.random.randint(jax.random.key(2), (STEPS + 1, BATCH), 0, VOCABULARY)
    hidden = jax.random.normal(jax.random.key(3), (BATCH, UNITS))
    return Segment(words[:-1], words[1:], jnp.int32(STEPS), hidden, masks)


def test_published_parameters():
    model = nnx.eval_shape(lambda: network(V2, 850, 10_000, rngs=nnx.Rngs(0)))
    # The embedding, the decoder's bias, W_0 and the eight others: 23 M.
    expected = 10_000 * 850 + 10_000 + 1700 * 1700 + 8 * 850 * 1700
    assert count_parameters(model) == expected == 22_960_000


def test_initial_values():
    model, _ = small("discrete")
    weights = nnx.to_pure_dict(nnx.state(model))
    assert not weights.pop("bias").any()
    for leaf in jax.tree.leaves(weights):
        assert 0.02 < float(jnp.abs(leaf).max()) < 0.04


@pytest.mark.parametrize("kind", ["discrete", "mixed"])
def test_padding_has_no_influence(kind):
    model, mix = small(kind)
    graph, weights = nnx.split(model)
    masks = Dropout(words=0.2).masks(jax.random.key(4), VOCABULARY, BATCH, UNITS)
    short = segment(masks)

    @jax.jit
    def found(weights, segment, length):
        def loss(weights):
            of = read(nnx.merge(graph, weights), segment._replace(length=length), *mix)
            return of.loss + of.change, of

        return jax.value_and_grad(loss, has_aux=True)(weights)

    expected = found(weights, short, jnp.int32(STEPS))
    for filling in (0, 5):
        padding = jnp.full((2, BATCH), filling)
        padded = short._replace(
            words=jnp.concatenate([short.words, padding]),
            targets=jnp.concatenate([short.targets, padding]),
        )
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-7),
            found(weights, padded, jnp.int32(STEPS)),
            expected,
        )


@pytest.mark.parametrize("kind", ["discrete", "mixed"])
def test_two_segments_with_the_hidden_state_carried_are_one(kind):
    model, mix = small(kind)
    words, _, _, hidden, _ = segment()
    whole = model(words, hidden, *mix)
    first = model(words[:2], hidden, *mix)
    second = model(words[2:], first.hidden, *mix)
    for name in ("logits", "states"):
        halves = jnp.concatenate([getattr(first, name), getattr(second, name)])
        np.testing.assert_allclose(halves, getattr(whole, name), 1e-5, 1e-7)
    np.testing.assert_allclose(second.hidden, whole.hidden, 1e-5, 1e-7)


def test_masks():
    masks = Dropout(0.1, 0.2, 0.3, 0.4, 0.5).masks(jax.random.key(0), 2000, 20, 100)
    for mask, rate in zip(masks, (0.1, 0.2, 0.3, 0.4, 0.5), strict=True):
        values, counts = np.unique(mask, return_counts=True)
        np.testing.assert_allclose(values, [0, 1 / (1 - rate)], 1e-6)
        assert counts[0] / mask.size == pytest.approx(rate, abs=0.05)
    assert masks.words.shape == (2000,) and masks.hidden.shape == (20, 100)
    assert not np.array_equal(masks.inputs > 0, masks.outputs > 0)
    with pytest.raises(ValueError, match="hidden=1; allowed is a probability"):
        Dropout(hidden=1)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="genotype has cells of kind normal, reduce"):
        network(published["DARTS_V2"], 4, 7, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="units=0; allowed is a positive int"):
        network(V2, 0, 7, rngs=nnx.Rngs(0))
    model, _ = small("mixed")
    with pytest.raises(ValueError, match=r"mix has shape \(6, 4\); allowed is \(6, 5\)"):
        model(segment().words, segment().hidden, jnp.zeros((6, 4)))
