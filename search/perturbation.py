"""Selection by perturbation: what stays is what the supernet misses most (DARTS+PT,
arXiv:2108.04392).

After the search an edge is decided: each of its primitives is taken out in turn, and the one whose
removal leaves the least accuracy on the second half stays, alone and with the weight 1. Then the
search goes on for some epochs, and the next edge is decided. When all are, the same is done with
the edges into each node, of which ``keep`` stay. The order is random; in a round an edge, or a
node, of each kind of cell is decided.

All this is in ``SearchState.decided``. A primitive is taken out by the weight 0, the others of its
edge as they are, and what is decided keeps its weight whatever the architecture weights do. As in
the published code no weights are scaled up for it, and the architecture weights of what is not yet
decided learn on. So a step is the same program before and after a decision.
"""

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcv.training.randomness import Keys
from jaxcv.training.run import write_atomically
from search.config import Config
from search.space import CellSpace, Space
from search.step import OPEN, Images, Search, SearchState

# What a round decides in each kind of cell: (an edge,), or the edges into a node.
Round = dict[str, tuple[int, ...]]


def rounds(space: Space, key: jax.Array) -> list[Round]:
    """What is to be decided, in random order: all edges, then all nodes that more edges enter than
    stay. A kind of cell that has fewer of them is missing in the last rounds."""
    keys, found = Keys(key), []
    for number, of in enumerate((_edges, _nodes)):
        orders = {}
        for kind, cell in space.cells.items():
            asked = of(cell)
            order = jax.random.permutation(keys(f"selection {kind}", number), len(asked))
            orders[kind] = [asked[place] for place in order.tolist()]
        for asked_now in itertools.zip_longest(*orders.values()):
            now = zip(orders, asked_now, strict=True)
            found.append({kind: edges for kind, edges in now if edges is not None})
    return found


def tuning_epochs(space: Space, config: Config) -> int:
    """Epochs between the first round of decisions and the last."""
    if config.selection != "perturbation":
        return 0
    return config.selection_epochs * (len(rounds(space, jax.random.key(0))) - 1)


def perturbed(cell: CellSpace, decided: np.ndarray, edges: Sequence[int]) -> np.ndarray:
    """What is decided [edges, primitives] with each part in question taken out in turn: of one
    edge each primitive, "none" apart, of several each edge. [parts, edges, primitives]."""
    parts = _parts(cell, edges)
    tried = np.repeat(decided[None], len(parts), 0)
    for own, part in zip(tried, parts, strict=True):
        own[part] = 0
    return tried


def settled(
    cell: CellSpace,
    decided: np.ndarray,
    edges: Sequence[int],
    accuracies: Sequence[float] | np.ndarray,
) -> np.ndarray:
    """What is decided after a decision: of one edge a primitive stays, of several edges ``keep``,
    those without which the accuracy is least; earlier ones win ties.

    Args:
        cell: the edges' space.
        decided: what is decided before, [edges, primitives].
        edges: in question.
        accuracies: without each of the parts, in the order of ``perturbed``.
    """
    parts, order = _parts(cell, edges), np.argsort(accuracies, kind="stable")
    decided = decided.copy()
    if len(edges) == 1:
        decided[edges[0]] = 0
        decided[parts[order[0]]] = 1
    else:
        for number in order[cell.keep :]:
            decided[parts[number]] = 0
    return decided


def selector(
    space: Space,
    config: Config,
    search: Search,
    data: Images,
    key: jax.Array,
    on_decision: Callable[[dict[str, Any]], object] = lambda decision: None,
) -> Callable[[SearchState], SearchState]:
    """A function that decides what is due at a state's step, and not decided yet.

    The accuracies of a decision are measured in one compiled call, one program for all of them.

    Args:
        space, config, search, data: of the search.
        key: of the whole search, or of several.
        on_decision: called with each decision, of each search: what is decided, the accuracy
            without each part of it, and what stays.
    """
    keys = key if key.ndim else key[None]
    orders = [rounds(space, own) for own in keys]
    cells = space.cells
    most = max(len(_parts(cells[kind], edges)) for now in orders[0] for kind, edges in now.items())

    @jax.jit
    def measure(
        state: SearchState, data: Images, tried: dict[str, Any], count: jax.typing.ArrayLike
    ) -> jax.Array:
        def one(number: jax.Array, found: jax.Array) -> jax.Array:
            own = state._replace(decided={kind: array[number] for kind, array in tried.items()})
            return found.at[number].set(search.valid_accuracy(own, data, search.mix(own)))

        return lax.fori_loop(0, count, one, jnp.zeros((most, *key.shape)))

    def decide(state: SearchState, number: int, kind: str) -> SearchState:
        cell, asked = cells[kind], [order[number][kind] for order in orders]
        shape = state.decided[kind].shape
        # Of each search its own, whether there are several or one.
        decided = np.array(state.decided[kind]).reshape(-1, *cell.allowed.shape)
        if all(_is_settled(cell, *own) for own in zip(decided, asked, strict=True)):
            return state
        counts = [len(_parts(cell, edges)) for edges in asked]
        tried = np.repeat(decided[None], most, 0)
        for own, (edges, count) in enumerate(zip(asked, counts, strict=True)):
            tried[:count, own] = perturbed(cell, decided[own], edges)
        everything = {
            other: np.broadcast_to(array, (most, *array.shape))
            for other, array in jax.device_get(state.decided).items()
        } | {kind: tried.reshape(most, *shape)}
        accuracies = np.asarray(measure(state, data, everything, max(counts))).reshape(most, -1)
        epoch = int(state.step) // search.steps_per_epoch
        for own, (edges, count) in enumerate(zip(asked, counts, strict=True)):
            decided[own] = settled(cell, decided[own], edges, accuracies[:count, own])
            told = _told(cell, edges, accuracies[:count, own].tolist(), decided[own])
            on_decision({"epoch": epoch, "search": own, "cell": kind, **told})
        after = {**state.decided, kind: jnp.asarray(decided.reshape(shape))}
        return state._replace(decided=after)

    def select(state: SearchState) -> SearchState:
        epoch = int(state.step) // search.steps_per_epoch
        for number, now in enumerate(orders[0]):
            if epoch >= config.epochs + number * config.selection_epochs:
                for kind in now:
                    state = decide(state, number, kind)
        return state

    return select


def log_decision(path: Path, decision: dict[str, Any]) -> None:
    """Adds a decision to a file of JSON lines; one that a resumed run takes again replaces the old
    one."""
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    same = ("search", "cell", "question")
    rows = [row for row in rows if any(row[name] != decision[name] for name in same)] + [decision]
    write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows))


def _edges(cell: CellSpace) -> list[tuple[int, ...]]:
    return [(edge,) for edge in range(len(cell.edges))]


def _nodes(cell: CellSpace) -> list[tuple[int, ...]]:
    return [edges for edges in cell.incoming if len(edges) > cell.keep]


def _parts(cell: CellSpace, edges: Sequence[int]) -> list[tuple[int, ...]]:
    """The indices of what is in question: of one edge its primitives, of several the edges."""
    if len(edges) > 1:
        return [(edge,) for edge in edges]
    return [(edges[0], column) for column in np.flatnonzero(cell.selectable[edges[0]]).tolist()]


def _is_settled(cell: CellSpace, decided: np.ndarray, edges: Sequence[int]) -> bool:
    rows = decided[list(edges)]
    if len(edges) == 1:
        return bool((rows != OPEN).all())
    return int((rows > 0).any(1).sum()) == cell.keep


def _told(
    cell: CellSpace, edges: Sequence[int], accuracies: Sequence[float], decided: np.ndarray
) -> dict[str, Any]:
    """A decision in words."""
    arrows = [f"{source} -> {node}" for source, node in cell.edges]
    parts = _parts(cell, edges)
    if len(edges) == 1:
        question, names = arrows[edges[0]], [cell.vocabulary[column] for _, column in parts]
    else:
        question = f"node {cell.edges[edges[0]][1]}"
        names = [arrows[edge] for (edge,) in parts]
    stay = [name for name, part in zip(names, parts, strict=True) if (decided[part] > 0).any()]
    without = dict(zip(names, accuracies, strict=True))
    return {"question": question, "accuracy_without": without, "stays": stay}
