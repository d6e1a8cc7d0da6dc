"""What docs/upgrading.md promises: names, and files that load."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from resnext_backbones import Architecture, ResNeXtClassifier, load_weights

FORMAT = Path(__file__).with_name("written_by_1_0.json")
"""What `save_pretrained` of the first release wrote of a small network, without the values."""


def test_public_names_are_those_of_the_record(tmp_path: Path) -> None:
    """A process of its own reads them: what other tests import may register more."""
    for module in ("mmengine", "mmdet", "timm", "transformers"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    script, found = Path(__file__).with_name("public_names.py"), tmp_path / "found.json"
    subprocess.run([sys.executable, script, found], check=True)
    recorded = json.loads(script.with_suffix(".json").read_text(encoding="utf-8"))
    assert json.loads(found.read_text(encoding="utf-8")) == recorded, (
        "docs/upgrading.md; then python tests/public_names.py"
    )


@pytest.fixture
def written() -> dict[str, Any]:
    return json.loads(FORMAT.read_text(encoding="utf-8"))


def test_files_of_the_first_release_load(written: dict[str, Any], tmp_path: Path) -> None:
    state = {name: torch.rand(shape) + 0.5 for name, shape in written["tensors"].items()}
    state |= {name: torch.tensor(3) for name in state if name.endswith("num_batches_tracked")}
    save_file(state, tmp_path / "model.safetensors", metadata=written["metadata"])
    (tmp_path / "config.json").write_text(json.dumps(written["config"]))
    own = ResNeXtClassifier(Architecture(**written["architecture"]), num_classes=7)
    load_weights(own, tmp_path / "model.safetensors")
    for found in (own, ResNeXtClassifier.from_pretrained(tmp_path)):
        assert all(torch.equal(value, state[key]) for key, value in found.state_dict().items())
    assert not set(state) ^ set(own.state_dict())


def test_what_is_written_now_is_what_the_first_release_reads(
    written: dict[str, Any], tmp_path: Path
) -> None:
    """Fields may be added; what was there stays as it was."""
    own = ResNeXtClassifier(Architecture(**written["architecture"]), num_classes=7)
    own.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as opened:
        said = opened.metadata()
        shapes = {name: list(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    assert shapes == written["tensors"]
    own_said, then_said = (json.loads(each["architecture"]) for each in (said, written["metadata"]))
    assert then_said.items() <= own_said.items()
    assert written["config"].items() <= json.loads((tmp_path / "config.json").read_text()).items()
