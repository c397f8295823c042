"""Pure functions on arrays: no state, no Flax. Images are NHWC, kernels HWIO."""

from jaxcv.functional.convolution import (
    conv2d,
    depthwise_conv2d,
    pointwise_conv2d,
    separable_conv2d,
)
from jaxcv.functional.deformable import deform_conv2d
from jaxcv.functional.normalization import Statistics, batch_norm, local_response_norm
from jaxcv.functional.pooling import avg_pool2d, global_avg_pool2d, max_pool2d
from jaxcv.functional.regularization import cutout, drop_path, dropout, spatial_dropout

__all__ = [
    "Statistics",
    "avg_pool2d",
    "batch_norm",
    "conv2d",
    "cutout",
    "deform_conv2d",
    "depthwise_conv2d",
    "drop_path",
    "dropout",
    "global_avg_pool2d",
    "local_response_norm",
    "max_pool2d",
    "pointwise_conv2d",
    "separable_conv2d",
    "spatial_dropout",
]
