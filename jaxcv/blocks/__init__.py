"""Building blocks of networks, made of ``jaxcv.layers``."""

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
    "FactorizedReduce",
    "ReLUConvBN",
    "ResidualBlock",
    "create_operation",
]
