"""OpenMMLab's own packages, and both lines in one environment, end in one message."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from resnext_backbones.adapters.distributions import IMPORTED_AS, REPLACED, require_maintained_line

import pytest

from resnext_backbones.errors import InputError

ROOT = Path(__file__).parents[2]

IMPORTED_FIRST = (
    "resnext_backbones.adapters.openmmlab",
    "resnext_backbones.adapters.registry",
    "resnext_backbones.engine.config",
    "resnext_backbones.mmcv_ops",
    "resnext_backbones.tasks.classification.run",
    "resnext_backbones.tasks.mmdetection.config",
    "benchmarks.data",
    "benchmarks.training",
)
"""What tools, configs and users import before anything else that stands on MMEngine."""

IMPORT_EACH = f"""
import importlib, json, sys
from resnext_backbones.errors import InputError
import resnext_backbones.adapters.torchvision  # which MMEngine is nothing to
said = {{}}
for name in {IMPORTED_FIRST}:
    try:
        importlib.import_module(name)
    except InputError as error:
        said[name] = str(error)
print(json.dumps([said, "mmengine" in sys.modules]))
"""


def install(folder: Path, name: str, version: str) -> None:
    """What pip leaves of a distribution for others to find."""
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_what_the_tests_run_with_passes() -> None:
    require_maintained_line()


@pytest.mark.parametrize("name", REPLACED)
def test_an_original_is_named_with_the_command(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, name, "1.7.3")
    with pytest.raises(InputError) as raised:
        require_maintained_line()
    said, command = str(raised.value).split("\n")
    assert said.startswith(f"{name} 1.7.3: installed")
    removed, installed = command.split(" && ")
    assert name in removed.split("uninstall -y ")[1].split()
    assert REPLACED[name] in installed.split("install ")[1].split()


def test_files_that_went_with_an_original(monkeypatch) -> None:
    """Python takes the folder that is left for a package without a first file."""
    pytest.importorskip("mmcv", reason="mmcv is not installed")
    left = ModuleType("mmcv")
    left.__spec__ = ModuleSpec("mmcv", None, is_package=True)
    monkeypatch.setitem(sys.modules, "mmcv", left)
    with pytest.raises(InputError, match=r"^onedl-mmcv \S+: the files are gone") as raised:
        require_maintained_line()
    assert all(name in str(raised.value).split(" && ")[0] for name in IMPORTED_AS)


def test_it_is_said_before_a_framework_is_imported(tmp_path: Path) -> None:
    install(tmp_path, "mmcv-lite", "2.2.0")
    run = {"cwd": tmp_path, "capture_output": True, "text": True, "check": False}
    run["env"] = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run([sys.executable, "-c", IMPORT_EACH], **run)
    assert done.returncode == 0, done.stderr
    said, imported = json.loads(done.stdout)
    assert not imported
    assert set(said) == set(IMPORTED_FIRST)
    assert all(message.startswith("mmcv-lite 2.2.0: installed") for message in said.values())
    done = subprocess.run([sys.executable, ROOT / "tools" / "train.py", "demo_coco"], **run)
    assert done.returncode == 2
    assert done.stderr.startswith("error: mmcv-lite 2.2.0: installed")
