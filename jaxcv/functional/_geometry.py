"""What of a window that slides over images is known before anything is compiled."""

from typing import NamedTuple

import numpy as np

from jaxcv.functional._arguments import ExplicitPadding


class Geometry(NamedTuple):
    """The static part of a convolution or pool. Sizes are (height, width), in pixels."""

    channels: int
    image: tuple[int, int]
    result: tuple[int, int]
    window: tuple[int, int]
    stride: tuple[int, int]
    padding: ExplicitPadding
    dilation: tuple[int, int]
    groups: int

    @property
    def transposed_padding(self) -> ExplicitPadding:
        """Of results, spread by the stride, over which a turned kernel slides to give images."""
        pads = []
        for axis in range(2):
            reach = self.dilation[axis] * (self.window[axis] - 1)
            low = reach - self.padding[axis][0]
            spread = self.stride[axis] * (self.result[axis] - 1) + 1
            pads.append((low, self.image[axis] + reach - spread - low))
        return pads[0], pads[1]

    @property
    def numbers(self) -> np.ndarray:
        """As the C++ kernels read it."""
        low = (self.padding[0][0], self.padding[1][0])
        return np.array(
            [*self.image, *self.result, *self.window, *self.stride, *low, *self.dilation]
        )
