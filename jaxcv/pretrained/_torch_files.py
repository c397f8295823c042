"""Tensors out of the files of ``torch.save``, without PyTorch and without running what is in them.

Such a file is a pickle whose tensors are views of storages, and the storages as raw numbers: in a
zip archive (``data.pkl``, ``data/<key>``) or, before PyTorch 1.6, one after the other.
"""

import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO

import jax.numpy as jnp
import numpy as np

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
# Where checkpoints of a training keep the weights; the averaged ones are the ones to use.
_NESTED = ("state_dict_ema", "state_dict", "model")

_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}


# Why a foreign pickle is harmless here. What it calls or instantiates has to be on its stack, and
# there come only plain data, what ``find_class`` gives and what the calls return. ``find_class``
# looks a pair of names up in a table and resolves nothing, so that "a.b" is no attribute of a. In
# the table are strings and the classes below, which keep their arguments; no instance can be
# called. BUILD would set attributes, even those of a class, were there no ``__setstate__``: all
# the classes have one that does nothing, and for the class itself it lacks an argument.


class _Data:
    """What is made of no arguments that matter."""

    def __setstate__(self, state: object) -> None:
        pass


class _Dict(_Data, dict[Any, Any]):
    """In place of an ``OrderedDict``, whose attributes hold nothing that is needed here."""


class _Storage(_Data):
    """Numbers in a row, once they are read."""

    def __init__(self, dtype: str, key: str, count: int):
        self.dtype, self.key, self.count = jnp.dtype(dtype), key, count
        self.numbers: np.ndarray | None = None

    def fill(self, data: bytes) -> None:
        if len(data) != self.count * self.dtype.itemsize:
            raise ValueError(f"a storage has {len(data)} bytes; allowed is {self.count} numbers")
        self.numbers = np.frombuffer(data, self.dtype)


class _Tensor(_Data):
    """A view of a storage; offset and strides count numbers."""

    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: object):
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def array(self) -> np.ndarray:
        numbers, offset, shape = self.storage.numbers, self.offset, self.shape
        # Beyond the storage would be other memory of this program.
        last = offset
        for size, stride in zip(shape, self.strides, strict=True):
            last += (size - 1) * stride
        if not all(isinstance(n, int) and n >= 0 for n in (offset, *shape, *self.strides)) or (
            0 not in shape and last >= len(numbers)
        ):
            raise ValueError(
                f"a tensor has offset {offset}, shape {shape} and strides {self.strides} in a "
                f"storage of {len(numbers)} numbers"
            )
        strides = [stride * numbers.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(numbers[offset:], shape, strides, writeable=False)


class _Parameter(_Data):
    """The tensor of a parameter."""

    def __new__(cls, tensor: Any, *_: object) -> Any:
        return tensor


_KNOWN: Mapping[tuple[str, str], object] = {
    ("argparse", "Namespace"): _Data,
    ("collections", "OrderedDict"): _Dict,
    ("torch._utils", "_rebuild_parameter"): _Parameter,
    ("torch._utils", "_rebuild_tensor"): _Tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    **{("torch", name): dtype for name, dtype in _STORAGES.items()},
}


# In C, one damaged byte can make the table of what was seen take all memory.
class _Unpickler(pickle._Unpickler):
    """Reads one pickle and notes its storages by key."""

    def __init__(self, file: IO[bytes]):
        # The encoding is for the strings of Python 2.
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise ValueError(
                f"it asks for {module}.{name}, which is not run here; allowed are tensors in "
                "dicts, as torch.save(model.state_dict(), path) writes"
            ) from None

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            # The last one, of the older format, would be a part of the storage.
            case ("storage", str(dtype), str(key), _, int(count), *part) if part in ([], [None]):
                return self.storages.setdefault(key, _Storage(dtype, key, count))
        raise ValueError("it refers to something that is no storage")


def read(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict by name, or of the one in a checkpoint.

    Args:
        path: of a file of ``torch.save``, of either format.

    Raises:
        ValueError: for content that is not run here, and a broken rule of the format. A damaged
            file raises whatever its reading does.
    """
    with path.open("rb") as file:
        if file.read(2) == b"PK":
            with zipfile.ZipFile(file) as archive:
                return _read_zip(archive)
        file.seek(0)
        return _read_legacy(file)


def _read_zip(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    names = archive.namelist()
    folder = next((name[:-8] for name in names if name.endswith("/data.pkl")), None)
    if folder is None:
        raise ValueError("the archive has no data.pkl")
    order = f"{folder}byteorder"
    if order in names and archive.read(order) != b"little":
        raise ValueError("its numbers are not little-endian")
    with archive.open(f"{folder}data.pkl") as file:
        tensors = _state_dict(_Unpickler(file).load())
    for storage in {tensor.storage for tensor in tensors.values()}:
        storage.fill(archive.read(f"{folder}data/{storage.key}"))
    return {name: tensor.array() for name, tensor in tensors.items()}


def _read_legacy(file: BinaryIO) -> dict[str, np.ndarray]:
    if [_Unpickler(file).load() for _ in range(2)] != [_LEGACY_MAGIC, _LEGACY_PROTOCOL]:
        raise ValueError("it is a pickle, but not of torch.save")
    _Unpickler(file).load()  # of the machine that wrote it
    unpickler = _Unpickler(file)
    tensors = _state_dict(unpickler.load())
    for key in _Unpickler(file).load():
        storage = unpickler.storages[key]
        (count,) = struct.unpack("<q", file.read(8))
        storage.fill(file.read(count * storage.dtype.itemsize))
    return {name: tensor.array() for name, tensor in tensors.items()}


def _state_dict(content: Any) -> dict[str, _Tensor]:
    """The tensors by name, of a state dict or of one inside a dict."""
    if isinstance(content, dict):
        for inside in (*(content.get(key) for key in _NESTED), content):
            if isinstance(inside, dict):
                tensors = {str(k): v for k, v in inside.items() if isinstance(v, _Tensor)}
                if tensors:
                    return tensors
    raise ValueError("it holds no tensors by name")
