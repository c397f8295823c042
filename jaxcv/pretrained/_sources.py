"""Where weights come from: files of this machine, and the Hugging Face hub."""

import os
import re
from pathlib import Path

import numpy as np

from jaxcv.pretrained import _torch_files

_HUB_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/@]+))?(?:/(?P<file>.+))?")
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
INSTALL = "pip install 'jaxcv[weights]'"


def read_state_dict(source: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The tensors of a file by name, as they are in it.

    Nothing in a file is run. Of a checkpoint of a training the weights are taken that it holds as
    "state_dict_ema", "state_dict" or "model", in this order.

    Args:
        source: a file of safetensors, or of ``torch.save`` (``.pth``, ``.pt``, ``.bin``); or else
            a name of the Hugging Face hub, "owner/name", "owner/name@revision" or, for another
            file than ``model.safetensors`` or ``pytorch_model.bin``, "owner/name/file".

    Raises:
        ValueError: for a file that is not there, a damaged one, one of another kind, a name that
            the hub does not give, and where a package to read it is not installed.
    """
    path = _file(os.fspath(source))
    try:
        with path.open("rb") as file:
            # Eight bytes of length, then JSON.
            safe = file.read(9)[8:] == b"{"
        if safe:
            return _read_safetensors(path)
        return _torch_files.read(path)
    except ModuleNotFoundError:
        raise ValueError(f"{str(path)!r} cannot be read without safetensors: {INSTALL}") from None
    except Exception as error:  # whatever a damaged file makes its reader raise
        raise ValueError(
            f"{str(path)!r} cannot be read ({str(error) or type(error).__name__}); allowed are "
            "whole files of safetensors and of torch.save"
        ) from None


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(path)


def _file(source: str) -> Path:
    path = Path(source)
    if path.exists():
        return path
    name = _HUB_NAME.fullmatch(source)
    if name is None or (name["file"] is None and path.suffix in _SUFFIXES):
        raise ValueError(
            f"{source!r} is no file; allowed are files of safetensors and of torch.save, and names "
            "of the Hugging Face hub, owner/name"
        )
    try:
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ModuleNotFoundError:
        raise ValueError(
            f"{source!r} is no file, and the Hugging Face hub needs its package: {INSTALL}"
        ) from None
    offline = False
    reason: Exception | None = None
    for file in _HUB_FILES if name["file"] is None else (name["file"],):
        try:
            return Path(
                huggingface_hub.hf_hub_download(
                    name["repo"], file, revision=name["revision"], local_files_only=offline
                )
            )
        except EntryNotFoundError as error:
            # Without a network the other file may be in the cache, and trying again takes long.
            offline = isinstance(error, LocalEntryNotFoundError)
            reason = reason or error
        except Exception as error:  # of the hub, the network or the disk
            reason = error
            break
    raise ValueError(
        f"{source!r} is no file, and the Hugging Face hub does not give it "
        f"({' '.join(str(reason).split())})"
    )
