"""C++ kernels for the CPU, compiled for the machine that they run on when they are first used.

Where there is no compiler, ``load`` says so by returning False, and the caller goes on with what
XLA has. ``CXX`` names the compiler, as everywhere; ``CXX=false`` keeps from compiling.
"""

import ctypes
import functools
import hashlib
import logging
import os
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jaxlib
from jax.extend.core import Primitive
from jax.interpreters import mlir

HERE = Path(__file__).parent
_FLAGS = ("-std=c++17", "-O3", "-march=native", "-fPIC", "-shared")
_LOG = logging.getLogger(__name__)
_LOCK = threading.Lock()


def load(source: Path, *targets: str) -> bool:
    """Makes the handlers ``targets`` of a C++ file known to XLA, under their own names.

    Args:
        source: the file; it may include the headers of this folder and of its own.
        targets: symbols of XLA FFI handlers.

    Returns:
        Whether they can be called now.
    """
    with _LOCK:
        return _load(source, targets)


@functools.cache
def _load(source: Path, targets: tuple[str, ...]) -> bool:
    try:
        path = _built(source)
        try:
            library = ctypes.CDLL(str(path))
        except OSError:  # damaged: once more
            path.unlink()
            library = ctypes.CDLL(str(_built(source)))
    except (OSError, subprocess.SubprocessError) as error:
        _LOG.info("no C++ kernels of %s: %s", source.name, error)
        return False
    for target in targets:
        capsule = jax.ffi.pycapsule(getattr(library, target))
        jax.ffi.register_ffi_target(target, capsule, platform="cpu")
    return True


def register_lowering(
    primitive: Primitive, form: Callable[..., Any], portable: Callable[..., Any]
) -> None:
    """Lowers a primitive on the CPU to ``form``; in programs that are exported, which may run where
    there are no such kernels, to ``portable``."""

    def rule(context: Any, *arguments: Any, **static: Any) -> Any:
        exported = context.module_context.lowering_parameters.for_export
        lowered = mlir.lower_fun(
            portable if exported else form, multiple_results=primitive.multiple_results
        )
        return lowered(context, *arguments, **static)

    mlir.register_lowering(primitive, rule, platform="cpu")


def _built(source: Path) -> Path:
    """The compiled library, from the cache if sources, compiler, processor and jaxlib are the
    same. Two processes may build at once: each renames a whole file into place."""
    compiler = _compiler()
    macros = _run([*compiler, *_FLAGS, "-dM", "-E", "-x", "c++", os.devnull])
    digest = hashlib.sha256(f"{_FLAGS} {jaxlib.__version__}".encode() + macros)
    for file in (source, *sorted(HERE.glob("*.h")), *sorted(source.parent.glob("*.h"))):
        digest.update(file.read_bytes())
    folder = _cache()
    library = folder / f"{source.stem}-{digest.hexdigest()[:20]}.so"
    if not library.exists():
        handle, name = tempfile.mkstemp(dir=folder, suffix=".tmp")
        os.close(handle)
        try:
            include = ("-I", str(HERE), "-isystem", jax.ffi.include_dir())
            _run([*compiler, *_FLAGS, *include, str(source), "-o", name])
            Path(name).replace(library)
        finally:
            Path(name).unlink(missing_ok=True)
    return library


def _compiler() -> Sequence[str]:
    if "CXX" in os.environ:
        return shlex.split(os.environ["CXX"])
    for name in ("c++", "g++", "clang++"):
        if found := shutil.which(name):
            return [found]
    raise OSError("no C++ compiler")


def _run(command: Sequence[str]) -> bytes:
    return subprocess.run(command, check=True, capture_output=True, timeout=120).stdout


def _cache() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "jaxcv" / "native"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError):
        return Path(tempfile.mkdtemp(prefix="jaxcv-"))
    return folder
