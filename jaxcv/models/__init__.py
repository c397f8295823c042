"""Networks, one family a file, and by name."""

from jaxcv.models.alexnet import AlexNet
from jaxcv.models.architecture import Architecture, create_network
from jaxcv.models.cell import CellNetwork
from jaxcv.models.densenet import DenseNet
from jaxcv.models.inception import InceptionNetwork
from jaxcv.models.macro import MacroNetwork
from jaxcv.models.mobilenet import MobileNet
from jaxcv.models.motif import MotifNetwork
from jaxcv.models.nasbench201 import NASBench201Network
from jaxcv.models.network import Network
from jaxcv.models.registry import create_model, list_models
from jaxcv.models.resnet import PreActivationResNet, ResNet
from jaxcv.models.shufflenet import ShuffleNet
from jaxcv.models.skeleton import CIFAR, ENAS, IMAGENET, NASNET, SKELETONS, Skeleton
from jaxcv.models.squeezenet import SqueezeNet
from jaxcv.models.vgg import VGG

__all__ = [
    "CIFAR",
    "ENAS",
    "IMAGENET",
    "NASNET",
    "SKELETONS",
    "VGG",
    "AlexNet",
    "Architecture",
    "CellNetwork",
    "DenseNet",
    "InceptionNetwork",
    "MacroNetwork",
    "MobileNet",
    "MotifNetwork",
    "NASBench201Network",
    "Network",
    "PreActivationResNet",
    "ResNet",
    "ShuffleNet",
    "Skeleton",
    "SqueezeNet",
    "create_model",
    "create_network",
    "list_models",
]
