"""The recurrent cells, the language model and steps of search and training against PyTorch, in
float64, with dropout whose masks are given to both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcv.genotype import RECURRENT, published_recurrent
from search.recurrent import step, training
from search.recurrent.corpus import Corpus
from search.recurrent.dropout import Masks
from search.recurrent.evaluation import evaluator, one_pass
from search.recurrent.model import LanguageModel, Segment, read
from search.recurrent.space import recurrent
from search.recurrent.training import network

torch = pytest.importorskip("torch")

import torch_recurrent  # noqa: E402
import torch_weights  # noqa: E402

VOCABULARY, UNITS, BATCH, STEPS = 11, 5, 4, 6
RATES = {"words": 0.3, "embedded": 0.2, "inputs": 0.5, "hidden": 0.25, "outputs": 0.5}
CORPUS = Corpus("tiny", tuple("abcdefghijk"), *(np.arange(40 * BATCH, dtype=np.int32) % 11,) * 3)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def tree(model, of=torch.clone):
    """Numbers of their model in the form of ours."""
    first, *others = (of(each).detach().numpy() for each in [model.cell.first, *model.cell.others])
    kernels = {"word": first[:UNITS], "hidden": first[UNITS:], "nodes": np.stack(others)}
    return {
        "cell": {"kernels": jax.tree.map(jnp.asarray, kernels)},
        "embedding": jnp.asarray(of(model.embedding).detach().numpy()),
        "bias": jnp.asarray(of(model.bias).detach().numpy()),
    }


def theirs(edges=None, scale=20.0):
    """A model of theirs in float64, with weights large enough for all that is not linear."""
    torch.manual_seed(0)
    cell = (
        torch_recurrent.SearchCell(3, UNITS)
        if edges is None
        else torch_recurrent.Cell(edges, UNITS)
    )
    model = torch_recurrent.LanguageModel(cell, VOCABULARY).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight *= scale
        model.bias.normal_()
    return model


def masks(seed):
    """Masks for them and for us."""
    torch.manual_seed(seed)
    drawn = torch_recurrent.masks(RATES, VOCABULARY, BATCH, UNITS)
    drawn = {name: mask.double() for name, mask in drawn.items()}
    return drawn, Masks(**{name: jnp.asarray(mask.numpy()) for name, mask in drawn.items()})


def segments(seed, length=STEPS, padding=0, dropout=True):
    """A segment, (words, targets, hidden state) and masks of theirs, and ours."""
    random = np.random.default_rng(seed)
    words, targets = random.integers(VOCABULARY, size=(2, length, BATCH))
    hidden = random.normal(size=(BATCH, UNITS))
    their_masks, our_masks = masks(seed) if dropout else (None, None)
    filled = [
        jnp.asarray(np.concatenate([each, random.integers(VOCABULARY, size=(padding, BATCH))]))
        for each in (words, targets)
    ]
    ours = Segment(*filled, jnp.int32(length), jnp.asarray(hidden), our_masks)
    return (*map(torch.from_numpy, (words, targets)), torch.from_numpy(hidden)), their_masks, ours


def edges_of(genotype):
    return [edge for (edge,) in genotype.cells[RECURRENT].nodes]


def compare_reading(their_model, ours, *their_mix, dropout):
    """Loss, temporal change, hidden state and all gradients of a segment with padding."""
    segment, their_masks, our_segment = segments(1, padding=2, dropout=dropout)
    mix = [jnp.asarray(each.detach().numpy()) for each in their_mix]
    loss, change, hidden = torch_recurrent.losses(
        their_model, *segment, *their_mix, masks=their_masks
    )
    (loss + 0.1 * change).backward()
    graph, _ = nnx.split(ours)

    @torch_weights.quick_jit
    def value(weights, mix):
        def total(weights, mix):
            found = read(nnx.merge(graph, weights), our_segment, *mix)
            return found.loss + 0.1 * found.change, found

        return jax.value_and_grad(total, (0, 1), has_aux=True)(weights, mix)

    (_, found), (by_weights, by_mix) = value(tree(their_model), mix)
    for name, expected in (("loss", loss), ("change", change), ("hidden", hidden)):
        torch_weights.close(np.asarray(getattr(found, name)), expected.detach().numpy())
    torch_weights.close(by_weights, tree(their_model, torch_weights.gradient))
    torch_weights.close(by_mix, [jnp.asarray(each.grad.numpy()) for each in their_mix])


@pytest.mark.parametrize("name", published_recurrent)
@pytest.mark.parametrize("dropout", [True, False])
def test_language_model(name, dropout):
    genotype = published_recurrent[name]
    ours = nnx.eval_shape(lambda: network(genotype, UNITS, VOCABULARY, rngs=nnx.Rngs(0)))
    compare_reading(theirs(edges_of(genotype)), ours, dropout=dropout)


@pytest.mark.parametrize("dropout", [True, False])
def test_supernet(dropout):
    cell = recurrent(3).cells[RECURRENT]
    ours = nnx.eval_shape(
        lambda: LanguageModel(
            step.SearchCell(cell, UNITS, rngs=nnx.Rngs(0)), UNITS, VOCABULARY, rngs=nnx.Rngs(0)
        )
    )
    mix = torch.rand(6, 5, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    compare_reading(theirs(), ours, mix, dropout=dropout)


@pytest.mark.parametrize("gradient", ["first_order", "second_order"])
def test_steps_of_the_search(gradient):
    config = step.Config(units=UNITS, batch_size=BATCH, bptt=8, gradient=gradient)
    search = step.build(recurrent(3), config, CORPUS)
    their_model = theirs(scale=10.0)
    random = np.random.default_rng(0)
    alphas = random.normal(size=(6, 5))
    searching = torch_recurrent.Search(
        their_model,
        torch.from_numpy(alphas.copy()),
        second_order=gradient == "second_order",
        steps=8,
    )
    zeros = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
        jax.eval_shape(search.init, jax.random.key(0)),
    )
    state = zeros._replace(weights=tree(their_model), alphas={RECURRENT: jnp.asarray(alphas)})
    update = torch_weights.quick_jit(search.update.__wrapped__)
    losses = np.zeros(2)
    # A segment of full length, and one of half with padding, for which the rate is halved.
    for number, (length, padding) in enumerate([(8, 0), (4, 4), (8, 0)]):
        train, train_masks, our_train = segments(2 * number, length, padding)
        valid, valid_masks, our_valid = segments(2 * number + 1, 8)
        state = update(state, our_train, our_valid)
        loss, valid_loss, hidden, valid_hidden = searching.step(
            train, valid, train_masks, valid_masks
        )
        losses += loss.numpy(), valid_loss.numpy()
        torch_weights.close(state.weights, tree(their_model))
        torch_weights.close(state.alphas[RECURRENT], searching.alphas.detach().numpy())
        np.testing.assert_allclose(state.train.hidden, hidden.numpy(), 1e-9)
        np.testing.assert_allclose(state.valid.hidden, valid_hidden.numpy(), 1e-9)
        sums = [float(state.sums[name]) for name in ("loss", "valid_loss")]
        np.testing.assert_allclose(sums, losses, 1e-9)


def test_steps_of_training():
    genotype = published_recurrent["DARTS_V2"]
    config = training.Config(units=UNITS, batch_size=BATCH, bptt=8)
    built = training.build(genotype, config, vocabulary=VOCABULARY, words=CORPUS.train)
    their_model = theirs(edges_of(genotype), scale=10.0)
    zeros = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
        jax.eval_shape(built.init, jax.random.key(0)),
    )
    state = zeros._replace(weights=tree(their_model), average=tree(their_model))
    update = torch_weights.quick_jit(built.update.__wrapped__)
    for number, (length, padding) in enumerate([(8, 1), (5, 4)]):
        segment, their_masks, ours = segments(number, length, padding)
        state = update(state, ours)
        _, hidden = torch_recurrent.train_step(
            their_model, segment, 20.0 * length / 8, masks=their_masks
        )
        torch_weights.close(state.weights, tree(their_model))
        torch_weights.close(state.average, tree(their_model))
        np.testing.assert_allclose(state.place.hidden, hidden.numpy(), 1e-9)


def test_loss_on_a_whole_text():
    genotype = published_recurrent["DARTS_V1"]
    their_model = theirs(edges_of(genotype))
    ours = nnx.eval_shape(lambda: network(genotype, UNITS, VOCABULARY, rngs=nnx.Rngs(0)))
    words = np.random.default_rng(0).integers(VOCABULARY, size=62)
    # 61 words to tell in 4 streams of 16, the last of them shorter, in pieces of 7.
    loss = evaluator(nnx.split(ours)[0])(tree(their_model), one_pass(words, 4, 7))
    expected = torch_recurrent.mean_loss(their_model, torch.from_numpy(words), 4, 7)
    np.testing.assert_allclose(loss, expected, 1e-9)
