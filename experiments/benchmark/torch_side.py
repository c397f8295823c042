"""The side that runs in PyTorch. Imports nothing of JAX, which its interpreter may not have.

The networks are those of the tests, written independently in plain PyTorch. A request's ``form`` is
words: contiguous or channels_last for the order of an image's dimensions in memory, compiled for
``torch.compile``; passive, for who starts this, stands for threads that wait asleep, which is
quicker where something else wants the processors too.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.benchmark.worker import Work, resident_peak, serve

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests"))

import torch_recurrent  # noqa: E402
import torch_reference  # noqa: E402
import torch_resnet  # noqa: E402
import torch_second_order  # noqa: E402

_CLASSES = 10
_SEARCHES = {
    "first_order": torch_reference.FirstOrderSearch,
    "second_order": torch_second_order.SecondOrderSearch,
}


class Form(NamedTuple):
    """How PyTorch is asked to do it."""

    order: torch.memory_format
    compiled: bool
    device: torch.device

    def images(self, images: Tensor) -> Tensor:
        return images.to(self.device).contiguous(memory_format=self.order)

    def network(self, network: nn.Module) -> Any:
        network = network.to(self.device, memory_format=self.order)
        return torch.compile(network) if self.compiled else network


def prepare(request: dict[str, Any]) -> Work:
    """The work of a request: {"kind", "sizes", "form", "platform"}."""
    on_gpu = request["platform"] != "cpu"
    if on_gpu and not torch.cuda.is_available():
        raise ValueError(f"PyTorch {torch.__version__} has no GPU, and JAX has")
    torch.manual_seed(0)
    if on_gpu:
        # As XLA does by default: products of float32 matrices in TensorFloat-32.
        torch.set_float32_matmul_precision("high")
        # And it measures which of several kernels is the fastest.
        torch.backends.cudnn.benchmark = True
    words = request["form"].split()
    form = Form(
        torch.channels_last if "channels_last" in words else torch.contiguous_format,
        "compiled" in words,
        torch.device("cuda" if on_gpu else "cpu"),
    )
    step = STEPS[request["kind"]](form, **request["sizes"])
    # The second step finds gradients where the first found none, for which compiled code may be
    # compiled again.
    for _ in range(2 if form.compiled else 1):
        step()
    figures = {"torch": torch.__version__, "torch_threads": torch.get_num_threads()}

    def run(steps: int) -> None:
        for _ in range(steps):
            step()
        if on_gpu:
            torch.cuda.synchronize()

    return Work(run, figures, torch.cuda.max_memory_allocated if on_gpu else resident_peak)


def _batch(form: Form, batch: int, image: int, classes: int) -> tuple[Tensor, Tensor]:
    images = form.images(torch.randn(batch, 3, image, image))
    return images, torch.randint(classes, (batch,)).to(form.device)


def search(
    form: Form,
    *,
    channels: int,
    layers: int,
    image: int,
    batch: int,
    gradient: str = "first_order",
) -> Callable[[], Any]:
    """A step of a search."""
    network = form.network(torch_reference.SearchNetwork(channels, layers, _CLASSES))
    alphas = (1e-3 * torch.randn(14, 8, device=form.device) for _ in range(2))
    searching = _SEARCHES[gradient](network, *alphas)
    train, valid = (_batch(form, batch, image, _CLASSES) for _ in range(2))
    return lambda: searching.step(train, valid, 0.025)


def train(form: Form, *, channels: int, layers: int, image: int, batch: int) -> Callable[[], Any]:
    """A step of training a discovered network."""
    genotype = json.loads((ROOT / "jaxcv" / "published.json").read_text())["DARTS_V2"]
    cells = {kind: (genotype[kind], genotype[f"{kind}_concat"]) for kind in ("normal", "reduce")}
    network = form.network(
        torch_reference.CellNetwork(cells, "cifar", channels, layers, _CLASSES, auxiliary=False)
    )
    optimizer = torch_reference.train_optimizer(network)
    images, labels = _batch(form, batch, image, _CLASSES)
    return lambda: torch_reference.train_step(network, optimizer, images, labels, 0.025)


def recurrent_search(
    form: Form, *, units: int, batch: int, steps: int, vocabulary: int
) -> Callable[[], Any]:
    """A step of a search of a recurrent cell. What may be compiled is the cell, as the loop over
    the words would be unrolled."""
    cell = form.network(torch_recurrent.SearchCell(8, units))
    model = torch_recurrent.LanguageModel(cell, vocabulary).to(form.device)
    alphas = 1e-3 * torch.randn(36, 5, device=form.device)
    searching = torch_recurrent.Search(model, alphas)
    rates = {"embedded": 0.2, "inputs": 0.75, "hidden": 0.25, "outputs": 0.75}
    hidden = [torch.zeros(batch, units, device=form.device) for _ in range(2)]
    texts = [torch.randint(vocabulary, (steps + 1, batch), device=form.device) for _ in range(2)]

    def step() -> None:
        given = [(text[:-1], text[1:], h) for text, h in zip(texts, hidden, strict=True)]
        drawn = [
            torch_recurrent.masks(rates, vocabulary, batch, units, form.device) for _ in range(2)
        ]
        _, _, hidden[0], hidden[1] = searching.step(*given, *drawn)

    return step


def _resnet(form: Form, depths: list[int], classes: int) -> Any:
    return form.network(torch_resnet.ResNet(torch_resnet.Bottleneck, depths, classes))


def resnet_inference(
    form: Form, *, depths: list[int], classes: int, image: int, batch: int
) -> Callable[[], Any]:
    """Logits, with running statistics."""
    network = _resnet(form, depths, classes).eval()
    images, _ = _batch(form, batch, image, classes)
    return torch.inference_mode()(lambda: network(images))


def resnet_training(
    form: Form, *, depths: list[int], classes: int, image: int, batch: int
) -> Callable[[], Any]:
    """Forward, backward, stochastic gradient descent with momentum."""
    network = _resnet(form, depths, classes).train()
    images, labels = _batch(form, batch, image, classes)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return step


def depthwise(
    form: Form,
    *,
    window: int,
    dilation: int,
    stride: int,
    channels: int,
    gradients: bool,
    image: int,
    batch: int,
) -> Callable[[], Any]:
    """A depthwise convolution alone; with ``gradients`` those by images and kernel too."""
    x = form.images(torch.randn(batch, channels, image, image)).requires_grad_(gradients)
    kernel = torch.randn(channels, 1, window, window, device=form.device).requires_grad_(gradients)

    def convolve() -> Tensor:
        padding = dilation * (window - 1) // 2
        return functional.conv2d(x, kernel, None, stride, padding, dilation, channels)

    if not gradients:
        return torch.inference_mode()(convolve)
    cotangent = form.images(torch.randn(convolve().shape))
    return lambda: torch.autograd.grad(convolve(), (x, kernel), cotangent)


STEPS: dict[str, Callable[..., Callable[[], Any]]] = {
    "search": search,
    "train": train,
    "recurrent_search": recurrent_search,
    "resnet_inference": resnet_inference,
    "resnet_training": resnet_training,
    "depthwise": depthwise,
}

if __name__ == "__main__":
    serve(prepare)
