"""AlexNet (arXiv:1404.5997, and the network of 2012 that it derives from)."""

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv import functional
from jaxcv.blocks import Perceptron
from jaxcv.functional._arguments import positive
from jaxcv.layers import Conv2d
from jaxcv.models.network import Endpoints, Entry, Names, Network

_WINDOWS = (11, 5, 3, 3, 3)
_POOLED = 6  # height and width of what the linear layers read


class AlexNet(Network):
    """Five convolutions with ReLU, 3x3 max pooling of stride 2 after the first two and the last,
    the mean of 6x6 parts of the images, three linear layers.

    By default it is the one-tower network of arXiv:1404.5997.

    Args:
        num_classes: number of logits.
        grouped: whether it is the network of "ImageNet Classification with Deep Convolutional
            Neural Networks" (NIPS 2012) instead: more channels, the second, fourth and fifth
            convolution in two groups, and local response norm after the first two.
        hidden: channels of the two hidden linear layers.
        drop_rate: of dropout before each of them; after each of them if grouped.
        inputs: channels of the images.
        dtype: to compute in; parameters and logits stay float32.
        rngs: source of the initial values, uniform in ``+-1 / sqrt(fan-in)``. If grouped, kernels
            are normal with deviation 0.01, biases of grouped convolutions and of hidden layers 1,
            others 0.

    Features: "conv1", ..., "conv5" (before pooling), "pooled" [batch, 6, 6, 256], "hidden1",
    "hidden2", "logits".

    Raises:
        ValueError: for numbers below 1, and a rate outside [0, 1).
    """

    def __init__(
        self,
        num_classes: int,
        *,
        grouped: bool = False,
        hidden: int = 4096,
        drop_rate: float = 0.5,
        inputs: int = 3,
        dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        super().__init__(num_classes, inputs=inputs, least_size=63, dtype=dtype)
        positive(hidden=hidden)
        channels = (96, 256, 384, 384, 256) if grouped else (64, 192, 384, 256, 256)
        groups = (1, 2, 1, 2, 2) if grouped else (1, 1, 1, 1, 1)
        initialize = jax.nn.initializers.normal(0.01) if grouped else None
        self.convolutions = nnx.List(
            Conv2d(
                channels[place - 1] if place else inputs,
                channels[place],
                window,
                stride=1 if place else 4,
                padding=window // 2 if place else 2,
                groups=groups[place],
                bias=True,
                initialize=initialize,
                rngs=rngs,
            )
            for place, window in enumerate(_WINDOWS)
        )
        self.classifier = Perceptron(
            (channels[-1] * _POOLED**2, hidden, hidden, num_classes),
            drop_before=(1, 2) if grouped else (0, 1),
            drop_rate=drop_rate,
            initialize=initialize,
            rngs=rngs,
        )
        if grouped:
            for convolution in self.convolutions:
                if convolution.groups > 1:
                    convolution.bias = nnx.Param(jnp.ones(convolution.kernel.shape[-1]))
            for layer in self.classifier.layers[:-1]:
                layer.bias = nnx.Param(jnp.ones(hidden))
        self.grouped = grouped

    def endpoints(self, x: jax.Array, *, train: bool, key: jax.Array | None) -> Endpoints:
        for number, convolution in enumerate(self.convolutions, 1):
            x = jax.nn.relu(convolution(x))
            if self.grouped and number <= 2:
                # The paper's alpha of 1e-4 is of the sum over 5 channels, not of their mean.
                x = functional.local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2.0)
            yield f"conv{number}", x
            if number in (1, 2, 5):
                x = functional.max_pool2d(x, 3, stride=2)
        x = functional.adaptive_avg_pool2d(x, _POOLED)
        yield "pooled", x
        names = ("hidden1", "hidden2", "logits")
        yield from zip(names, self.classifier(x, key=key), strict=True)


NAMES: Names = (
    (r"^convolutions\.(\d)", lambda found: f"features.{(0, 3, 6, 8, 10)[int(found[1])]}"),
    (r"^classifier\.layers\.(\d)", lambda found: f"classifier.{(1, 4, 6)[int(found[1])]}"),
)

MODELS = {
    "alexnet": Entry(
        AlexNet, {"torchvision": NAMES}, top1=56.522, source="torchvision, IMAGENET1K_V1"
    ),
}
