"""The network of a genotype (arXiv:1806.09055)."""

import functools
import re

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv import genotype
from jaxcv.layers import Linear
from jaxcv.models.discrete import FORMS
from jaxcv.models.network import (
    CIFAR10_STATISTICS,
    Endpoints,
    Entry,
    Names,
    Network,
    classified,
)
from jaxcv.models.skeleton import (
    CIFAR,
    IMAGENET,
    AuxiliaryHead,
    Skeleton,
    Stem,
    least_size,
    places,
)


class CellNetwork(Network):
    """The network of a genotype: a stem, cells of both kinds, a linear classifier.

    Args:
        genotype: with a cell of kind "normal" and one of kind "reduce".
        skeleton: ``CIFAR``, ``IMAGENET``, ``NASNET`` or ``ENAS`` of ``jaxcv.models``.
        channels: inside the first cell; reductions double them.
        layers: number of cells, with reductions at ``layers // 3`` and ``2 * layers // 3``.
        num_classes: number of logits.
        inputs: channels of the images.
        auxiliary: whether to have an auxiliary head, near the second reduction.
        dtype: to compute in; parameters, statistics and logits stay float32.
        rngs: source of the initial values.

    Features: "stem", "cell1", "cell2", ..., "auxiliary", "pooled", "logits".

    Raises:
        ValueError: for numbers below 1 and a genotype without the two kinds of cell.
    """

    def __init__(
        self,
        genotype: genotype.Genotype,
        skeleton: Skeleton,
        channels: int,
        layers: int,
        num_classes: int,
        *,
        inputs: int = 3,
        auxiliary: bool = False,
        dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if set(genotype.cells) != {"normal", "reduce"}:
            raise ValueError(
                f"genotype has cells of kind {', '.join(genotype.cells)}; allowed are normal and "
                "reduce"
            )
        least = least_size(skeleton, auxiliary=auxiliary)
        super().__init__(num_classes, inputs=inputs, least_size=least, dtype=dtype)
        cells = genotype.cells
        widths = {kind: len(cell.output.states) for kind, cell in cells.items()}
        plan = places(skeleton, channels, layers, widths)
        self.stem = Stem(skeleton, inputs, channels, rngs=rngs)
        self.cells = nnx.List(
            FORMS[skeleton.form](cells[place.kind], place, rngs=rngs) for place in plan
        )
        self.skeleton, self.auxiliary_after = skeleton, skeleton.auxiliary_after(layers)
        outputs = [widths[place.kind] * place.channels for place in plan]
        self.auxiliary = nnx.data(None)
        if auxiliary:
            self.auxiliary = AuxiliaryHead(
                skeleton, outputs[self.auxiliary_after], num_classes, rngs=rngs
            )
        self.classifier = Linear(outputs[-1], num_classes, bias=skeleton.bias, rngs=rngs)

    def endpoints(
        self,
        x: jax.Array,
        *,
        train: bool,
        key: jax.Array | None,
        drop_path: float | jax.Array = 0.0,
    ) -> Endpoints:
        """``drop_path``: probability that an edge's result is dropped for an example."""
        grows = self.skeleton.form != "darts"
        before, last = self.stem(x, train=train)
        yield "stem", last
        for number, cell in enumerate(self.cells):
            cell_key = None if key is None else jax.random.fold_in(key, number)
            rate = drop_path * (number + 1) / len(self.cells) if grows else drop_path
            y = cell(before, last, train=train, key=cell_key, drop_path=rate)
            before, last = last, y
            yield f"cell{number + 1}", y
            if self.auxiliary is not None and number == self.auxiliary_after:
                yield "auxiliary", self.auxiliary(y, train=train)
        yield from classified(jax.nn.relu(last) if grows else last, self.classifier)


def reference_names(genotype: genotype.Genotype, skeleton: Skeleton, layers: int) -> Names:
    """How the reference implementation of DARTS calls the variables of a ``CellNetwork``.

    Args:
        genotype, skeleton, layers: as for ``CellNetwork``.
    """
    plan = places(skeleton, 1, layers, dict.fromkeys(genotype.cells, 1))
    operations = {
        kind: [operation for node in cell.nodes for operation, _ in node]
        for kind, cell in genotype.cells.items()
    }

    def inside_cell(found: re.Match[str]) -> str:
        number, edge, side, half, layer, convolution = found.groups()
        place = plan[int(number)]
        if edge is not None:
            owner, operation, convolutions = f"_ops.{edge}", operations[place.kind][int(edge)], 2
        elif side == "before":
            reduces = place.after_reduction
            owner, operation, convolutions = "preprocess0", "skip_connect" if reduces else "", 1
        else:
            owner, operation, convolutions = "preprocess1", "", 1
        if operation == "skip_connect":
            part = {"even": "conv_1", "odd": "conv_2", "norm": "bn"}[layer]
        else:
            # There a ReLU, which has no variables, precedes the convolutions and is counted.
            first = 4 * int(half or 0) + 1
            index = first + (convolutions if convolution is None else int(convolution))
            part = f"{index}" if operation == "conv_7x1_1x7" else f"op.{index}"
        return f"cells.{number}.{owner}.{part}"

    reduced = skeleton.reduced_stem
    convolutions = ("stem0.0", "stem0.3", "stem1.1") if reduced else ("stem.0",)
    norms = ("stem0.1", "stem0.4", "stem1.2") if reduced else ("stem.1",)
    return (
        (r"^stem\.convolutions\.(\d+)", lambda found: convolutions[int(found[1])]),
        (r"^stem\.norms\.(\d+)", lambda found: norms[int(found[1])]),
        (
            r"^cells\.(\d+)\.(?:edges\.(\d+)|inputs\.(before|last))\."
            r"(?:operations\.(\d+)\.)?(convolutions\.(\d+)|norm|even|odd)",
            inside_cell,
        ),
        (r"^auxiliary\.first\.", "auxiliary_head.features.2."),
        (r"^auxiliary\.first_norm\.", "auxiliary_head.features.3."),
        (r"^auxiliary\.second\.", "auxiliary_head.features.5."),
        (r"^auxiliary\.second_norm\.", "auxiliary_head.features.6."),
        (r"^auxiliary\.", "auxiliary_head."),
    )


# Top-1 where exactly this network was trained; the cells of NASNet, AmoebaNet and PNAS were
# published in others.
_TOP1 = {
    "darts_v1_cifar": (97.00, "arXiv:1806.09055"),
    "darts_v2_cifar": (97.24, "arXiv:1806.09055"),
    "darts_v2_imagenet": (73.3, "arXiv:1806.09055"),
    "pc_darts_cifar_cifar": (97.43, "arXiv:1907.05737"),
    "pc_darts_cifar_imagenet": (74.9, "arXiv:1907.05737"),
    "pc_darts_imagenet_imagenet": (75.8, "arXiv:1907.05737"),
    "p_darts_cifar": (97.50, "arXiv:1904.12760"),
    "p_darts_imagenet": (75.6, "arXiv:1904.12760"),
    "drnas_cifar_cifar": (97.54, "arXiv:2006.10355"),
    "drnas_imagenet_imagenet": (76.3, "arXiv:2006.10355"),
    "gdas_v1_cifar": (97.07, "arXiv:1910.04465"),
}


def _entry(name: str, cells: genotype.Genotype, skeleton: Skeleton) -> Entry:
    small = skeleton is CIFAR
    channels, layers = (36, 20) if small else (48, 14)
    top1, source = _TOP1.get(name, (None, ""))
    make = functools.partial(CellNetwork, cells, skeleton, channels, layers)
    names = {"darts": reference_names(cells, skeleton, layers)}
    if not small:
        return Entry(make, names, top1=top1, source=source)
    return Entry(make, names, 10, 32, CIFAR10_STATISTICS, top1, source)


MODELS = {
    name: _entry(name, cells, skeleton)
    for genotype_name, cells in genotype.published.items()
    for skeleton in (CIFAR, IMAGENET)
    for name in [f"{genotype_name.lower()}_{skeleton.name}"]
}
