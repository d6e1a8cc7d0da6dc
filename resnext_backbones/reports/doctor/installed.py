"""What is installed is read from the folders of packages; nothing of it is imported."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

OWN = "resnext-backbones"

OPENCV = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)

MODULES: dict[str, tuple[str, ...]] = {
    "torch": ("torch",),
    "torchvision": ("torchvision",),
    "numpy": ("numpy",),
    "safetensors": ("safetensors",),
    "huggingface_hub": ("huggingface-hub",),
    "filelock": ("filelock",),
    "mmengine": ("onedl-mmengine", "mmengine", "mmengine-lite"),
    "mmcv": ("onedl-mmcv", "mmcv", "mmcv-full", "mmcv-lite"),
    "mmdet": ("onedl-mmdetection", "mmdet"),
    "detectron2": ("detectron2",),
    "transformers": ("transformers",),
    "timm": ("timm",),
    "cv2": OPENCV,
    "PIL": ("pillow", "pillow-simd"),
    "pycocotools.mask": ("pycocotools",),
    "matplotlib": ("matplotlib",),
}
"""Modules that are tried, and the distributions that bring them."""

BESIDE = ("triton", "tokenizers", "supervision", "webdataset", "fvcore", "xformers", "apex")
"""Their versions are listed as well."""

KNOWN = frozenset({OWN, *BESIDE}.union(*MODULES.values()))

PACKAGING = ("packaging", "pip._vendor.packaging", "setuptools._vendor.packaging")
"""Each of these compares versions."""


class Unmet(NamedTuple):
    """Says that a distribution needs another, or another version of it."""

    by: str
    requirement: str
    name: str
    found: str | None


@dataclass(frozen=True)
class Package:
    """Holds what the folder of a distribution says.

    Attributes:
        name: normalised, as pip compares names.
        folder: where it and its modules are.
        files: of its modules, and how many of them are not there.
        missing: one that is not there; "" where all are.
        editable: whether its modules are elsewhere, in a checkout.
    """

    name: str
    version: str
    folder: Path
    requires: tuple[str, ...]
    files: int
    absent: int
    missing: str
    editable: bool


@dataclass(frozen=True)
class Installed:
    """Holds what Python would find here.

    Attributes:
        packages: by name, those of `KNOWN`; of several with one name the first one counts.
        doubled: name -> versions, of what one folder has twice.
        leftovers: folders that pip renamed and never removed.
        origins: module -> its first file; None where it is a folder without one.
        unmet: requirements of the packages that nothing fits.
        compared: whether their versions could be compared.
        own_version: of this package.
    """

    packages: Mapping[str, Package]
    doubled: Mapping[str, tuple[str, ...]]
    leftovers: tuple[Path, ...]
    origins: Mapping[str, str | None]
    unmet: tuple[Unmet, ...]
    compared: bool
    own_version: str

    def of_module(self, module: str) -> list[Package]:
        """Returns the distributions that bring a module."""
        names = MODULES.get(module, ())
        return [self.packages[name] for name in names if name in self.packages]

    def version(self, module: str) -> str:
        """Returns the version that the first of them says; "" where there is none."""
        return next((each.version for each in self.of_module(module)), "")


def look() -> Installed:
    """Returns what is installed."""
    from resnext_backbones import __version__

    packages: dict[str, Package] = {}
    versions: dict[str, str] = {}
    doubled: dict[str, list[str]] = {}
    for distribution in distributions():
        name, version = _name(distribution), distribution.version or "?"
        folder = Path(str(distribution.locate_file("")))
        if name in versions:
            first = packages.get(name)
            if first is not None and first.folder == folder and version != first.version:
                doubled.setdefault(name, [first.version]).append(version)
            continue
        versions[name] = version
        if name in KNOWN:
            packages[name] = _package(name, version, folder, distribution)
    needs = {name: each.requires for name, each in packages.items()}
    needs.setdefault(OWN, _own_requirements())
    return Installed(
        packages,
        {name: tuple(each) for name, each in doubled.items()},
        tuple(_leftovers()),
        {module: origin for module in MODULES if (origin := _origin(module)) != ""},
        *_unmet(needs, versions),
        __version__,
    )


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _name(distribution: Distribution) -> str:
    return normalised(distribution.metadata["Name"] or "")  # a broken one has none


def _package(name: str, version: str, folder: Path, distribution: Distribution) -> Package:
    files, missing = 0, []
    # A file of its own; `distribution.files` would make an object of each of torch's 15,000.
    for line in csv.reader((distribution.read_text("RECORD") or "").splitlines()):
        # Scripts are elsewhere where an environment has moved, and Python writes its own .pyc.
        if line and not line[0].startswith(("..", "/")) and not line[0].endswith(".pyc"):
            files += 1
            if not os.path.lexists(folder / line[0]):
                missing.append(line[0])
    url = {}
    with suppress(ValueError):
        url = json.loads(distribution.read_text("direct_url.json") or "{}")
    return Package(
        name,
        version,
        folder,
        tuple(distribution.requires or ()),
        files,
        len(missing),
        missing[0] if missing else "",
        bool(url.get("dir_info", {}).get("editable")),
    )


def _origin(module: str) -> str | None:
    """Returns the first file of a module's package; None where its folder has none, and "" where
    Python finds nothing.
    """
    try:
        spec = find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        return ""
    return "" if spec is None else spec.origin


def _leftovers() -> Iterator[Path]:
    for folder in {Path(each) for each in sys.path if each.endswith("-packages")}:
        with suppress(OSError):
            yield from sorted(folder.glob("~*"))


def _own_requirements() -> tuple[str, ...]:
    """Returns what this package needs, of a checkout that is not installed."""
    with suppress(OSError, ValueError, LookupError):
        text = (Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8")
        return tuple(tomllib.loads(text)["project"]["dependencies"])
    return ()


def _unmet(
    needs: Mapping[str, Iterable[str]], versions: Mapping[str, str]
) -> tuple[tuple[Unmet, ...], bool]:
    """Returns what pip's own check would find of these packages, and whether versions could be
    compared; where not, those that this package needs and that are not there.
    """
    packaging = _packaging()
    found = []
    for by, texts in needs.items():
        for text in texts:
            if packaging is None:
                name = normalised(re.split(r"[^\w.-]", text, maxsplit=1)[0])
                if by == OWN and ";" not in text and name not in versions:
                    found.append(Unmet(by, text, name, None))
                continue
            needed = packaging.Requirement(text)
            if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
                continue
            name = normalised(needed.name)
            version = versions.get(name)
            if version is None or not needed.specifier.contains(version, prereleases=True):
                found.append(Unmet(by, f"{needed.name}{needed.specifier}", name, version))
    return tuple(found), packaging is not None


def _packaging() -> Any:
    for name in PACKAGING:
        with suppress(ImportError):
            return import_module(f"{name}.requirements")
    return None
