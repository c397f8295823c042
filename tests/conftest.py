"""Settings of the whole test run."""

import atexit
import os
import shutil
import tempfile
from importlib.metadata import version

from hypothesis import HealthCheck, settings

# One compilation cache for all workers of a run, and for the commands that tests start.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jaxcv-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
# Small programs too, of which every process has some hundred.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# Compiling takes most of the time, and twice as much with optimization.
_quick = "--xla_backend_optimization_level=0"
if tuple(map(int, version("jax").split(".")[:2])) < (0, 11):  # the newer ones have no such flag
    _quick += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", _quick)
# No GPU in tests: the same figures everywhere.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The same examples in every run, however slow the machine is.
settings.register_profile(
    "jaxcv",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("jaxcv")
