"""The examples and the page on detectors of one's own, run as they stand."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from resnext_backbones import build_backbone
from resnext_backbones.export.formats import FORMATS
from resnext_backbones.weights.preprocessing import BGR, RGB
from resnext_backbones.weights.write import write_state

ROOT = Path(__file__).parents[1]


def test_a_detector_of_ones_own_in_twenty_lines() -> None:
    page = (ROOT / "docs" / "custom_detector.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    scope: dict = {}
    exec(code, scope)
    detector = scope["detector"].train()
    images = torch.randn(2, 3, 128, 192)
    maps = detector(images)
    assert [tuple(m.shape) for m in maps] == [(2, 84, 16, 24), (2, 84, 8, 12), (2, 84, 4, 6)]
    sum(m.square().mean() for m in maps).backward()
    assert detector.backbone.layer1[0].conv1.weight.grad is None
    assert detector.backbone.layer2[0].conv1.weight.grad is not None


EXAMPLES = {
    # Name: what it needs, the variant that it builds, and the pixels that it can take.
    "with_mmdetection": ("mmdet", "resnext101_32x4d", RGB),
    "with_detectron2": ("detectron2", "resnext101_32x8d", BGR),
    "with_torchvision": ("torchvision", "resnext101_32x8d", RGB),
    "with_transformers": ("transformers", "resnext50_32x4d", RGB),
    "with_timm": ("timm", "resnext50_32x4d", RGB),
}


@pytest.mark.whole
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_take_a_step(name: str, tmp_path: Path) -> None:
    package, variant, pixels = EXAMPLES[name]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    weights = tmp_path / "weights.safetensors"
    state = build_backbone(variant).state_dict()
    write_state(state, weights, "safetensors", {"variant": variant} | pixels.to_metadata())
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / f"{name}.py"), "--weights", str(weights)],
        capture_output=True, text=True, check=False, timeout=300, env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    loss = float(re.search(r"^loss ([\d.]+)$", done.stdout, re.M)[1])
    assert 0 < loss < 100


def test_every_example_is_run() -> None:
    runtimes = {f"run_{name}" for name in FORMATS}  # in tests/export/test_command.py
    runtimes.add("run_onnx_detector")  # in tests/export/test_detectors.py
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == EXAMPLES.keys() | runtimes
