"""What is installed, and what is not needed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FRAMEWORKS = ("mmengine", "mmcv", "mmdet", "detectron2", "timm", "cv2", "matplotlib")


def python(code: str, *, cwd: Path, path: Path | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"PYTHONPATH": str(path)} if path else None,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_core_needs_no_framework(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({FRAMEWORKS})); "
        "import resnext_backbones as r; print(len(r.list_variants()))"
    )
    assert int(python(code, cwd=tmp_path)) >= 17


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from what git would give."""
    folder, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listing.stdout.split("\0")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name, follow_symlinks=False)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    subprocess.run(
        [*command, "--no-build-isolation", "--wheel-dir", folder, source], check=True, cwd=folder
    )
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_every_config(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    configs = {path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.py")}
    assert configs
    assert {f"resnext_backbones/.mim/configs/{path}" for path in configs} <= names
    assert not any(name.startswith(("tests/", "tools/")) for name in names)


def test_configs_are_used_by_name_from_a_wheel(wheel: Path, tmp_path: Path) -> None:
    pytest.importorskip("mmdet", reason="MMDetection is not installed")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import resnext_backbones\n"
        "from resnext_backbones.detection.config import load_config\n"
        "cfg = load_config('mask_rcnn_x101_32x4d_fpn_coco')\n"
        "print(resnext_backbones.__file__, cfg.model.backbone.variant)"
    )
    output = python(code, cwd=tmp_path, path=tmp_path / "site")
    expected = f"{tmp_path / 'site' / 'resnext_backbones' / '__init__.py'} resnext101_32x4d"
    assert output.splitlines()[-1] == expected
