"""Detectron2's data sets of COCO's format read checked and completed annotations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json, register_coco_instances

from resnext_backbones.data.annotations import (
    CHANGES,
    Annotations,
    completed_copy,
    read_annotations,
)
from resnext_backbones.data.between import check_learned, check_same_names, warn_of_both
from resnext_backbones.data.image_check import check_images
from resnext_backbones.data.rules import Use
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.detectron2.experiments import Experiment

COCO = "coco"
"""Data sets of boxes and masks in COCO's format say that this evaluates them."""

PLAIN = register_coco_instances.__name__
"""What this registers is read by `load_coco_json` alone, and can be registered again."""

Say = Callable[[str], None]


def check_annotations(experiment: Experiment, *, train: bool, say: Say, warn: Say) -> None:
    """Checks the annotation files of an experiment and that their images are there.

    Raises:
        InputError: as of `read_annotations`; an image is missing; or files give the same classes
            other numbers, which Detectron2 counts in the order of the ids in each file.
    """
    read = {name: _read(name, use, say) for name, use in _uses(experiment, train).items()}
    check_learned(read.values())
    for name, found in read.items():
        if folder := _folder(name):
            check_images(found.path, found.images, folder, warn=warn)
        if not found.is_complete and not _is_plain(name):
            lacks = "; ".join(f.message for f in found.findings if f.outcome in CHANGES)
            raise InputError(
                f"data set {name}: is read by a function of its own, and its annotation file "
                f"{found.path} is not complete: {lacks}; complete it, or register the data set by "
                f"{PLAIN}"
            )
    check_same_names(
        {f"data set {name}": _by_id(found) for name, found in read.items()},
        "Detectron2 numbers them in the order of their ids: give each one id in all files",
    )
    if train:
        learned, evaluated = (
            [path for name in experiment.datasets(train=part) for path in _images(name, read)]
            for part in (True, False)
        )
        warn_of_both(learned, evaluated, warn)


def use_completed(
    experiment: Experiment, *, train: bool, say: Say, warn: Say
) -> dict[str, Annotations]:
    """Has the data sets of an experiment read completed copies of their annotation files where
    these are not complete, says what was found in them, and returns it by their names.
    """
    read = {name: _read(name, use, say) for name, use in _uses(experiment, train).items()}
    for name, found in read.items():
        found.tell(say, warn)
        if not found.is_complete:
            copy = completed_copy(found)
            say(f"data set {name}: is read from a completed copy of its annotations, {copy}")
            _register(name, str(copy))
    return read


def _register(name: str, path: str) -> None:
    """Registers a data set again, with another file of annotations."""
    known = MetadataCatalog.get(name).as_dict()
    images = known["image_root"]
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)
    DatasetCatalog.register(name, lambda: load_coco_json(path, images, name))
    MetadataCatalog.get(name).set(**{**known, "name": name, "json_file": path})


def _uses(experiment: Experiment, train: bool) -> dict[str, Use]:
    """Returns what the annotations of each data set in COCO's format are read for."""
    learned = set(experiment.datasets(train=True)) if train else set()
    evaluated = set(experiment.datasets(train=False))
    used = {"masks": bool(experiment.masks), "keypoints": bool(experiment.keypoints)}
    return {
        name: Use(train=name in learned, part=name in learned, evaluate=name in evaluated, **used)
        for name in sorted(learned | evaluated)
        if MetadataCatalog.get(name).get("evaluator_type") == COCO
        and "://" not in MetadataCatalog.get(name).get("json_file", "://")
    }


def _read(name: str, use: Use, say: Say) -> Annotations:
    return read_annotations(Path(MetadataCatalog.get(name).json_file), use, say)


def _is_plain(name: str) -> bool:
    return PLAIN in getattr(DatasetCatalog[name], "__qualname__", "")


def _folder(name: str) -> Path | None:
    """Returns the folder of a data set's images; None where it does not say."""
    folder = MetadataCatalog.get(name).get("image_root")
    return Path(folder) if folder else None


def _by_id(found: Annotations) -> list[str]:
    return [c["name"] for c in sorted(found.categories, key=lambda c: c["id"])]


def _images(name: str, read: dict[str, Annotations]) -> list[Path]:
    folder = _folder(name)
    if name not in read or folder is None:
        return []
    return [folder / image["file_name"] for image in read[name].images]
