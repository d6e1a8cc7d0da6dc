"""Damaged and hostile files through all doors, some of the many that the benchmark makes."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import time

import pytest

from benchmarks.hostile.files import MARK, _call, make
from benchmarks.hostile.run import _child, run


@pytest.mark.whole
def test_of_some_hundred_files_none_runs_hangs_or_takes_memory() -> None:
    result = run(400, 1_000_000, print)
    assert result["failures"] == []
    assert sum(sum(ends.values()) for ends in result["doors"].values()) == 400
    assert all(ends.get("refused") for ends in result["doors"].values())
    assert result["most_bytes_more"] < 2**30


def test_what_runs_hangs_or_dies_is_told(tmp_path) -> None:
    """The benchmark sees what it looks for."""

    def hang(_: object) -> None:
        time.sleep(60)

    doors = {
        "executed": lambda _: subprocess.run(["true"], check=False),
        "hung": hang,
        "died": lambda _: os.abort(),
        "MemoryError": lambda _: (_ for _ in ()).throw(MemoryError),
        "KeyError": lambda _: {}[0],
    }
    whole = {"pickle": pickle.dumps({"a": 1}, 2)}
    for word, door in doors.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("benchmarks.hostile.run.SECONDS", 1)
            (found,) = _child(tmp_path, range(1), [("door", door, whole)])
        assert word in found["end"]
    assert MARK.encode() in _call(random.Random(0))
    assert make(3, whole) == make(3, whole)
