"""Published PyTorch weights into a model, and back.

``create_model("resnet50", pretrained="timm/resnet50.a1_in1k")`` makes a model with them;
``save_weights(model, "mine.safetensors", "resnet50")`` writes what PyTorch loads.
"""

import os
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, traverse_util

from jaxcv.models import registry
from jaxcv.models.network import Names
from jaxcv.pretrained import _naming
from jaxcv.pretrained._sources import INSTALL, read_state_dict
from jaxcv.training.run import write_atomically

__all__ = ["load_weights", "read_state_dict", "save_weights"]


def load_weights(
    model: nnx.Module,
    source: str | os.PathLike[str] | Mapping[str, np.ndarray],
    names: str | Names,
) -> None:
    """Gives all variables of a model the values of a PyTorch state dict, in their own dtype.

    A prefix that DataParallel ("module.") or compile ("_orig_mod.") put before all names is left
    away. What is not used: counts of batches, and auxiliary heads if the model has none.

    Args:
        model: whose variables to set; they may be abstract, as of ``nnx.eval_shape``.
        source: a file or a name of the hub as for ``read_state_dict``, or the tensors by name.
        names: the name of a model in ``list_models()``, of whose libraries the one is taken that
            fits the source, or how another model's variables are called there.

    Raises:
        ValueError: for a source that cannot be read or does not fit, with what is missing,
            unexpected and of another shape, and an unknown name.
    """
    libraries = _libraries(names)
    tensors = source if isinstance(source, Mapping) else read_state_dict(source)
    for prefix in ("module.", "_orig_mod."):
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): array for name, array in tensors.items()}
    state = nnx.state(model)
    variables = traverse_util.flatten_dict(nnx.to_pure_dict(state))
    shapes = {path: variable.shape for path, variable in variables.items()}
    arrays = {
        # A copy, so that nothing holds the file.
        path: jnp.array(array, variables[path].dtype)
        for path, array in _naming.to_ours(tensors, shapes, libraries).items()
    }
    nnx.replace_by_pure_dict(state, traverse_util.unflatten_dict(arrays))
    nnx.update(model, state)


def save_weights(
    model: nnx.Module,
    path: str | os.PathLike[str],
    names: str | Names,
    *,
    library: str | None = None,
) -> None:
    """Writes all variables of a model as a safetensors file, whole or not at all, with the names
    and axes of PyTorch: its ``load_state_dict(safetensors.torch.load_file(path))`` takes them.

    Args:
        model: whose variables to write.
        path: of the file.
        names: as for ``load_weights``.
        library: whose names, of a model by name; by default those of its first library.

    Raises:
        ValueError: for an unknown name or library.
        OSError: if it cannot be written.
    """
    libraries = _libraries(names)
    library = next(iter(libraries)) if library is None else library
    if library not in libraries:
        raise ValueError(f"library={library!r}; allowed are {', '.join(libraries)}")
    try:
        from safetensors.numpy import save
    except ModuleNotFoundError:
        raise ValueError(f"weights cannot be saved without safetensors: {INSTALL}") from None
    arrays = jax.device_get(traverse_util.flatten_dict(nnx.to_pure_dict(nnx.state(model))))
    tensors = _naming.to_theirs(arrays, libraries[library])
    whole = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    write_atomically(os.fspath(path), save(whole, {"format": "pt"}))


def _libraries(names: str | Names) -> Mapping[str, Names]:
    if not isinstance(names, str):
        return {"the given table": names}
    libraries = registry.find(names).names
    if not libraries:
        raise ValueError(f"names={names!r}; allowed are models with published weights")
    return libraries
