"""Pure functions on arrays: no state, no Flax. Images are NHWC, kernels HWIO."""

from jaxcv.functional.channels import channel_shuffle
from jaxcv.functional.color import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    color_jitter,
)
from jaxcv.functional.convolution import (
    conv2d,
    depthwise_conv2d,
    pointwise_conv2d,
    separable_conv2d,
)
from jaxcv.functional.deformable import deform_conv2d
from jaxcv.functional.normalization import Statistics, batch_norm, local_response_norm
from jaxcv.functional.pooling import (
    adaptive_avg_pool2d,
    adaptive_max_pool2d,
    avg_pool2d,
    global_avg_pool2d,
    global_max_pool2d,
    max_pool2d,
    max_pool2d_with_indices,
)
from jaxcv.functional.regularization import cutout, drop_path, dropout, spatial_dropout
from jaxcv.functional.transposed import conv_transpose2d
from jaxcv.functional.upsampling import (
    max_unpool2d,
    unpool_bed_of_nails,
    upsample_bilinear,
    upsample_nearest,
)

__all__ = [
    "Statistics",
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_hue",
    "adjust_saturation",
    "avg_pool2d",
    "batch_norm",
    "channel_shuffle",
    "color_jitter",
    "conv2d",
    "conv_transpose2d",
    "cutout",
    "deform_conv2d",
    "depthwise_conv2d",
    "drop_path",
    "dropout",
    "global_avg_pool2d",
    "global_max_pool2d",
    "local_response_norm",
    "max_pool2d",
    "max_pool2d_with_indices",
    "max_unpool2d",
    "pointwise_conv2d",
    "separable_conv2d",
    "spatial_dropout",
    "unpool_bed_of_nails",
    "upsample_bilinear",
    "upsample_nearest",
]
