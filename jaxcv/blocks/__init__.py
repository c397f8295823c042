"""Building blocks of networks, made of ``jaxcv.layers``."""

from jaxcv.blocks.convolution import ConvNorm
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
from jaxcv.blocks.operations import (
    OPERATIONS,
    FactorizedReduce,
    ReLUConvBN,
    create_operation,
)
from jaxcv.blocks.residual import BasicBlock, Bottleneck, ResidualBlock

__all__ = [
    "OPERATIONS",
    "BasicBlock",
    "Bottleneck",
    "Branches",
    "ConvNorm",
    "FactorizedReduce",
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
    "ReLUConvBN",
    "Reduction",
    "ReductionA",
    "ReductionB",
    "ResidualBlock",
    "ResidualReductionB",
    "create_operation",
]
