"""Checkpoints of a state, any pytree of arrays, through orbax.

A checkpoint is ``checkpoints/<step>/``. Orbax writes it under another name and renames it when it
is whole. It holds a digest of its arrays, so that damage is noticed, and the one before is used.
"""

import hashlib
import shutil
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from jaxcv.training.parallel import agreed

_KEPT = 2
_DIGEST = "digest"


def save(folder: Path, step: int, state: Any) -> None:
    """Writes ``folder/<step>`` and removes all but the newest two. Of several processes all call
    it, and the first one writes.

    Args:
        folder: the checkpoints' folder of a run.
        step: how many steps the state has taken.
        state: a pytree of arrays.

    Raises:
        OSError: if it cannot be written.
    """
    target = folder / str(step)
    (exists,) = agreed(target.exists())
    if exists:
        return
    arrays = _by_name(jax.device_get(state))
    arrays[_DIGEST] = _digest(arrays)
    # An absolute path, since orbax takes no other.
    ocp.save(target.absolute(), arrays)
    if jax.process_index() == 0:
        for old in steps(folder)[:-_KEPT]:
            shutil.rmtree(folder / str(old), ignore_errors=True)


def steps(folder: Path) -> list[int]:
    """The steps of the whole checkpoints in a folder, in order."""
    if not folder.is_dir():
        return []
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal())


def restore_latest(folder: Path, like: Any) -> tuple[int, Any] | None:
    """The newest checkpoint that is undamaged, and its step; None if there is none.

    A damaged one is reported as a warning. Of several processes all call it, as orbax numbers its
    work and must have the same number in all of them when they save.

    Args:
        folder: the checkpoints' folder of a run.
        like: a state, or its shapes, that gives the structure.
    """
    leaves, structure = jax.tree.flatten_with_path(like)
    for step in reversed(steps(folder)):
        try:
            arrays = _load(folder / str(step), like)
        except Exception as error:  # whatever a damaged file makes orbax raise
            reason = (str(error) or type(error).__name__).splitlines()[0][:120]
            warnings.warn(
                f"checkpoint {step} is damaged ({reason}); the one before is used", stacklevel=2
            )
            continue
        values = [arrays[jax.tree_util.keystr(path)] for path, _ in leaves]
        return step, jax.tree.unflatten(structure, values)
    return None


def clear_after(folder: Path, step: int | None) -> None:
    """Removes what is not a whole checkpoint of at most ``step`` (None: everything): damaged ones,
    and what a killed process left half-written. For the one run that writes there, of whose
    processes the first one does it."""
    for entry in folder.iterdir() if folder.is_dir() and jax.process_index() == 0 else ():
        if step is None or not entry.name.isdecimal() or int(entry.name) > step:
            shutil.rmtree(entry, ignore_errors=True)


def _alone() -> AbstractContextManager[Any]:
    """Reading that waits for no other process."""
    if jax.process_count() == 1:
        return nullcontext()
    context = ocp.Context()
    context.multiprocessing.primary_host = jax.process_index()
    context.multiprocessing.active_processes = {jax.process_index()}
    return context


def _load(path: Path, like: Any) -> dict[str, np.ndarray]:
    wanted = {name: np.empty(leaf.shape, leaf.dtype) for name, leaf in _by_name(like).items()}
    wanted[_DIGEST] = np.empty(32, np.uint8)
    with _alone():
        arrays = ocp.load(path.absolute(), wanted)
    digest = arrays.pop(_DIGEST)
    if not np.array_equal(digest, _digest(arrays)):
        raise ValueError("its digest differs from that of its arrays")
    return arrays


def _by_name(state: Any) -> dict[str, Any]:
    leaves, _ = jax.tree.flatten_with_path(state)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def _digest(arrays: dict[str, Any]) -> np.ndarray:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        array = np.asarray(array)
        digest.update(f"{name} {array.dtype} {array.shape};".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return np.frombuffer(digest.digest(), np.uint8)
