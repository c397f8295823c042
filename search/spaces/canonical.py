"""A text that isomorphic architectures share, and others do not."""

from collections.abc import Collection, Sequence

from jaxcv.genotype import Edge, Genotype, first_node


def canonical_genotype(genotype: Genotype) -> str:
    """A text that two genotypes share if, and only if, their cells are isomorphic.

    Two cells are isomorphic if some renaming of their nodes turns one into the other. Their inputs
    keep their numbers, the edges into a node are a multiset, and the states of the output are a
    set: what follows a cell can undo the order of its channels. Before, edges of "none" and nodes
    that do not reach the output are left out. An operation is what its name says, so that a skip
    connection is an edge as any other.
    """
    return " ".join(
        f"{kind}[{canonical_graph(first_node(kind), cell.nodes, cell.output.states)}]"
        for kind, cell in genotype.cells.items()
    )


def canonical_graph(inputs: int, nodes: Sequence[Sequence[Edge]], outputs: Collection[int]) -> str:
    """A text that two directed acyclic graphs share if, and only if, some renaming of the nodes
    that reach an output turns one into the other.

    Of all orders in which sources come first it takes the one whose text is smallest. It is found
    node by node; among nodes that are next with the same edges all are tried, except one for
    those that can be exchanged.

    Args:
        inputs: number of states that are no nodes; these are 0, 1, ... and keep their numbers.
        nodes: for each node, the next states, its edges (label, source) in any order. Edges of
            "none" do not count.
        outputs: the states that are read.
    """
    edges = {
        number: [edge for edge in node if edge[0] != "none"]
        for number, node in enumerate(nodes, inputs)
    }
    uses: dict[int, list[tuple[int, str]]] = {number: [] for number in edges if number in outputs}
    for number in reversed(edges):
        for label, source in edges[number] if number in uses else ():
            if source >= inputs:
                uses.setdefault(source, []).append((number, label))
    live = {number: (number not in outputs, edges[number]) for number in edges if number in uses}
    exchangeable = {number: tuple(sorted(uses[number])) for number in live}

    rows: list[tuple[bool, list[Edge]]] = []
    orders: list[dict[int, int]] = [{state: state for state in range(inputs)}]
    for place in range(inputs, inputs + len(live)):
        best: tuple[bool, list[Edge]] | None = None
        longer: list[dict[int, int]] = []
        for order in orders:
            tried: set[tuple[tuple[int, str], ...]] = set()
            for number, (inner, incoming) in live.items():
                if number in order or any(source not in order for _, source in incoming):
                    continue
                row = inner, sorted((label, order[source]) for label, source in incoming)
                if best is None or row < best:
                    best, longer, tried = row, [], set()
                if row == best and exchangeable[number] not in tried:
                    tried.add(exchangeable[number])
                    longer.append({**order, number: place})
        assert best is not None
        rows.append(best)
        orders = longer
    texts = [f"*{state}" for state in sorted(outputs) if state < inputs]
    for inner, incoming in rows:
        sums = "+".join(f"{label}({source})" for label, source in incoming)
        texts.append(sums if inner else f"*{sums}")
    return ";".join(texts)
