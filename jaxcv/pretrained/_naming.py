"""Between our variables and the tensors of another library: names, axes, what does not fit."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jaxcv.models.network import Names

Path = tuple[Any, ...]

# After the names of the layers, in which the libraries differ.
_LEAVES: Names = (
    (r"\.(kernel|scale)$", ".weight"),
    (r"\.offset$", ".bias"),
    (r"\.mean$", ".running_mean"),
    (r"\.variance$", ".running_var"),
)
# Of kernels by their number of axes: inputs and outputs; HWIO and OIHW.
_TO_THEIRS = {2: (1, 0), 4: (3, 2, 0, 1)}
_TO_OURS = {2: (1, 0), 4: (2, 3, 1, 0)}
_SHOWN = 4


def their_names(paths: Iterable[Path], names: Names) -> dict[str, Path]:
    """Our variables by what another library calls them.

    Raises:
        ValueError: if it calls two of them the same.
    """
    found: dict[str, Path] = {}
    for path in paths:
        name = ".".join(map(str, path))
        for pattern, replacement in (*names, *_LEAVES):
            name = re.sub(pattern, replacement, name)
        if name in found:
            raise ValueError(f"names call both {found[name]} and {path} {name!r}")
        found[name] = path
    return found


def to_theirs(arrays: Mapping[Path, np.ndarray], names: Names) -> dict[str, np.ndarray]:
    """Our arrays with the names and the axes of another library, as views."""
    return {
        name: _turned(path, arrays[path], _TO_THEIRS)
        for name, path in their_names(arrays, names).items()
    }


def to_ours(
    tensors: Mapping[str, np.ndarray],
    shapes: Mapping[Path, tuple[int, ...]],
    libraries: Mapping[str, Names],
) -> dict[Path, np.ndarray]:
    """The tensors of another library for our variables, as views.

    Args:
        tensors: by name.
        shapes: of all our variables.
        libraries: how each calls our variables; the one is taken that fits best.

    Raises:
        ValueError: for names that are missing or unexpected, and for other shapes.
    """
    candidates = {library: their_names(shapes, names) for library, names in libraries.items()}
    library, paths = max(candidates.items(), key=lambda each: len(each[1].keys() & tensors.keys()))
    parts = {name.partition(".")[0] for name in paths}
    misfits = {
        "missing": [name for name in paths if name not in tensors],
        "unexpected": [name for name in tensors if name not in paths and not _unused(name, parts)],
    }
    found, shaped = {}, []
    for name, path in paths.items():
        if name in tensors:
            found[path] = _turned(path, tensors[name], _TO_OURS)
            if found[path].shape != shapes[path]:
                allowed = _turned(path, np.broadcast_to(0, shapes[path]), _TO_THEIRS).shape
                shaped.append(f"{name} {tensors[name].shape}, allowed is {allowed}")
    misfits["of another shape"] = shaped
    if any(misfits.values()):
        raise ValueError(
            f"the weights do not fit the model by the names of {library}"
            + "".join(f"\n{kind}: {_listed(items)}" for kind, items in misfits.items() if items)
        )
    return found


def _turned(path: Path, array: np.ndarray, axes: Mapping[int, tuple[int, ...]]) -> np.ndarray:
    kernel = path[-1] == "kernel" and array.ndim in axes
    return array.transpose(axes[array.ndim]) if kernel else array


def _unused(name: str, parts: set[str]) -> bool:
    """Whether a tensor has no variable of ours by right: a count that only batch norms without a
    momentum use, or an auxiliary head (aux1, AuxLogits, auxiliary_head), which is for training,
    where the model has none."""
    part = name.partition(".")[0]
    auxiliary = part.lower().startswith("aux") and part not in parts
    return auxiliary or name.endswith("num_batches_tracked")


def _listed(items: list[str]) -> str:
    items = sorted(items)
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return f"{'; '.join(items[:_SHOWN])}{more}"
