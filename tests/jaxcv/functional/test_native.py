"""Building the C++ kernels: several processes at once, no compiler, a compiler that fails."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jaxcv.functional import native
from search import mixed

ROOT = Path(__file__).parents[3]
PROGRAM = """
import jax.numpy as jnp
from jaxcv.functional import depthwise_conv2d, native
print(native.load(native.HERE / "depthwise.cc", "jaxcv_depthwise"))
print(float(depthwise_conv2d(jnp.ones((1, 5, 5, 4)), jnp.ones((3, 3, 1, 4))).sum()))
"""


COMPILER = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The compiler without optimization, which takes most of its time."""
    path = tmp_path_factory.mktemp("compiler") / "c++"
    path.write_text(f'#!/bin/sh\nexec "{COMPILER}" "$@" -O0\n')
    path.chmod(0o755)
    return str(path)


def start(cache, **variables):
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "JAX_PLATFORMS": "cpu", **variables}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env=environment,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process):
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert errors == ""
    return output.split()


@needs_compiler
@pytest.mark.parametrize(
    ("source", "targets"),
    [
        (native.HERE / "depthwise.cc", ["jaxcv_depthwise"]),
        (native.HERE / "pooling.cc", ["jaxcv_pool"]),
        (Path(mixed.__file__).parent / "native/mixed.cc",
         ["jaxcv_mixed_forward", "jaxcv_mixed_backward"]),
    ],
    ids=["depthwise", "pooling", "mixed"],
)  # fmt: skip
def test_every_kernel_is_built_with_the_jax_at_hand(source, targets):
    assert native.load(source, *targets)


@needs_compiler
def test_two_processes_may_build_at_once(tmp_path, quick):
    both = [start(tmp_path, CXX=quick) for _ in range(2)]
    assert [finish(process) for process in both] == [["True", "324.0"]] * 2
    assert [file.suffix for file in (tmp_path / "jaxcv/native").iterdir()] == [".so"]


@pytest.mark.parametrize("compiler", ["false", "no-such-compiler"])
def test_without_a_compiler_the_values_are_the_same_and_nobody_is_bothered(compiler, tmp_path):
    assert finish(start(tmp_path, CXX=compiler)) == ["False", "324.0"]
    assert not list(tmp_path.rglob("*.so")) + list(tmp_path.rglob("*.tmp"))


@needs_compiler
def test_a_damaged_library_is_built_again(tmp_path, quick):
    finish(start(tmp_path, CXX=quick))
    (library,) = tmp_path.rglob("*.so")
    library.write_bytes(b"not a library")
    assert finish(start(tmp_path, CXX=quick)) == ["True", "324.0"]
