"""Freed memory stays with a program of ours: using it again costs no new pages."""

import os
import subprocess
import sys

import pytest

from trip_core.allocator import keep_freed_memory

CODE = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from trip_core.allocator import keep_freed_memory
import numpy
if sys.argv[2] == "keep":
    assert keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
# Blocks of 20 MiB, four at a time, over and over: as a network's layers do.
def layers():
    return len([numpy.ones(5 * 2**20, numpy.float32) for _ in range(4)])
for _ in range(10):  # a heap grows a few times before it fits
    layers()
before = faults()
for _ in range(10):
    layers()
print(faults() - before)
"""


@pytest.mark.skipif(not keep_freed_memory(), reason="only glibc can be told to keep memory")
def test_what_is_freed_is_used_again(pytestconfig):
    words = [sys.executable, "-c", CODE, str(pytestconfig.rootpath)]
    # Otherwise glibc's own guess changes with what it has seen, and it may keep them, too.
    settings = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}
    kept, given_back = (
        int(subprocess.run([*words, how], env=settings, check=True, capture_output=True).stdout)
        for how in ("keep", "leave")
    )
    assert kept < given_back / 10
