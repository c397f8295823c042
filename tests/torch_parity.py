"""A network against its independent PyTorch version, in float64, under the same weights."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch_weights
from flax import nnx, traverse_util

CLASSES = 5

# What comes after a family's names, which are of its layers.
_LEAVES = (
    (r"(kernel|scale)$", "weight"),
    (r"offset$", "bias"),
    (r"mean$", "running_mean"),
    (r"variance$", "running_var"),
)
_AXES = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}


def their_name(path, names):
    """What PyTorch calls the variable at a path of ours, by a family's table of names."""
    name = ".".join(map(str, path))
    for pattern, replacement in (*names, *_LEAVES):
        name = re.sub(pattern, replacement, name)
    return name


def tree(ours, theirs, names, kind=nnx.Param, of=torch.clone):
    """The pure dict of our variables of a kind, with what is taken of their tensors."""
    tensors = dict(theirs.named_parameters()) | dict(theirs.named_buffers())

    def read(path, variable):
        array = of(tensors[their_name(path, names)]).detach().numpy()
        array = array.transpose(_AXES[array.ndim])
        assert array.shape == variable.shape, (path, array.shape, variable.shape)
        return jnp.asarray(array)

    flat = traverse_util.flatten_dict(nnx.to_pure_dict(nnx.state(ours, kind)))
    return traverse_util.unflatten_dict({path: read(path, each) for path, each in flat.items()})


def same_names(ours, theirs, names):
    """Asserts that every variable has its tensor, of the same size, and every tensor its variable.

    Args:
        ours, theirs: networks, which may be without values (abstract, on the "meta" device).
        names: table of names of ours.
    """
    variables = traverse_util.flatten_dict(nnx.to_pure_dict(nnx.state(ours)))
    found = {their_name(path, names): each.shape for path, each in variables.items()}
    expected = {
        name: tuple(tensor.shape[axis] for axis in _AXES[tensor.ndim])
        for name, tensor in theirs.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert len(found) == len(variables)
    assert found == expected


def compare(make, theirs, names, shape, heads=("logits",)):
    """Asserts that both compute the same in training, with gradients by all weights and by the
    images and moved statistics, and then in evaluation. Nothing is dropped at random.

    Args:
        make: ours, of ``(CLASSES, inputs=, dtype=, rngs=)``.
        theirs: module; puts out the logits, or a tuple of what its heads do, of which there may be
            fewer in evaluation.
        names: table of names of ours.
        shape: of the images, [batch, height, width, channels].
        heads: names of our features that are compared, in the order of theirs.
    """
    with jax.enable_x64(True):
        _compare(make, theirs.double(), names, shape, heads)


def _compare(make, theirs, names, shape, heads):
    _randomize(theirs)
    ours = nnx.eval_shape(
        lambda: make(CLASSES, inputs=shape[-1], dtype=jnp.float64, rngs=nnx.Rngs(0))
    )
    same_names(ours, theirs, names)
    graph, _ = nnx.split(ours)
    weights = tree(ours, theirs, names)
    statistics = tree(ours, theirs, names, nnx.BatchStat)
    random = np.random.default_rng(0)
    x = random.normal(size=shape)
    pull_with = {head: random.normal(size=(shape[0], CLASSES)) for head in heads}

    def their_heads():
        found = theirs(their_x)
        found = found if isinstance(found, tuple) else (found,)
        return dict(zip(heads, (each for each in found if each is not None), strict=False))

    their_x = torch_weights.to_torch(x).requires_grad_()
    theirs.train()
    for layer in theirs.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.eval()
    expected = their_heads()
    assert tuple(expected) == tuple(heads)
    torch.autograd.backward(
        list(expected.values()), [torch.from_numpy(each) for each in pull_with.values()]
    )

    @torch_weights.quick_jit
    def run(weights, statistics, x, pull_with):
        def call(weights, x):
            network = nnx.merge(graph, weights, statistics)
            found = network.features(x, heads, train=True)
            return found, nnx.to_pure_dict(nnx.state(network, nnx.BatchStat))

        found, pull, moved = jax.vjp(call, weights, x, has_aux=True)
        evaluated = nnx.merge(graph, weights, moved).features(x, heads)
        return found, moved, pull(pull_with), evaluated

    found, moved, (weight_gradients, x_gradient), evaluated = run(
        weights, statistics, jnp.asarray(x), jax.tree.map(jnp.asarray, pull_with)
    )
    torch_weights.close(found, {head: each.detach().numpy() for head, each in expected.items()})
    torch_weights.close(moved, tree(ours, theirs, names, nnx.BatchStat))
    # Before a batch norm, a shift has no gradient but for rounding.
    torch_weights.close(
        weight_gradients,
        tree(ours, theirs, names, of=torch_weights.gradient),
        rounding=1e-14,
    )
    torch_weights.close(x_gradient, torch_weights.from_torch(their_x.grad))
    theirs.eval()
    with torch.no_grad():
        evaluation = {head: each.numpy() for head, each in their_heads().items()}
    torch_weights.close({head: evaluated[head] for head in evaluation}, evaluation)


def _randomize(theirs):
    """Draws all values anew, so that they do not depend on what was drawn before."""
    torch.manual_seed(0)
    for layer in theirs.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    torch_weights.randomize(theirs, seed=1)
