"""Building blocks of networks, made of ``jaxcv.layers``."""

from jaxcv.blocks.convolution import ConvNorm
from jaxcv.blocks.fire import Fire
from jaxcv.blocks.inception import (
    Branches,
    Inception,
    InceptionA,
    InceptionA5,
    InceptionB,
    InceptionC,
    InceptionC4,
    InceptionNaive,
    Reduction,
    ReductionA,
    ReductionB,
)
from jaxcv.blocks.inception_residual import (
    InceptionResidual,
    InceptionResidualA,
    InceptionResidualB,
    InceptionResidualC,
    ResidualReductionB,
)
from jaxcv.blocks.mobilenet import InvertedResidual, SeparableBlock
from jaxcv.blocks.operations import (
    OPERATIONS,
    FactorizedReduce,
    ReLUConvBN,
    create_operation,
)
from jaxcv.blocks.perceptron import Perceptron
from jaxcv.blocks.residual import BasicBlock, Bottleneck, ResidualBlock
from jaxcv.blocks.shufflenet import ShuffleUnit, ShuffleUnitV2
from jaxcv.blocks.vgg import VGGBlock

__all__ = [
    "OPERATIONS",
    "BasicBlock",
    "Bottleneck",
    "Branches",
    "ConvNorm",
    "FactorizedReduce",
    "Fire",
    "Inception",
    "InceptionA",
    "InceptionA5",
    "InceptionB",
    "InceptionC",
    "InceptionC4",
    "InceptionNaive",
    "InceptionResidual",
    "InceptionResidualA",
    "InceptionResidualB",
    "InceptionResidualC",
    "InvertedResidual",
    "Perceptron",
    "ReLUConvBN",
    "Reduction",
    "ReductionA",
    "ReductionB",
    "ResidualBlock",
    "ResidualReductionB",
    "SeparableBlock",
    "ShuffleUnit",
    "ShuffleUnitV2",
    "VGGBlock",
    "create_operation",
]
