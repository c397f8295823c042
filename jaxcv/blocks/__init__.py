"""Building blocks of networks, made of ``jaxcv.layers``."""

from jaxcv.blocks.convolution import ConvNorm
from jaxcv.blocks.dense import DenseBlock, DenseLayer, Transition
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
    register_operation,
)
from jaxcv.blocks.perceptron import Perceptron
from jaxcv.blocks.preactivation import (
    PreActivationBasicBlock,
    PreActivationBlock,
    PreActivationBottleneck,
)
from jaxcv.blocks.residual import BasicBlock, Bottleneck, ResidualBlock
from jaxcv.blocks.resnext import early_concatenation, split_transform_sum
from jaxcv.blocks.shufflenet import ShuffleUnit, ShuffleUnitV2
from jaxcv.blocks.vgg import VGGBlock

__all__ = [
    "OPERATIONS",
    "BasicBlock",
    "Bottleneck",
    "Branches",
    "ConvNorm",
    "DenseBlock",
    "DenseLayer",
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
    "PreActivationBasicBlock",
    "PreActivationBlock",
    "PreActivationBottleneck",
    "ReLUConvBN",
    "Reduction",
    "ReductionA",
    "ReductionB",
    "ResidualBlock",
    "ResidualReductionB",
    "SeparableBlock",
    "ShuffleUnit",
    "ShuffleUnitV2",
    "Transition",
    "VGGBlock",
    "create_operation",
    "early_concatenation",
    "register_operation",
    "split_transform_sum",
]
