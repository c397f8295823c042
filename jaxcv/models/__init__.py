"""Networks, one family a file."""

from jaxcv.models.cell import CellNetwork
from jaxcv.models.skeleton import CIFAR, IMAGENET, SKELETONS, Skeleton

__all__ = ["CIFAR", "IMAGENET", "SKELETONS", "CellNetwork", "Skeleton"]
