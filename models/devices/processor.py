"""What this machine's processor can do."""

import platform
from functools import cache
from pathlib import Path

# Instructions that multiply bfloat16 numbers, as Linux names them: AVX512-BF16 and AMX.
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})


@cache
def multiplies_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies bfloat16 numbers itself. Without such instructions autocast to bf16 is slower
    than float32, by far where convolutions have no vectorized code for it.

    Args:
        cpuinfo: Linux's list of what the processor has; where there is none, the answer is no.
    """
    flags = [told.split() for told in _told(cpuinfo, "flags")]
    return bool(flags) and all(not BF16_FLAGS.isdisjoint(each) for each in flags)


@cache
def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name as Linux tells it, elsewhere as Python does; the architecture where nobody does."""
    names = _told(cpuinfo, "model name")
    return next(filter(None, [*names, platform.processor(), platform.machine()]), "unknown processor")


def _told(cpuinfo: Path, field: str) -> list[str]:
    """What a field says of every core; nothing where there is no such list."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line.partition(":")[2].strip() for line in lines if line.startswith(field)]
