"""Numbers of the PyTorch oracle in the form of our networks, weights, gradients or momentum, and
how to compare them.

Ours and theirs are walked together, layer by layer in the order of execution. OIHW kernels become
HWIO and linear ones are transposed; where our operations are stacked along an edge axis, the
tensors of the edges are.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from torch_reference import SearchCell as TorchSearchCell
from torch_reference import SearchNetwork as TorchSearchNetwork
from torch_reference import leaves

from jaxcv.blocks import FactorizedReduce, ReLUConvBN
from jaxcv.blocks.operations import Pool
from jaxcv.layers import BatchNorm, Conv2d, Linear
from jaxcv.models import CellNetwork
from jaxcv.models.discrete import Cell
from jaxcv.models.skeleton import AuxiliaryHead, CellInputs, Stem
from search.supernet import SearchCell, SearchNetwork

# Its threads wait for each other when other processes, such as those of a test run, have the cores.
torch.set_num_threads(1)

# Compiling takes far longer than running here.
QUICK: dict[str, bool | int] = {"xla_backend_optimization_level": 0}
if jax.__version_info__ < (0, 11):  # the newer ones have no such option
    QUICK["xla_cpu_use_fusion_emitters"] = False
quick_jit = functools.partial(jax.jit, compiler_options=QUICK)

_AXES = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}


class Match(NamedTuple):
    """One of our variables and the tensors it is made of: one, or one for each stacked edge."""

    variable: nnx.Variable
    tensors: list[torch.Tensor]
    stacked: bool

    def read(self, of: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
        arrays = [of(tensor).detach().numpy() for tensor in self.tensors]
        arrays = [array.transpose(_AXES[array.ndim]) for array in arrays]
        return np.stack(arrays) if self.stacked else arrays[0]


def matches(ours: nnx.Module, theirs: torch.nn.Module) -> Iterator[Match]:
    """Every variable of ours with the tensors that it corresponds to."""
    if isinstance(ours, SearchNetwork):
        assert isinstance(theirs, TorchSearchNetwork)
        yield from matches(ours.stem, theirs.stem)
        for cell, their_cell in zip(ours.cells, theirs.cells, strict=True):
            yield from matches(cell, their_cell)
        yield from matches(ours.classifier, theirs.classifier)
    elif isinstance(ours, SearchCell):
        assert isinstance(theirs, TorchSearchCell)
        yield from matches(ours.inputs.before, theirs.preprocess0)
        yield from matches(ours.inputs.last, theirs.preprocess1)
        for mixed, (_, edges, columns) in zip(ours.mixed, ours.groups, strict=True):
            for operation, column in zip(mixed.operations, columns, strict=True):
                if isinstance(operation, Pool):
                    continue  # their batch norm beside it has nothing to copy
                originals = [theirs.edges[edge][column] for edge in edges]
                yield from _matched_layers(operation, originals, stacked=True)
    else:
        yield from _matched_layers(ours, [theirs], stacked=False)


def tree(
    ours: nnx.Module,
    theirs: torch.nn.Module,
    kind: type[nnx.Variable] = nnx.Param,
    of: Callable[[torch.Tensor], torch.Tensor] = torch.clone,
) -> Any:
    """The pure dict of our module's variables of a kind, with their numbers.

    Args:
        ours: may be abstract, from ``nnx.eval_shape``.
        theirs: the module that it corresponds to.
        kind: ``nnx.Param`` or ``nnx.BatchStat``.
        of: what to take of each of their tensors, itself, its gradient or its momentum.
    """
    copy = nnx.clone(ours)
    for match in matches(copy, theirs):
        if isinstance(match.variable, kind):
            value = match.read(of)
            assert match.variable.shape == value.shape, (match.variable.shape, value.shape)
            match.variable.set_value(jnp.asarray(value))
    return nnx.to_pure_dict(nnx.state(copy, kind))


def gradient(tensor: torch.Tensor) -> torch.Tensor:
    """Zeros for a parameter that had no part in the loss."""
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad


def randomize(module: torch.nn.Module, seed: int) -> None:
    """Moves batch norms away from the identity, so that a copy that misses them shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in leaves(module):
            if not isinstance(layer, torch.nn.BatchNorm2d):
                continue
            for positive in (layer.weight, layer.running_var):
                if positive is not None:
                    positive.uniform_(0.5, 1.5, generator=generator)
            for any_sign in (layer.bias, layer.running_mean):
                if any_sign is not None:
                    any_sign.normal_(0, 0.5, generator=generator)


def close(ours: Any, theirs: Any, tolerance: float = 1e-9, rounding: float = 0.0) -> None:
    """Asserts that two trees are equal, to within this part of each array's largest entry, and at
    least to within this part of the largest entry of all."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    largest = max((np.abs(each).max(initial=0) for each in jax.tree.leaves(theirs)), default=0)

    def compare(path: Any, a: Any, b: Any) -> None:
        assert a.dtype == b.dtype, (path, a.dtype, b.dtype)
        error = max(tolerance * np.abs(b).max(initial=0), rounding * largest)
        np.testing.assert_allclose(a, b, 0, error, err_msg=jax.tree_util.keystr(path))

    jax.tree.map_with_path(compare, ours, theirs)


def to_torch(images: np.ndarray) -> torch.Tensor:
    """NHWC to NCHW."""
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def from_torch(images: torch.Tensor) -> np.ndarray:
    """NCHW to NHWC."""
    return images.detach().numpy().transpose(0, 2, 3, 1)


# Modules do not remember in which order their layers run.
_ORDER = {
    FactorizedReduce: ("even", "odd", "norm"),
    ReLUConvBN: ("convolutions", "norm"),
    CellInputs: ("before", "last"),
    Cell: ("inputs", "edges"),
    AuxiliaryHead: ("first", "first_norm", "second", "second_norm", "classifier"),
    CellNetwork: ("stem", "cells", "auxiliary", "classifier"),
}


def _layers(module: Any) -> Iterator[nnx.Module]:
    """Our layers in the order of execution."""
    if isinstance(module, (Conv2d, BatchNorm, Linear)):
        yield module
    elif isinstance(module, nnx.List):
        for child in module:
            yield from _layers(child)
    elif isinstance(module, Stem):
        for pair in zip(module.convolutions, module.norms, strict=True):
            yield from pair
    elif type(module) in _ORDER:
        for name in _ORDER[type(module)]:
            if getattr(module, name) is not None:
                yield from _layers(getattr(module, name))
    else:
        children = [child for child in vars(module).values() if isinstance(child, nnx.Module)]
        assert len(children) <= 1, f"the order of {type(module).__name__} is unknown"
        for child in children:
            yield from _layers(child)


_VARIABLES = {
    Conv2d: {"kernel": "weight", "bias": "bias"},
    BatchNorm: {
        "scale": "weight",
        "offset": "bias",
        "mean": "running_mean",
        "variance": "running_var",
    },
    Linear: {"kernel": "weight", "bias": "bias"},
}
_LAYERS = {Conv2d: torch.nn.Conv2d, BatchNorm: torch.nn.BatchNorm2d, Linear: torch.nn.Linear}


def _matched_layers(
    ours: nnx.Module, theirs: list[torch.nn.Module], *, stacked: bool
) -> Iterator[Match]:
    for layer, *originals in zip(_layers(ours), *map(leaves, theirs), strict=True):
        assert all(isinstance(original, _LAYERS[type(layer)]) for original in originals)
        for name, their_name in _VARIABLES[type(layer)].items():
            variable = getattr(layer, name)
            tensors = [getattr(original, their_name) for original in originals]
            assert all((tensor is None) == (variable is None) for tensor in tensors)
            if variable is not None:
                yield Match(variable, tensors, stacked)
