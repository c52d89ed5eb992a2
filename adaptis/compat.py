"""What MXNet 1.9.1 needs before ``import mxnet``; importing ``adaptis`` does it, and no more.

MXNet and GluonCV use numpy names that numpy 1.24 removed (``np.bool`` and its kin), MXNet uses half
the processors it finds and memory for every size of image it has seen, and the ``mxnet-cu112``
wheel expects the CUDA 11 libraries to be loadable.
This module is the only place that knows about any of it.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import importlib.util
import os
import sys
from pathlib import Path

import numpy as np

THREADS = "OMP_NUM_THREADS"  # the variable; of what MXNet computes, and ONNX Runtime here
REPOSITORY = ("models", "datasets")  # not in the package, whose names would be other people's

_CONTAINER_LIMITS = (  # bytes of memory, by control groups of version 2 and 1
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_GIVEN_THREADS = os.environ.get(THREADS)  # before it is set below
_REMOVED_ALIASES = ("bool", "int", "float", "complex", "object", "str")

# In the order they load each other; file name beginnings inside the nvidia-*-cu11 wheels.
_CUDA_LIBRARIES = (
    "cuda_runtime/lib/libcudart.so.11",
    "cuda_nvrtc/lib/libnvrtc.so.11",
    "nvtx/lib/libnvToolsExt.so.1",
    "cublas/lib/libcublasLt.so.11",
    "cublas/lib/libcublas.so.11",
    "cudnn/lib/libcudnn.so.8",
    "cufft/lib/libcufft.so.10",
    "cusolver/lib/libcusolver.so.11",
    "curand/lib/libcurand.so.10",
    "nccl/lib/libnccl.so.2",
)


def _restore_numpy_aliases() -> None:
    for name in _REMOVED_ALIASES:
        if name not in np.__dict__:
            setattr(np, name, getattr(builtins, name))


def _preload_cuda() -> None:
    """Load the CUDA 11 libraries of the ``nvidia-*-cu11`` wheels, where they are installed."""
    nvidia = importlib.util.find_spec("nvidia")
    for folder in (nvidia and nvidia.submodule_search_locations) or ():
        for library in _CUDA_LIBRARIES:
            for path in sorted(Path(folder).glob(f"{library}*")):
                ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


def import_mxnet() -> None:
    """Import MXNet. Raises ImportError that says what to install where it can't be."""
    try:
        import mxnet  # noqa: F401
    except (ImportError, OSError) as error:
        raise ImportError(explain_import_error(error)) from error


def explain_import_error(error: Exception) -> str:
    """What is missing and what to do, of an import of MXNet or another requirement that failed.

    Parameters:
        error: ImportError, or the OSError of a shared library of the system.
    """
    if isinstance(error, ModuleNotFoundError):
        if error.name in REPOSITORY:
            return f"{error}: run this in a clone of the repository, whose networks it needs"
        return (
            f"{error}. Install requirements.txt: README.md says how, and on which systems MXNet "
            "runs"
        )
    if isinstance(error, ImportError):
        return str(error)
    if "libcuda.so" in str(error):
        remedy = "The NVIDIA driver is missing; without a GPU install requirements.txt"
    else:
        remedy = "On Debian and Ubuntu: apt-get install libgomp1 libquadmath0"
    return f"MXNet can't load a system library: {error}. {remedy}"


def _bound_memory() -> None:
    """MXNet and oneDNN keep what they prepare for each layer and size of image, without end: some
    10 MB a size. A network has fewer different layers than the limit: ResNet-101 trains no slower
    than with four times as much. And MXNet keeps four work spaces, each as large as the largest
    array that changed its layout there; operators run one after another, so one does."""
    for variable in ("MXNET_MKLDNN_CACHE_NUM", "DNNL_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(variable, "64")
    os.environ.setdefault("MXNET_CPU_TEMP_COPY", "1")


def give_back_memory() -> None:
    """Return what was freed to the system: arrays of ever-changing sizes leave gaps in the heap
    that none of the next ones fits. Does nothing where the C library isn't glibc."""
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)


def available_memory() -> int:
    """Bytes that processes can take before the system swaps, at most a container's limit; 0 where
    that isn't known: not on Linux."""
    if sys.platform != "linux":
        return 0
    meminfo = Path("/proc/meminfo").read_text()
    available = int(meminfo.split("MemAvailable:")[1].split()[0]) * 1024
    for limit in _CONTAINER_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            available = min(available, int(limit.read_text()))
    return available


def threads_each(processes: int) -> str:
    """OMP_NUM_THREADS of each of some processes that compute side by side: what it was when this
    one started, else an equal share of the processors."""
    return _GIVEN_THREADS or str(max(1, processors() // processes))


def threads_given() -> bool:
    """Whether OMP_NUM_THREADS was set when this process started."""
    return _GIVEN_THREADS is not None


def processors() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _use_every_core() -> None:
    """MXNet takes half the processors for its operators, as if each core had two threads; where
    they have one it would leave half the machine idle."""
    siblings = Path("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list")
    if siblings.exists() and siblings.read_text().strip() == "0":
        os.environ.setdefault(THREADS, str(processors()))


if importlib.util.find_spec("mxnet"):  # where only ONNX Runtime is, nothing needs any of it
    _restore_numpy_aliases()
    _use_every_core()
    _bound_memory()
    _preload_cuda()
