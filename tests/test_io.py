"""Files are there whole or not at all."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from resnext_backbones.io import atomic_write, json_text, remove_leftovers


def test_a_file_takes_its_name_when_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    with atomic_write(path) as temporary:
        temporary.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")

    def write() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        write()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_of_killed_writers_go(tmp_path: Path) -> None:
    (tmp_path / ".a.pth.123").touch()
    (tmp_path / "a.pth").touch()
    (tmp_path / ".keep").touch()
    remove_leftovers(tmp_path, "*.pth")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".keep", "a.pth"]


def test_json_has_no_numbers_that_json_does_not_know() -> None:
    values = {"a": math.nan, "b": [1.5, -math.inf], "c": np.float32(0.5), "d": (torch.tensor(2),)}
    plain = {"a": None, "b": [1.5, None], "c": 0.5, "d": [2]}

    def refuse(name: str) -> None:
        raise AssertionError(name)

    assert json.loads(json_text(values, indent=1), parse_constant=refuse) == plain
