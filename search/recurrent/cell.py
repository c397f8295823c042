"""The recurrent cell of DARTS (arXiv:1806.09055): discrete, and with every edge mixed.

State 0 is ``s_0 = h + sigmoid(c) * (tanh(g) - h)`` with ``[c, g] = [x, h] W_0`` of the word's
embedding x and the hidden state h. Node i is ``s_i = s + sigmoid(c) * (f(g) - s)`` with
``[c, g] = s W_i`` of an earlier state s and its activation f. The new hidden state is the mean of
the nodes. Dropout's mask multiplies what is multiplied by a matrix, not what is added to.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv.blocks.operations import ACTIVATIONS
from jaxcv.functional import batch_norm
from jaxcv.functional._arguments import positive
from jaxcv.genotype import Cell
from search.recurrent.space import RecurrentCellSpace

# Of what ``project`` made of a word [batch, 2 units] and a hidden state: the next hidden state.
Step = Callable[[jax.Array, jax.Array], jax.Array]


def uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Uniform in +-0.04, as all weights of the published language models are at first."""
    return jax.random.uniform(key, shape, minval=-0.04, maxval=0.04)


def highway(
    state: jax.Array, product: jax.Array, activation: Callable[[jax.Array], jax.Array]
) -> jax.Array:
    """``s + sigmoid(c) * (f(g) - s)``.

    Args:
        state: s [batch, units].
        product: c and g, side by side [batch, 2 units].
        activation: f.
    """
    gate, candidate = jnp.split(product, 2, -1)
    return state + jax.nn.sigmoid(gate) * (activation(candidate) - state)


def masked(x: jax.Array, mask: jax.Array | None) -> jax.Array:
    return x if mask is None else x * mask


class Kernels(nnx.Module):
    """The matrices of a recurrent cell, and the state that it starts from.

    Args:
        nodes: number of nodes.
        units: size of the hidden state, and of a word's embedding.
        rngs: source of the initial values.

    Attributes:
        word, hidden: the two halves of W_0, each [units, 2 units].
        nodes: W_1, W_2, ... [nodes, units, 2 units].
    """

    def __init__(self, nodes: int, units: int, *, rngs: nnx.Rngs):
        positive(nodes=nodes, units=units)
        self.word = nnx.Param(uniform(rngs.params(), (units, 2 * units)))
        self.hidden = nnx.Param(uniform(rngs.params(), (units, 2 * units)))
        self.nodes = nnx.Param(uniform(rngs.params(), (nodes, units, 2 * units)))

    def project(self, x: jax.Array) -> jax.Array:
        """The words' part of ``[x, h] W_0``, of any number of steps at once: [..., units] to
        [..., 2 units]."""
        return x @ self.word[...]

    def start(self, projected: jax.Array, hidden: jax.Array, mask: jax.Array | None) -> jax.Array:
        """State 0 [batch, units]."""
        product = projected + masked(hidden, mask) @ self.hidden[...]
        return highway(hidden, product, jnp.tanh)


class RecurrentCell(nnx.Module):
    """A discrete recurrent cell.

    Args:
        cell: of a genotype, of kind "recurrent".
        units: size of the hidden state, and of a word's embedding.
        rngs: source of the initial values.
    """

    def __init__(self, cell: Cell, units: int, *, rngs: nnx.Rngs):
        self.kernels = Kernels(len(cell.nodes), units, rngs=rngs)
        self.edges = tuple(edge for (edge,) in cell.nodes)
        self.output = cell.output.states

    def step(self, mask: jax.Array | None) -> Step:
        """The cell, under a mask [batch, units] of the hidden state and the nodes, if any."""
        # Taken apart here, as within a scan the gradient would be put together at each step.
        kernels = tuple(self.kernels.nodes[...])

        def step(projected: jax.Array, hidden: jax.Array) -> jax.Array:
            states = [self.kernels.start(projected, hidden, mask)]
            for kernel, (activation, source) in zip(kernels, self.edges, strict=True):
                state = states[source]
                product = masked(state, mask) @ kernel
                states.append(highway(state, product, ACTIVATIONS[activation]))
            first, *others = (states[state] for state in self.output)
            return sum(others, first) / len(self.output)

        return step


class SearchCell(nnx.Module):
    """A recurrent cell whose every edge is mixed.

    The edges into a node share its matrix. State 0 and each node, the sum of its edges, go through
    a batch norm without scale and offset, which keeps no statistics; so the cell is a pure
    function.

    Args:
        cell: what it may become.
        units: size of the hidden state, and of a word's embedding.
        rngs: source of the initial values.
    """

    def __init__(self, cell: RecurrentCellSpace, units: int, *, rngs: nnx.Rngs):
        self.kernels = Kernels(cell.nodes, units, rngs=rngs)
        self.shape = cell.allowed.shape
        self.columns = tuple(
            tuple((cell.vocabulary.index(name), name) for name in names if name != "none")
            for names in cell.primitives
        )

    def step(self, mask: jax.Array | None, mix: jax.Array) -> Step:
        """The cell, under a mask [batch, units] of the hidden state and the nodes, if any, and
        mixing weights [edges, activations].

        Raises:
            ValueError: for mixing weights of another shape.
        """
        if mix.shape != self.shape:
            # Checked here, since an index beyond an array raises nothing in JAX.
            raise ValueError(f"mix has shape {mix.shape}; allowed is {self.shape}")
        kernels = tuple(self.kernels.nodes[...])
        # A weight for each unit, so that its gradient is summed over the batch at each step, which
        # is a sum of vectors, and over the units only once.
        units = kernels[0].shape[0]
        weights = [
            [(ACTIVATIONS[name], jnp.broadcast_to(mix[edge, k], units)) for k, name in columns]
            for edge, columns in enumerate(self.columns)
        ]

        def step(projected: jax.Array, hidden: jax.Array) -> jax.Array:
            batch = len(hidden)
            states = [_normalized(self.kernels.start(projected, hidden, mask))]
            inputs = masked(states[0], mask)
            edges = iter(weights)
            for number, kernel in enumerate(kernels):
                products = (inputs @ kernel).reshape(number + 1, batch, -1)
                node = jnp.zeros_like(hidden)
                for state, product in zip(states, products, strict=True):
                    node += _mixed(state, product, next(edges))
                states.append(_normalized(node))
                inputs = jnp.concatenate([inputs, masked(states[-1], mask)])
            return sum(states[2:], states[1]) / len(kernels)

        return step


def _normalized(x: jax.Array) -> jax.Array:
    return batch_norm(x)[0]


def _mixed(
    state: jax.Array,
    product: jax.Array,
    mixture: list[tuple[Callable[[jax.Array], jax.Array], jax.Array]],
) -> jax.Array:
    """``sum_k m_k (s + sigmoid(c) * (f_k(g) - s))``."""
    gate, candidate = jnp.split(product, 2, -1)
    total, candidates = jnp.zeros_like(state), jnp.zeros_like(state)
    for activation, weight in mixture:
        total += weight * state
        candidates += weight * activation(candidate)
    return total + jax.nn.sigmoid(gate) * (candidates - total)
