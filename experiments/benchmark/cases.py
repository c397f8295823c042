"""What is measured, as data: a case is a kind of work and its sizes, the same for all sides."""

import itertools
from dataclasses import dataclass, field
from typing import Any

SIDES = ("jaxcv", "PyTorch")


@dataclass(frozen=True)
class Case:
    """One row of the result."""

    name: str
    """Unique; what --only looks at."""
    kind: str
    """Of work: a function of ``jax_side`` and one of ``torch_side`` prepare it."""
    sizes: dict[str, Any] = field(default_factory=dict)
    """What these functions are called with."""
    sides: tuple[str, ...] = SIDES
    """Who does it: jaxcv, PyTorch, lax, which is JAX without jaxcv, or first order, which is the
    first-order step of jaxcv for a case of another gradient."""
    forms: tuple[str, ...] = ("contiguous", "channels_last")
    """Of PyTorch. The best is also tried with threads that wait passively, and is measured."""
    torch_compile: bool = True
    """Whether the best of these is tried with ``torch.compile`` too."""
    only_compiled: bool = False
    """Whether only the compilation is measured."""
    needs_gpu: bool = False
    """Whether it is skipped where there is none."""


def _cells(
    kind: str, title: str, layers: int, batch: int, gradient: str | None = None, **more: Any
) -> Case:
    sizes: dict[str, Any] = {"channels": 16, "layers": layers, "image": 32, "batch": batch}
    if gradient is not None:
        sizes["gradient"] = gradient
    name = f"{title}, {layers} cells, 16 channels, 32×32, batch {batch}"
    return Case(name, kind, sizes, **more)


def _recurrent(units: int, batch: int, steps: int) -> Case:
    sizes = {"units": units, "batch": batch, "steps": steps, "vocabulary": 10_000}
    name = f"recurrent search step, {units} units, {steps} words, batch {batch}"
    return Case(name, "recurrent_search", sizes, forms=("contiguous",))


def _resnet(kind: str, batch: int, **more: Any) -> Case:
    sizes = {"depths": [3, 4, 6, 3], "classes": 1000, "image": 224, "batch": batch}
    return Case(f"resnet50 {kind}, 224×224, batch {batch}", f"resnet_{kind}", sizes, **more)


def _depthwise(window: int, dilation: int, stride: int, channels: int, gradients: bool) -> Case:
    sizes = {
        "window": window,
        "dilation": dilation,
        "stride": stride,
        "channels": channels,
        "gradients": gradients,
        "image": 32,
        "batch": 16,
    }
    name = (
        f"depthwise_conv2d {window}×{window}, dilation {dilation}, stride {stride}, "
        f"{channels} channels, {'forward and backward' if gradients else 'forward'}"
    )
    # There is nothing around a single operation that could be compiled into it.
    return Case(
        name, "depthwise", sizes, (*SIDES, "lax"), forms=("channels_last",), torch_compile=False
    )


CASES = (
    _cells("search", "search step", 8, 16),
    _cells("search", "search step", 8, 64),
    _cells(
        "search",
        "second-order search step, finite difference",
        8,
        16,
        "second_order",
        sides=(*SIDES, "first order"),
        torch_compile=False,
    ),
    _cells(
        "search",
        "second-order search step, exact",
        8,
        16,
        "unrolled",
        sides=("jaxcv", "first order"),
    ),
    _cells("search", "search compilation", 20, 16, sides=("jaxcv",), only_compiled=True),
    _cells("train", "train step of DARTS_V2", 8, 16),
    _recurrent(300, 64, 35),
    _resnet("inference", 1),
    _resnet("inference", 16),
    _resnet("training", 1),
    _resnet("training", 16),
    _resnet("inference", 256, needs_gpu=True),
    _resnet("training", 128, needs_gpu=True),
    *(
        _depthwise(*sizes)
        for sizes in itertools.product((3, 5), (1, 2), (1, 2), (16, 32, 64), (False, True))
    ),
)

MACHINE = Case("machine", "machine", {"matrix": 4096, "array": 2**25}, ("jaxcv",))
