"""Tells the most memory that this process had."""

from __future__ import annotations

import re
import resource
from pathlib import Path

STATUS = Path("/proc/self/status")

PROCESS = "process"
"""A run says that this took the memory, where it was no GPU."""


def process_peak() -> int:
    """Returns the largest resident size of this process so far, in bytes."""
    if STATUS.exists():  # getrusage has the peak of the process that started this one as well
        found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text(encoding="utf-8"))
        if found:
            return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
