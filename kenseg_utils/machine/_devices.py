"""What the model runs on, and the number format that suits it."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")


def device() -> str:
    """The device that Keras computes on, such as "GPU (Tesla T4)" or "CPU (2 cores)"."""
    gpu = _gpu()
    return f"GPU ({gpu[0]})" if gpu else f"CPU ({os.cpu_count()} cores)"


def processor() -> str:
    """The processor's name as the system tells it, such as "AMD EPYC"."""
    named = [
        line.split(":", 1)[1].strip()
        for line in _cpuinfo().splitlines()
        if line.startswith("model name")
    ]
    return named[0] if named else platform.processor() or platform.machine()


def trainings_at_once() -> int:
    """How many small trainings share this machine well: one on a GPU, else one for each core.

    At most four, since each needs one to two GB of memory. A process that was given fewer threads
    (`TF_NUM_INTRAOP_THREADS`), since others work beside it, has as many cores as threads.
    """
    if _gpu():
        return 1
    given = os.environ.get("TF_NUM_INTRAOP_THREADS", "")
    cores = os.cpu_count() or 1
    if given.isdecimal() and int(given) > 0:  # 0: as many as there are
        cores = min(cores, int(given))
    return min(4, cores)


def choose_precision(precision: str = "auto") -> str:
    """The Keras dtype policy for this device; anything but "auto" is taken as given.

    GPUs from compute capability 8 on and CPUs with bfloat16 units get `mixed_bfloat16`, GPUs of
    capability 7 `mixed_float16` (Keras then scales the loss), all others `float32`; so does JAX
    on a CPU, which makes no use of those units.
    Mixed policies keep the weights in float32, without which a learning rate of 1e-6 would
    change nothing.
    The environment's KENSEG_PRECISION takes the place of "auto": to try what another device does,
    or to keep one that makes trouble to float32.
    """
    if precision == "auto":
        precision = os.environ.get("KENSEG_PRECISION") or "auto"
    if precision not in PRECISIONS:
        raise ValueError(f"Unknown precision {precision!r}: choose one of {', '.join(PRECISIONS)}.")
    if precision != "auto":
        return precision
    gpu = _gpu()
    if gpu:
        return "mixed_bfloat16" if gpu[1] >= 8 else "mixed_float16" if gpu[1] >= 7 else "float32"
    import keras

    used = _cpu_has_bfloat16() and keras.backend.backend() != "jax"
    return "mixed_bfloat16" if used else "float32"


def _cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself; emulating it is slower than float32.

    TensorFlow's kernels on CPUs are oneDNN's, whose variable ONEDNN_MAX_CPU_ISA keeps them from
    newer instructions: with AVX512_CORE any processor is like one that lacks these units.
    """
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    if allowed and not any(name in allowed for name in ("BF16", "FP16", "AMX", "AVX10", "DEFAULT")):
        return False
    flags = _cpuinfo()
    return platform.machine() == "x86_64" and ("amx_bf16" in flags or "avx512_bf16" in flags)


def _cpuinfo() -> str:
    """What Linux tells of the processor; nothing elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


@contextmanager
def building_in(precision: str) -> Iterator[None]:
    """Layers made inside compute in this Keras dtype policy ("float32", "mixed_bfloat16" …)."""
    import keras

    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)


def free_bytes() -> int | None:
    """How much memory the device has left for this process; None where nobody tells.

    JAX tells it of GPUs; TensorFlow tells only what is taken.
    """
    import keras

    if keras.backend.backend() != "jax":
        return None
    import jax

    told = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" not in told:
        return None
    return max(0, int(told["bytes_limit"]) - int(told.get("bytes_in_use", 0)))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says, in any backend's words, that memory does not suffice."""
    told = f"{type(error).__name__} {error}".lower().replace("_", " ")
    return isinstance(error, MemoryError) or any(
        words in told for words in ("resource exhausted", "resourceexhausted", "out of memory")
    )


def _gpu() -> tuple[str, float] | None:
    """Name and compute capability of the first GPU, or None."""
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        if gpus:
            about = tf.config.experimental.get_device_details(gpus[0])
            major, minor = about.get("compute_capability", (0, 0))
            return about.get("device_name", "GPU"), major + minor / 10
    elif backend == "jax":
        import jax

        first = jax.devices()[0]
        if first.platform in ("gpu", "cuda"):
            return first.device_kind, float(getattr(first, "compute_capability", 0) or 0)
    elif backend == "torch":
        import torch

        if torch.cuda.is_available():
            major, minor = torch.cuda.get_device_capability()
            return torch.cuda.get_device_name(), major + minor / 10
    return None
