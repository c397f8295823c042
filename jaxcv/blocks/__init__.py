"""Building blocks of networks, made of ``jaxcv.layers``."""

from jaxcv.blocks.dense import DenseBlock, DenseLayer, Transition
from jaxcv.blocks.operations import (
    OPERATIONS,
    FactorizedReduce,
    ReLUConvBN,
    create_operation,
)
from jaxcv.blocks.preactivation import (
    PreActivationBasicBlock,
    PreActivationBlock,
    PreActivationBottleneck,
)
from jaxcv.blocks.residual import BasicBlock, Bottleneck, ResidualBlock
from jaxcv.blocks.resnext import early_concatenation, split_transform_sum

__all__ = [
    "OPERATIONS",
    "BasicBlock",
    "Bottleneck",
    "DenseBlock",
    "DenseLayer",
    "FactorizedReduce",
    "PreActivationBasicBlock",
    "PreActivationBlock",
    "PreActivationBottleneck",
    "ReLUConvBN",
    "ResidualBlock",
    "Transition",
    "create_operation",
    "early_concatenation",
    "split_transform_sum",
]
