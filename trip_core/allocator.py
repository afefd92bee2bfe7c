"""How the C library hands out memory, for programs that are ours alone.

glibc gives large blocks back to the system as soon as they are free, and the system hands them out
anew as pages of zeros: a network on a CPU then spends a fifth of its time on clearing memory that
it has just had. A host's process is the host's to set; see README.
"""

import ctypes
import sys

# mallopt(3), <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST = 32 * 2**20  # glibc takes no larger threshold for blocks of their own
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, in blocks of up to 32 MiB, for its next use.

    Returns:
        Whether it was done: only glibc has these settings.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # Never the second alone: any of them stops glibc from raising the first from 128 KiB by itself.
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST) and mallopt(_M_TRIM_THRESHOLD, _NEVER))
