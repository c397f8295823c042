"""A functional architecture library for computer vision on JAX and Flax."""

import os
import typing
from importlib import import_module, metadata
from types import ModuleType

if typing.TYPE_CHECKING:
    from jaxcv.models import Network

try:
    __version__ = metadata.version("jaxcv")
except metadata.PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"


_PARTS = (
    *("analysis", "blocks", "data", "functional", "genotype", "layers", "models", "plot"),
    *("pretrained", "training"),
)


def __getattr__(name: str) -> ModuleType:
    """A part of the library, imported when it is first named."""
    if name in _PARTS:
        return import_module(f"jaxcv.{name}")
    raise AttributeError(f"module 'jaxcv' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PARTS})


def load(folder: str | os.PathLike[str]) -> "Network":
    """The trained network in the run folder of a training.

    Raises:
        ValueError: for a folder that holds no training, or none with an undamaged checkpoint.
    """
    # Here, since most imports of the library need none of what training needs.
    from jaxcv.training import train

    return train.load(os.fspath(folder))
