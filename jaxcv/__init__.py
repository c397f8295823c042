"""A functional architecture library for computer vision on JAX and Flax."""

from importlib import metadata

try:
    __version__ = metadata.version("jaxcv")
except metadata.PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"
