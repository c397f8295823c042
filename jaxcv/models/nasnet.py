"""Found networks in the skeletons of their own papers, for CIFAR: NASNet-A (arXiv:1707.07012),
PNASNet-5 (arXiv:1712.00559), AmoebaNet-A and B (arXiv:1802.01548), ENAS (arXiv:1802.03268)."""

import functools

from jaxcv.genotype import published_nasnet
from jaxcv.models.cell import CellNetwork
from jaxcv.models.network import CIFAR10_STATISTICS, Entry
from jaxcv.models.skeleton import ENAS, NASNET, Skeleton


def _entry(
    name: str, skeleton: Skeleton, channels: int, layers: int, top1: float | None, source: str
) -> Entry:
    return Entry(
        functools.partial(CellNetwork, published_nasnet[name], skeleton, channels, layers),
        num_classes=10,
        image_size=32,
        statistics=CIFAR10_STATISTICS,
        top1=top1,
        source=source,
    )


# The numbers of a name are those of its paper: normal cells in a row, and channels, of the last
# cell's output (NASNet) or inside the first cell. The reductions of PNASNet take the place of two
# of nine cells. The script that was released for ENAS has 5 cells in a row; with 6 the network has
# the 4.6 million parameters of its paper.
MODELS = {
    "nasnet_a_6_768": _entry("NASNET_A", NASNET, 32, 20, 97.35, "arXiv:1707.07012, with cutout"),
    "amoebanet_a_6_36": _entry("AMOEBANET_A", NASNET, 36, 20, 96.66, "arXiv:1802.01548"),
    "amoebanet_b_6_36": _entry(
        "AMOEBANET_B", NASNET, 36, 20, 97.45, "arXiv:1802.01548, with cutout"
    ),
    "pnasnet5_3_48": _entry("PNAS", NASNET, 48, 9, 96.59, "arXiv:1712.00559"),
    "enas_5_36": _entry("ENAS", ENAS, 36, 17, None, ""),
    "enas_6_36": _entry("ENAS", ENAS, 36, 20, 97.11, "arXiv:1802.03268, with cutout"),
}
