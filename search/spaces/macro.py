"""The macro space of ENAS (arXiv:1802.03268): whole networks from primitive layers."""

from jaxcv.functional._arguments import positive
from jaxcv.models.macro import Macro
from search.discrete import DiscreteSpace, Point

OPERATIONS = (
    "nor_conv_3x3",
    "sep_conv_3x3",
    "nor_conv_5x5",
    "sep_conv_5x5",
    "avg_pool_3x3",
    "max_pool_3x3",
)


def macro(layers: int = 12) -> DiscreteSpace:
    """Chains of layers: of each its operation, and which of the states before the one it reads
    join its result. State 0 is the stem, state i layer i.

    Every layer reads the one before it, so that none can take another's place: equal are
    architectures that are the same.

    Raises:
        ValueError: for layers below 1.
    """
    positive(layers=layers)
    options: list[tuple[str, ...]] = []
    for layer in range(1, layers + 1):
        options += [OPERATIONS, *[("no", "skip")] * (layer - 1)]
    return DiscreteSpace("macro", tuple(options), decode, canonical)


def decode(point: Point) -> Macro:
    """The architecture of a point."""
    operations: list[str] = []
    skips: list[tuple[int, ...]] = []
    decisions = list(point)
    while decisions:
        layer = len(operations)
        operations.append(OPERATIONS[decisions.pop(0)])
        skips.append(tuple(state for state in range(layer) if decisions.pop(0)))
    return Macro(tuple(operations), tuple(skips))


def canonical(point: Point) -> str:
    """The text of a point that its equals share."""
    layers = zip(*decode(point), strict=True)
    return ";".join(f"{operation}{list(skips)}" for operation, skips in layers)
