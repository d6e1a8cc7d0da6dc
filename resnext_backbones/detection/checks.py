"""What is looked at before anything is built: data, categories, checkpoints."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmdet.registry import DATASETS
from mmengine.config import Config
from torch import nn

from resnext_backbones.detection.config import dicts_with
from resnext_backbones.detection.errors import InputError
from resnext_backbones.weights.files import read_file
from resnext_backbones.weights.load import variant_of

Mappings = Iterator[Mapping[str, Any]]
LOADERS = {"train": ("train_dataloader", "val_dataloader"), "test": ("test_dataloader",)}


def check_data(cfg: Config, mode: str) -> None:
    """Check the data sets of a config in COCO's format, and that the heads fit them.

    Args:
        mode: `train` or `test`.

    Raises:
        InputError: a data root, annotation file or image is missing, an annotation file is not
            in COCO's format, or its categories are not those of the config.
    """
    for loader in LOADERS[mode]:
        for dataset in dicts_with(cfg.get(loader), lambda d: "ann_file" in d):
            if dataset.get("backend_args") is None:
                _check_dataset(dataset, cfg.model)


def _check_dataset(dataset: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    root = Path(dataset.get("data_root") or ".")
    if not root.is_dir():
        raise InputError(
            f"data root {root}: there is no such folder; set COCO_ROOT to the folder that holds "
            "annotations/, train2017/ and val2017/"
        )
    path = root / dataset["ann_file"]
    if not path.is_file():
        raise InputError(f"annotation file {path}: there is no such file")
    if path.suffix != ".json":
        return
    content = _read_coco(path)
    classes = _classes(dataset)
    if classes is not None:
        _check_categories(path, content["categories"], classes, model)
    folder = root / dataset.get("data_prefix", {}).get("img", "")
    _check_images(path, content["images"], folder)


def _read_coco(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"annotation file {path}: is no JSON: {error}") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise InputError(
                f"annotation file {path}: has no list {key!r}, so is not COCO's format"
            )
    return content


def _classes(dataset: Mapping[str, Any]) -> tuple[str, ...] | None:
    named = (dataset.get("metainfo") or {}).get("classes")
    if named is None:
        kind = DATASETS.get(dataset["type"])
        named = getattr(kind, "METAINFO", {}).get("classes")
    return None if named is None else tuple(named)


def _check_categories(
    path: Path,
    categories: list[dict[str, Any]],
    classes: tuple[str, ...],
    model: Mapping[str, Any],
) -> None:
    names = {category["name"] for category in categories}
    if absent := [name for name in classes if name not in names]:
        raise InputError(
            f"annotation file {path}: its {len(names)} categories ({_some(sorted(names))}) lack "
            f"{len(absent)} of the config's {len(classes)} classes: {_some(absent)}; "
            "set metainfo.classes of the data sets, and num_classes of the heads"
        )
    # Segmentation heads for stuff count other classes than the detector's.
    heads = {key: head for key, head in model.items() if isinstance(head, Mapping | list)}
    for head in dicts_with(heads, lambda d: "num_classes" in d and "mantic" not in d["type"]):
        if head["num_classes"] != len(classes):
            raise InputError(
                f"{head['type']} has num_classes={head['num_classes']}, but the data set has "
                f"{len(classes)} classes ({_some(classes)}); set num_classes to {len(classes)}"
            )


def _check_images(path: Path, images: list[dict[str, Any]], folder: Path) -> None:
    """Every image is there; one listing a folder, as there can be 100,000 of them."""
    names: dict[Path, list[str]] = defaultdict(list)
    for image in images:
        file = folder / image["file_name"]
        names[file.parent].append(file.name)
    missing = []
    for parent, files in names.items():
        present = {path.name for path in parent.iterdir()} if parent.is_dir() else set()
        missing += [str(parent / file) for file in files if file not in present]
    if missing:
        raise InputError(
            f"annotation file {path}: {len(missing)} of its {len(images)} images are missing: "
            f"{_some(sorted(missing))}"
        )


def check_checkpoint(path: str | Path, model: nn.Module) -> None:
    """Check that a checkpoint is of this very detector, key by key.

    MMEngine loads what fits and logs the rest; a test or a resumed run wants all of it.

    Raises:
        InputError: there is no such file, or it is another detector's.
        WeightsError: it cannot be read.
    """
    if not Path(path).is_file():
        raise InputError(f"checkpoint {path}: there is no such file")
    content = read_file(path)
    state = content.get("state_dict", content)
    own = model.state_dict()
    wrong = sorted(own.keys() ^ state.keys())
    wrong += sorted(k for k in own.keys() & state.keys() if own[k].shape != state[k].shape)
    if wrong:
        held, wanted = (variant_of(_backbone(s)) or "no ResNeXt" for s in (state, own))
        raise InputError(
            f"checkpoint {path}: its backbone is {held} and the config's is {wanted}; "
            f"{len(wrong)} tensors do not fit: {_some(wrong)}"
        )


def _backbone(state: Mapping[str, Any]) -> dict[str, Any]:
    marker = "backbone."
    return {k.split(marker, 1)[1]: v for k, v in state.items() if marker in k}


def _some(names: Any, limit: int = 5) -> str:
    names = list(names)
    return ", ".join(names[:limit]) + (f", ... ({len(names)})" if len(names) > limit else "")
