"""Search spaces by name: that of DARTS, and the reduced ones in which it collapses.

S1 to S4 are those of RobustDARTS (arXiv:1909.09656), as its published code lists them.
"""

from collections.abc import Callable, Sequence

from search.space import PRIMITIVES, CellSpace, Space, darts

# By node, the primitives of the edges that enter it.
_S1_NORMAL = (
    (("skip_connect", "dil_conv_3x3"), ("skip_connect", "dil_conv_5x5")),
    (
        ("skip_connect", "dil_conv_5x5"),
        ("skip_connect", "sep_conv_3x3"),
        ("skip_connect", "dil_conv_3x3"),
    ),
    (
        ("max_pool_3x3", "skip_connect"),
        ("skip_connect", "sep_conv_3x3"),
        ("skip_connect", "sep_conv_3x3"),
        ("skip_connect", "dil_conv_3x3"),
    ),
    (
        ("skip_connect", "sep_conv_3x3"),
        ("max_pool_3x3", "skip_connect"),
        ("skip_connect", "dil_conv_3x3"),
        ("dil_conv_3x3", "dil_conv_5x5"),
        ("dil_conv_3x3", "dil_conv_5x5"),
    ),
)
_S1_REDUCE = (
    (("max_pool_3x3", "avg_pool_3x3"), ("max_pool_3x3", "dil_conv_3x3")),
    (
        ("max_pool_3x3", "avg_pool_3x3"),
        ("max_pool_3x3", "avg_pool_3x3"),
        ("skip_connect", "dil_conv_5x5"),
    ),
    (
        ("max_pool_3x3", "avg_pool_3x3"),
        ("max_pool_3x3", "sep_conv_3x3"),
        ("skip_connect", "dil_conv_3x3"),
        ("skip_connect", "dil_conv_5x5"),
    ),
    (
        ("max_pool_3x3", "avg_pool_3x3"),
        ("max_pool_3x3", "avg_pool_3x3"),
        ("skip_connect", "dil_conv_5x5"),
        ("skip_connect", "dil_conv_5x5"),
        ("skip_connect", "dil_conv_5x5"),
    ),
)


def _cell(nodes: Sequence[Sequence[tuple[str, ...]]]) -> CellSpace:
    edges = [(source, node) for node, entering in enumerate(nodes, 2) for source in range(node)]
    return CellSpace(tuple(edges), tuple(names for entering in nodes for names in entering))


def s1() -> Space:
    """Of each edge the two primitives that a search by DARTS liked best there."""
    return Space({"normal": _cell(_S1_NORMAL), "reduce": _cell(_S1_REDUCE)})


def s2() -> Space:
    """Skip connections and separable 3x3 convolutions."""
    return darts(primitives=("skip_connect", "sep_conv_3x3"))


def s3() -> Space:
    """Those of S2, and none."""
    return darts(primitives=("none", "skip_connect", "sep_conv_3x3"))


def s4() -> Space:
    """Noise, which no network is better with, and separable 3x3 convolutions."""
    return darts(primitives=("noise", "sep_conv_3x3"))


def darts_without_none() -> Space:
    """The space of DARTS without its primitive "none", as FairDARTS searches it
    (arXiv:1911.12126)."""
    return darts(primitives=PRIMITIVES[1:])


SPACES: dict[str, Callable[[], Space]] = {
    "darts": darts,
    "darts_without_none": darts_without_none,
    "s1": s1,
    "s2": s2,
    "s3": s3,
    "s4": s4,
}


def create_space(name: str) -> Space:
    """The space called ``name``.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in SPACES:
        raise ValueError(f"space={name!r}; allowed are {', '.join(SPACES)}")
    return SPACES[name]()
