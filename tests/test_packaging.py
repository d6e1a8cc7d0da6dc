"""What is installed, and what is not needed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import numpy
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import resnext_backbones

ROOT = Path(__file__).parents[1]
FRAMEWORKS = (
    "mmengine",
    "mmcv",
    "mmdet",
    "detectron2",
    "timm",
    "transformers",
    "matplotlib",
    "cv2",
)


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
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `python -m build` makes of what git would give: an sdist, and from it the wheel."""
    folder, source = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("source")
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listing.stdout.split("\0")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name, follow_symlinks=False)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder]
    subprocess.run([*build, source], check=True, cwd=folder, stdout=subprocess.DEVNULL)
    direct = [*build[:-1], folder / "direct", "--wheel", source]
    subprocess.run(direct, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return next(built.glob("*.whl"))


def test_what_is_built_can_be_published(built: Path) -> None:
    files = sorted(built.glob("*.*"))
    assert [file.suffix for file in files] == [".whl", ".gz"]
    command = [sys.executable, "-m", "twine", "check", "--strict", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASSED") == 2


def test_the_wheel_is_the_same_with_an_sdist_between(built: Path, wheel: Path) -> None:
    made, direct = (zipfile.ZipFile(file) for file in (wheel, built / "direct" / wheel.name))
    sums = [{item.filename: item.CRC for item in archive.infolist()} for archive in (made, direct)]
    assert sums[0] == sums[1]


def test_the_sdist_is_the_whole_project(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    listing = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    # The links' files are there.
    links = {f"resnext_backbones/.mim/{name}" for name in ("configs", "model-index.yml")}
    left_out = {".gitignore", *links} - names
    missing = set(listing.stdout.split()) - names - left_out
    assert {name for name in missing if not name.startswith(".github/")} == set()


def test_the_metadata(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    name = next(name for name in archive.namelist() if name.endswith("/METADATA"))
    found = message_from_bytes(archive.read(name))
    assert found["Version"] == resnext_backbones.__version__
    assert found["License-Expression"] == "Apache-2.0"
    assert found["Requires-Python"] == ">=3.11"
    scripts = archive.read(name.replace("METADATA", "entry_points.txt")).decode()
    assert "resnext = resnext_backbones.cli:main" in scripts
    page = {f"resnext_backbones/reports/page/page.{end}" for end in ("html.j2", "css", "js")}
    assert {"resnext_backbones/cli.py", *page} <= set(archive.namelist())
    assert found.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")
    extras = set(found.get_all("Provides-Extra"))
    assert extras == {
        "mmdet",
        "torchvision",
        "pretrain",
        "formats",
        "transformers",
        "timm",
        "report",
        "completion",
        "loggers",
        "export",
        "docs",
        "dev",
    }


def pins(file: str) -> dict[str, str]:
    """What a file has for this Python, by name."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines())
    named = [Requirement(line) for line in lines if line]
    found = [each for each in named if each.marker is None or each.marker.evaluate()]
    return {each.name: str(each.specifier).removeprefix("==") for each in found}


def test_the_oldest_versions_are_the_lower_bounds() -> None:
    """Bounds that no test ran with would be a guess; upper ones would end with the next release."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {**project["optional-dependencies"], "dev": []}
    needed = [Requirement(text) for text in sum(extras.values(), project["dependencies"])]
    oldest, newest = pins("constraints-oldest.txt"), pins("constraints.txt")
    for requirement in needed:
        (bound,) = requirement.specifier
        assert bound.operator == ">="
        assert Version(bound.version) == Version(oldest[requirement.name])
        assert requirement.specifier.contains(newest[requirement.name])
    assert set(oldest) - {requirement.name for requirement in needed} == {"opencv-python"}


def test_the_wheel_holds_every_config(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    names = set(archive.namelist())
    configs = {
        path.relative_to(ROOT / "configs")
        for pattern in ("*.py", "*.toml")
        for path in (ROOT / "configs").rglob(pattern)
    }
    assert configs
    assert {f"resnext_backbones/.mim/configs/{path}" for path in configs} <= names
    assert {name.partition("/")[0] for name in names} == {
        "resnext_backbones",
        f"resnext_backbones-{resnext_backbones.__version__}.dist-info",
    }
    # What `mim` reads of an installed package, and where it looks for what that names.
    index = archive.read("resnext_backbones/.mim/model-index.yml")
    assert index == (ROOT / "model-index.yml").read_bytes()
    models = yaml.safe_load(index)["Models"]
    assert {f"resnext_backbones/.mim/{model['Config']}" for model in models} <= names


def test_configs_are_used_by_name_from_a_wheel(wheel: Path, tmp_path: Path) -> None:
    pytest.importorskip("mmdet", reason="MMDetection is not installed")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import resnext_backbones\n"
        "from resnext_backbones.tasks.mmdetection.config import load_config\n"
        "cfg = load_config('mask_rcnn_x101_32x4d_fpn_coco')\n"
        "print(resnext_backbones.__file__, cfg.model.backbone.variant)"
    )
    output = python(code, cwd=tmp_path, path=tmp_path / "site")
    expected = f"{tmp_path / 'site' / 'resnext_backbones' / '__init__.py'} resnext101_32x4d"
    assert output.splitlines()[-1] == expected


def test_a_fresh_environment_runs_the_command(wheel: Path, tmp_path: Path) -> None:
    """pip installs the wheel and its command; what it depends on is this environment's."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    site = tmp_path / "venv" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    site = site / "site-packages"
    pip = [sys.executable, "-m", "pip", "--python", tmp_path / "venv" / "bin" / "python"]
    subprocess.run([*pip, "install", "--quiet", "--no-index", "--no-deps", wheel], check=True)
    (site / "dependencies.pth").write_text(str(Path(numpy.__file__).parents[1]))
    for arguments, said in (
        (("list", "resnext50_32x4d.v2"), "torchvision/resnext50_32x4d.v2"),
        (("list", "--configs", "mask_rcnn_x101_32x4d"), "box AP 41.9"),
    ):
        done = subprocess.run(
            [tmp_path / "venv" / "bin" / "resnext", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin"},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert said in done.stdout


def test_the_command_runs_from_a_wheel(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (entries,) = (tmp_path / "site").glob("*.dist-info/entry_points.txt")
    assert "resnext = resnext_backbones.cli:main" in entries.read_text()
    (empty := tmp_path / "empty").mkdir()
    for arguments, message in {
        ("list", "WSL"): "error: WSL: no alias has this in it",
        ("list", "--configs", "x50d"): "error: x50d: no config has this in it",
        ("pretrain", "cifar/cifar10"): "error: images data/cifar10: neither",
    }.items():
        done = subprocess.run(
            [sys.executable, "-m", "resnext_backbones", *arguments],
            capture_output=True,
            text=True,
            cwd=empty,
            env={"PYTHONPATH": str(tmp_path / "site")},
            check=False,
        )
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
