"""Building blocks of networks, made of ``jaxcv.layers``."""

from jaxcv.blocks.operations import (
    OPERATIONS,
    FactorizedReduce,
    ReLUConvBN,
    create_operation,
)

__all__ = ["OPERATIONS", "FactorizedReduce", "ReLUConvBN", "create_operation"]
