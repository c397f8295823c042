"""Pure functions on arrays: no state, no Flax. Images are NHWC, kernels HWIO."""

from jaxcv.functional.convolution import (
    conv2d,
    depthwise_conv2d,
    pointwise_conv2d,
    separable_conv2d,
)
from jaxcv.functional.normalization import Statistics, batch_norm
from jaxcv.functional.pooling import avg_pool2d, global_avg_pool2d, max_pool2d
from jaxcv.functional.regularization import cutout, drop_path

__all__ = [
    "Statistics",
    "avg_pool2d",
    "batch_norm",
    "conv2d",
    "cutout",
    "depthwise_conv2d",
    "drop_path",
    "global_avg_pool2d",
    "max_pool2d",
    "pointwise_conv2d",
    "separable_conv2d",
]
