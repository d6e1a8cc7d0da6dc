"""What is installed is read from the folders of packages; nothing of it is imported."""

from __future__ import annotations

import csv
import os
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from resnext_backbones.reports.doctor.probe import COLLECT_ENV, OPERATORS

OWN = "resnext-backbones"
OPENCV = tuple(f"opencv-{a}python{b}" for a in ("", "contrib-") for b in ("", "-headless"))


class Module(NamedTuple):
    """Says how a module is tried.

    Attributes:
        process: modules with one word here are imported one after another in one process; the
            processes run at once.
        brought_by: the distributions that bring it.
        imports: others of the table that it imports: where one of them fails, it is the cause.
    """

    process: str
    brought_by: Sequence[str]
    imports: Sequence[str] = ()


MODULES: dict[str, Module] = {
    "torch": Module("torch", ["torch"]),
    "torchvision": Module("torch", ["torchvision"], ["torch"]),
    "timm": Module("torch", ["timm"], ["torch", "torchvision"]),
    "numpy": Module("pixels", ["numpy"]),
    "PIL": Module("pixels", ["pillow", "pillow-simd"]),
    "cv2": Module("pixels", OPENCV, ["numpy"]),
    "pycocotools.mask": Module("pixels", ["pycocotools"], ["numpy"]),
    "matplotlib": Module("pixels", ["matplotlib"], ["numpy", "PIL"]),
    "safetensors": Module("files", ["safetensors"]),
    "huggingface_hub": Module("files", ["huggingface-hub"]),
    "filelock": Module("files", ["filelock"]),
    "transformers": Module("files", ["transformers"], ["huggingface_hub", "torch", "numpy"]),
    "detectron2": Module("files", ["detectron2"], ["torch", "torchvision", "numpy"]),
    "mmengine": Module(
        "mmcv", ["onedl-mmengine", "mmengine", "mmengine-lite"], ["torch", "cv2", "numpy"]
    ),
    "mmcv": Module(
        "mmcv", ["onedl-mmcv", "mmcv", "mmcv-full", "mmcv-lite"], ["mmengine", "torch", "cv2"]
    ),
    OPERATORS: Module("mmcv", [], ["mmcv", "torchvision", "torch"]),
    "mmdet": Module("mmcv", ["onedl-mmdetection", "mmdet"], ["mmcv", "torch"]),
    COLLECT_ENV: Module("account", [], ["torch"]),
}
"""One that no distribution brings is tried where the first module that it imports is there."""

KNOWN = frozenset({OWN, "triton"}.union(*(each.brought_by for each in MODULES.values())))


class Unmet(NamedTuple):
    """Says that a distribution needs another, or another version of it."""

    by: str
    requirement: str
    name: str
    found: str | None


@dataclass(frozen=True)
class Installed:
    """Holds what Python would find here.

    Attributes:
        packages: of the names in `KNOWN`; of several with one name the first one counts.
        absent: name -> how many of the files that it brought are gone, of how many, and one.
        doubled: name -> versions, of what one folder has twice.
        leftovers: folders that pip renamed and never removed, or whose description is gone.
        origins: module -> its first file; None where it is a folder without one.
        unmet: requirements of the packages that nothing fits.
        compared: whether their versions could be compared.
    """

    packages: Mapping[str, Distribution]
    absent: Mapping[str, tuple[int, int, str]]
    doubled: Mapping[str, list[str]]
    leftovers: list[Path]
    origins: Mapping[str, str | None]
    unmet: list[Unmet]
    compared: bool

    def of_module(self, module: str) -> dict[str, str]:
        """Returns the distributions that bring a module, and their versions."""
        names = MODULES[module].brought_by if module in MODULES else ()
        return {name: self.packages[name].version for name in names if name in self.packages}

    def version(self, module: str) -> str:
        """Returns the version that the first of them says; "" where there is none."""
        return next(iter(self.of_module(module).values()), "")

    def shadowed(self, module: str) -> bool:
        """Tells whether a module is found elsewhere than where its distributions are."""
        origin = self.origins.get(module)
        brought = [self.packages[name] for name in self.of_module(module)]
        texts = [each.read_text("direct_url.json") or "" for each in brought]
        if not (origin and brought) or any(re.search(r'"editable":\s*true', t) for t in texts):
            return False
        return not any(Path(origin).is_relative_to(str(e.locate_file(""))) for e in brought)


def look() -> Installed:
    """Returns what is installed."""
    found: dict[str, Distribution] = {}
    doubled: dict[str, list[str]] = {}
    folders = {Path(each) for each in sys.path if each.endswith("-packages")}
    leftovers = [each for folder in folders for each in sorted(folder.glob("~*"))]
    for each in distributions():
        try:
            first = found.setdefault(normalised(each.metadata["Name"]), each)
            again = first.version != each.version
        except (TypeError, KeyError, AttributeError, ValueError):  # as Python's versions have it
            leftovers.append(Path(str(getattr(each, "_path", "?"))))
            continue
        if again and first.locate_file("") == each.locate_file(""):
            name = normalised(each.metadata["Name"])
            doubled.setdefault(name, [first.version]).append(each.version)
    known = {name: each for name, each in found.items() if name in KNOWN}
    return Installed(
        known,
        {name: gone for name, each in known.items() if (gone := _absent(each))[0]},
        {name: versions for name, versions in doubled.items() if name in KNOWN},
        leftovers,
        {module: origin for module in MODULES if (origin := _origin(module)) != ""},
        *_unmet(found),
    )


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _absent(distribution: Distribution) -> tuple[int, int, str]:
    # `Distribution.files` makes an object of each of torch's 15,000, or leaves out the absent.
    rows = csv.reader((distribution.read_text("RECORD") or "").splitlines())
    # Scripts are elsewhere where an environment has moved, and Python writes its own .pyc.
    files = [row[0] for row in rows if row and not re.match(r"\.\.|/|.*\.pyc$", row[0])]
    folder = str(distribution.locate_file(""))
    gone = [each for each in files if not os.path.lexists(os.path.join(folder, each))]  # noqa: PTH118
    return len(gone), len(files), "".join(gone[:1])


def _origin(module: str) -> str | None:
    """Returns the first file of a module's package; None where its folder has none, and "" where
    Python finds nothing.
    """
    row = MODULES[module]
    with suppress(ImportError, ValueError):
        spec = find_spec((module if row.brought_by else row.imports[0]).partition(".")[0])
        return "" if spec is None else spec.origin
    return ""


def _own_requirements() -> Sequence[str]:
    """Returns what this package needs, of a checkout that is not installed."""
    with suppress(OSError, ValueError, LookupError):
        text = (Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8")
        return list(tomllib.loads(text)["project"]["dependencies"])
    return ()


def _unmet(found: Mapping[str, Distribution]) -> tuple[list[Unmet], bool]:
    """Returns what pip's own check would find of these packages, and whether versions could be
    compared; where not, those that this package needs and that are not there.
    """
    needs = {name: each.requires or () for name, each in found.items() if name in KNOWN}
    asked = [(by, t) for by, texts in {OWN: _own_requirements(), **needs}.items() for t in texts]
    for name in ("packaging", "pip._vendor.packaging", "setuptools._vendor.packaging"):
        with suppress(ImportError):
            requirement = import_module(f"{name}.requirements").Requirement
            break
    else:
        plain = [text for by, text in asked if by == OWN and ";" not in text]
        names = {text: normalised(re.split(r"[^\w.-]", text)[0]) for text in plain}
        return [Unmet(OWN, text, n, None) for text, n in names.items() if n not in found], False
    unmet = []
    for by, text in asked:
        needed = requirement(text)
        if needed.marker is None or needed.marker.evaluate({"extra": ""}):
            name = normalised(needed.name)
            # pip takes none for another, but each of them is `cv2`, and servers lack a display.
            same = [name, *(OPENCV if name in OPENCV else ())]
            version = next((found[each].version for each in same if each in found), None)
            if version is None or not needed.specifier.contains(version, prereleases=True):
                unmet.append(Unmet(by, f"{needed.name}{needed.specifier}", name, version))
    return unmet, True
