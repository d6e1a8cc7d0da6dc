"""Choices are kept for the device, the versions and the threads they were made with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from resnext_backbones.compute import tuned
from resnext_backbones.compute.calls import PRODUCT, Layer
from resnext_backbones.compute.geometry import Geometry
from resnext_backbones.compute.tables import ALL_PLAIN, Ways

LAYER = Layer("cpu", torch.float32, True, (8, 12, 1, 1), Geometry((1, 1), (0, 0), (1, 1), 1))


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tuned, "folder", lambda: tmp_path / "ways")


def test_what_is_kept_is_read_again_and_added_to() -> None:
    assert tuned.read("cpu") == {}
    tuned.keep("cpu", {LAYER: {100: Ways(PRODUCT)}})
    other = LAYER._replace(dtype=torch.bfloat16)
    tuned.keep("cpu", {LAYER: {200: ALL_PLAIN}, other: {100: ALL_PLAIN}})
    assert tuned.read("cpu") == {
        LAYER: {100: Ways(PRODUCT), 200: ALL_PLAIN},
        other: {100: ALL_PLAIN},
    }


@pytest.mark.parametrize("what", ["threads", "torch", "processor"])
def test_what_was_measured_elsewhere_is_not_used(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned.keep("cpu", {LAYER: {100: Ways(PRODUCT)}})
    if what == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 17)
    elif what == "torch":
        monkeypatch.setattr(torch, "__version__", "9.0")
    else:
        monkeypatch.setattr(tuned, "processor", lambda: "another")
    assert tuned.read("cpu") == {}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"measured_on": {}}', b"\xff\x00"])
def test_a_file_that_cannot_be_read_is_no_choice(content: bytes) -> None:
    tuned.keep("cpu", {LAYER: {100: Ways(PRODUCT)}})
    (path,) = tuned.folder().glob("*.json")
    path.write_bytes(content)
    assert tuned.read("cpu") == {}
    tuned.keep("cpu", {LAYER: {100: Ways(PRODUCT)}})
    assert tuned.read("cpu")


def test_a_folder_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "ways").write_text("a file")
    tuned.keep("cpu", {LAYER: {100: Ways(PRODUCT)}})
    assert tuned.read("cpu") == {}
