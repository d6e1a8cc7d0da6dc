"""What a file says is what its network is exported with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from export.files import CLASSES, written
from helpers import small
from safetensors.torch import save_file

from resnext_backbones import ResNeXt, ResNeXtClassifier
from resnext_backbones.export.source import subject_of
from resnext_backbones.variants import VARIANTS
from resnext_backbones.weights.preprocessing import BGR
from resnext_backbones.weights.publishers import Crop
from resnext_backbones.weights.recorded import CLASS_NAMES, CROP
from resnext_backbones.weights.write import convert


@pytest.mark.parametrize("to", ["safetensors", "mmpretrain", "timm"])
def test_a_converted_file_says_what_its_source_did(to: str, tmp_path: Path) -> None:
    names = [f"class {i}" for i in range(CLASSES)]
    source = written(tmp_path / "net.safetensors", BGR, Crop(48, 64), names)
    convert(source, tmp_path / "w.pth", to)
    subject, before = subject_of(str(tmp_path / "w.pth")), subject_of(str(source))
    for key in ("preprocessing", "classes"):
        assert subject.metadata[key] == before.metadata[key]
    assert json.loads(subject.metadata["classes"]) == names


def test_names_that_are_no_facts_of_a_run_are_nobodys(tmp_path: Path) -> None:
    """A list of names under the key that this package has for a text, in somebody's own file."""
    state = small(ResNeXtClassifier, num_classes=CLASSES).state_dict()
    meta = {CLASS_NAMES: ["cat", "dog"], CROP: 224}
    torch.save({"meta": meta, "state_dict": state}, tmp_path / "own.pth")
    convert(tmp_path / "own.pth", tmp_path / "w.safetensors", "safetensors")
    for name in ("own.pth", "w.safetensors"):
        assert json.loads(subject_of(str(tmp_path / name)).metadata["classes"]) == []


def test_the_shapes_of_a_file_come_before_what_is_said_of_it(tmp_path: Path) -> None:
    """A file may have the lower stages alone, or one channel, as timm's `in_chans` makes it."""
    lower = small(out_indices=(0, 1, 2))
    torch.save(lower.state_dict(), tmp_path / "lower.pth")
    assert [o.name for o in subject_of(str(tmp_path / "lower.pth")).outputs][-1] == "layer3"
    grey = ResNeXt(replace(VARIANTS[name := "resnext26_32x4d"], in_channels=1))
    (folder := tmp_path / "timm").mkdir()
    save_file(grey.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architecture": name}))
    assert subject_of(str(folder)).in_channels == 1
