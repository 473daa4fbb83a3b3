"""How large what is read may be: asked of headers and file sizes, before any memory is spent on it.

A small archive can hold members that are a thousand times its size, and a small image file a picture of any size.
Whoever has real images beyond these limits changes the numbers here; memory has no number, but what is there.
"""

import io
import os
from contextlib import suppress
from pathlib import Path

# Of a folder or an archive: files and folders. ImageNet-1k has 1.4 million.
LARGEST_COUNT = 4_000_000
# Bytes of one image file, which is read as a whole.
LARGEST_FILE = 2**28
# Bytes of a header of a tar file that says how long it is: a name, mostly.
LARGEST_HEADER = 2**20
# Bytes of all members of an archive, unpacked. ImageNet-1k has 2^37.
LARGEST_EXPANDED = 2**39
# Height times width of one image, which takes up to seven bytes a pixel while it is decoded.
LARGEST_PIXELS = 150_000_000
# Of the memory that is there, what decoded images may fill; whoever trains on them needs some too.
MEMORY_SHARE = 0.5

CGROUP, MEMINFO = Path("/sys/fs/cgroup"), Path("/proc/meminfo")


def require_member_limits(count: int, expanded: int, path: Path) -> None:
    """Refuse a folder or archive of too many files, or that expands to too many bytes.

    Raises:
        ValueError: names the path and the limit.
    """
    if count > LARGEST_COUNT:
        raise ValueError(f"{path}: has more than {LARGEST_COUNT:,} files and folders, the most that are listed")
    if expanded > LARGEST_EXPANDED:
        raise ValueError(
            f"{path}: its members expand to more than {LARGEST_EXPANDED / 2**30:,.0f} GiB, the most that are read"
        )


def size_problem(size: int) -> str:
    """Why a file of so many bytes is not read; empty if it is."""
    if size <= LARGEST_FILE:
        return ""
    return f"has {size:,} bytes, more than the {LARGEST_FILE:,} that an image file may have"


def pixel_problem(width: int, height: int) -> str:
    """Why an image of this size, told by its header, is not decoded; empty if it is."""
    if width * height <= LARGEST_PIXELS:
        return ""
    return f"has {width} x {height} pixels, more than the {LARGEST_PIXELS:,} that an image may have"


def require_memory(count: int, height: int, width: int, path: Path, available: int | None) -> None:
    """Refuse images that, decoded, would not leave memory to work with, of so many bytes that are available.

    Raises:
        ValueError: names the path, image_size, what is needed and what is there.
    """
    needed = 3 * count * height * width
    if available is not None and needed > MEMORY_SHARE * available:
        raise ValueError(
            f"{path}: {count:,} images of {height} x {width} pixels take {needed / 2**30:,.1f} GiB, more than "
            f"{MEMORY_SHARE:.0%} of the {available / 2**30:,.1f} GiB of memory that is there; set image_size smaller"
        )


def available_memory() -> int | None:
    """Bytes that can be taken without swapping, within this container's limit; None where nobody tells (not Linux)."""
    found = []
    with suppress(OSError, StopIteration, ValueError, IndexError):
        lines = MEMINFO.read_text().splitlines()
        found.append(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")))
    # No container, or one without a limit ("max").
    with suppress(OSError, ValueError):
        found.append(int((CGROUP / "memory.max").read_text()) - int((CGROUP / "memory.current").read_text()))
    return max(0, min(found)) if found else None


class BoundedReads(io.RawIOBase):
    """A binary file of which no read asks for more than a header may have.

    The headers of a tar file say how long the headers behind them are, and these are read at once.
    """

    def __init__(self, file: io.BufferedIOBase) -> None:
        self.file = file

    def read(self, size: int = -1) -> bytes:
        """As ``file`` does.

        Raises:
            OSError: all that is there, or more than ``LARGEST_HEADER`` bytes.
        """
        if not 0 <= size <= LARGEST_HEADER:
            raise OSError(f"a header is said to have {size:,} bytes, more than {LARGEST_HEADER:,}")
        return self.file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As ``file`` does."""
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        """As ``file`` does."""
        return self.file.tell()
