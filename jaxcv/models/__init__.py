"""Networks, one family a file."""

from jaxcv.models.cell import CellNetwork
from jaxcv.models.resnet import ResNet, resnet18, resnet34, resnet50, resnet101, resnet152
from jaxcv.models.skeleton import CIFAR, IMAGENET, SKELETONS, Skeleton

__all__ = [
    "CIFAR",
    "IMAGENET",
    "SKELETONS",
    "CellNetwork",
    "ResNet",
    "Skeleton",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
]
