"""What a process keeps of the memory that it frees."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

ARRAYS = """
import resource
import numpy as np
from pipeline.stages.heap import keep_freed_memory
keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def image():
    return [np.ones(1 << 20, np.uint8) for _ in range(4)]
image()
before = faults()
for _ in range(16):
    image()
print(faults() - before)
"""
"""Prints the page faults of sixteen images' arrays, 4 MiB each, after those of a first one."""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="another C library's business")
def test_freed_memory_serves_the_next_image() -> None:
    done = subprocess.run([sys.executable, "-c", ARRAYS], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 4 * (1 << 20) / resource.getpagesize()
