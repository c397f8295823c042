"""The hardware and the versions that a result was made with."""

import os
import platform
from datetime import datetime
from importlib import metadata

import jax

_PACKAGES = ("jaxcv", "jax", "jaxlib", "flax", "optax", "numpy")


def environment() -> dict[str, str]:
    """Device, cores, system, Python and package versions, and the time, for a reader."""
    devices = jax.devices()
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # jaxcv itself, used from its source folder
    return {
        "device": f"{len(devices)} × {devices[0].device_kind} ({devices[0].platform})",
        "processors": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **versions,
        "written": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    }
