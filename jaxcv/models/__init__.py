"""Networks, one family a file, and by name."""

from jaxcv.models.cell import CellNetwork
from jaxcv.models.densenet import DenseNet
from jaxcv.models.network import Network
from jaxcv.models.registry import create_model, list_models
from jaxcv.models.resnet import PreActivationResNet, ResNet
from jaxcv.models.skeleton import CIFAR, IMAGENET, SKELETONS, Skeleton

__all__ = [
    "CIFAR",
    "IMAGENET",
    "SKELETONS",
    "CellNetwork",
    "DenseNet",
    "Network",
    "PreActivationResNet",
    "ResNet",
    "Skeleton",
    "create_model",
    "list_models",
]
