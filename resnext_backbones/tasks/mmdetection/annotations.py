"""A detector's config says which annotation files its loaders and metrics read, and for what."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmdet.registry import DATASETS, METRICS

from resnext_backbones.data.annotations import (
    Annotations,
    find_annotations,
    inspect_annotations,
    read_annotations,
)
from resnext_backbones.data.rules import Use
from resnext_backbones.engine.fit import log_info
from resnext_backbones.engine.walk import dicts_with
from resnext_backbones.errors import InputError, some
from resnext_backbones.tasks.mmdetection.completed import (
    SEGMENTS,
    UNLABELLED,
    class_of,
    measures_coco,
    reads_coco,
)


def in_coco_format(dataset: Mapping[str, Any]) -> bool:
    """Tells whether a data set's class reads COCO's format as MMDetection's own does."""
    return reads_coco(class_of(dataset, DATASETS))


def images_of(dataset: Mapping[str, Any]) -> Path:
    """Returns the folder of a data set's images."""
    root = Path(dataset.get("data_root") or ".")
    return root / (dataset.get("data_prefix") or {}).get("img", "")


def datasets_of(loader: Any) -> list[MutableMapping[str, Any]]:
    """Returns the data sets in a loader's config that have annotation files here, at any depth."""
    found = dicts_with(loader, lambda d: "ann_file" in d and "type" in d)
    return [d for d in found if d.get("backend_args") is None]


def metrics_of(evaluator: Any) -> list[MutableMapping[str, Any]]:
    """Returns the metrics in an evaluator's config that are COCO's."""
    return list(dicts_with(evaluator, lambda node: measures_coco(class_of(node, METRICS))))


def names_of(value: Any, what: str) -> tuple[str, ...]:
    """Returns the names of classes, also of a file that lists them, one a line; InputError where it
    is neither, or a name is there twice.
    """
    if not isinstance(value, str):
        names = tuple(value or ())
    elif os.path.isfile(value):  # noqa: PTH113  # takes any text
        lines = Path(value).read_text(encoding="utf-8-sig").splitlines()
        names = tuple(line.strip() for line in lines if line.strip())
    else:
        raise InputError(
            f"{what}={value!r}: is text, and neither a list of names nor a file with a name a "
            f'line; one class alone is written with a comma: ("{value}",)'
        )
    if doubled := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(
            f"{what}: names {some(doubled)} more than once; classes are told apart by their names"
        )
    return names


def write_names(cfg: Any) -> None:
    """Writes into a config the classes that it names by files."""
    for dataset in dicts_with(list(cfg.values()), lambda d: isinstance(d.get("metainfo"), Mapping)):
        metainfo = dataset["metainfo"]
        for key in ("classes", "thing_classes", "stuff_classes"):
            if isinstance(metainfo.get(key), str):
                metainfo[key] = names_of(metainfo[key], f"metainfo.{key}")


def classes_of(dataset: Mapping[str, Any], key: str = "classes") -> tuple[str, ...]:
    """Returns the names that a data set's config says, or else its class; () if neither does."""
    named = (dataset.get("metainfo") or {}).get(key)
    if named is None and not dataset.get("metainfo"):
        named = getattr(DATASETS.get(dataset["type"]), "METAINFO", {}).get(key)
    return names_of(named, f"metainfo.{key}")


@dataclass(frozen=True)
class Source:
    """Says which annotation file of a loader is read for what.

    Attributes:
        dataset: its config.
        use: what the file is read for.
    """

    dataset: MutableMapping[str, Any]
    use: Use

    @property
    def path(self) -> Path:
        """Returns the annotation file; InputError: there is none."""
        root = Path(self.dataset.get("data_root") or ".")
        return find_annotations(root, self.dataset["ann_file"])

    @property
    def folder(self) -> Path:
        """Returns the folder of the images."""
        return images_of(self.dataset)

    def read(self) -> Annotations:
        """Returns the annotations with their categories in the order of the config's classes;
        InputError as of `read_annotations`, or where a class is not among them.
        """
        found = read_annotations(self.path, self.use, log_info)
        with classes_are_set():
            return found.in_order_of(classes_of(self.dataset))


@contextmanager
def classes_are_set() -> Iterator[None]:
    """Adds to an InputError, of classes that a file lacks, where a config sets them."""
    try:
        yield
    except InputError as error:
        raise InputError(
            f"{error}; set metainfo.classes of the data sets, and num_classes of the heads"
        ) from error


def sources_of(loader: Any, evaluator: Any, *, train: bool) -> Iterator[Source]:
    """Yields the annotation files in COCO's format of a loader, and what each is read for."""
    metrics = metrics_of(evaluator)
    masks = any(dicts_with(loader, lambda d: bool(d.get("with_mask"))))
    kinds = (metric.get("metric", "bbox") for metric in metrics)  # text, or several in a list
    masks |= any(SEGMENTS in kind for kind in kinds)
    for dataset in datasets_of(loader):
        if in_coco_format(dataset) and str(dataset["ann_file"]).endswith(".json"):
            images_alone = is_unlabelled(dataset) if train else is_format_only(evaluator)
            use = Use(train=train, part=train, evaluate=not train, masks=masks)
            yield Source(dataset, Use(annotated=False) if images_alone else use)


def found_in(cfg: Mapping[str, Any]) -> dict[str, list[Annotations]]:
    """Returns what was found in the annotation files that a training reads, by split."""
    return {
        split: [
            inspect_annotations(source.path, source.use)
            for source in sources_of(
                cfg.get(f"{split}_dataloader"),
                cfg.get(f"{split}_evaluator"),
                train=split == "train",
            )
        ]
        for split in ("train", "val")
    }


def is_unlabelled(dataset: Mapping[str, Any]) -> bool:
    """Tells whether a data set is of images alone, as a student learns from by its teacher."""
    steps = dicts_with(dataset.get("pipeline"), lambda d: str(d.get("type")).endswith(UNLABELLED))
    return any(steps)


def name_truth(loader: Any, evaluator: Any) -> None:
    """Gives metrics that name no file the one of their loader, where it has one."""
    files = [d for d in datasets_of(loader) if in_coco_format(d)]
    for metric in metrics_of(evaluator) if len(files) == 1 else ():
        if metric.get("ann_file") is None:
            metric["ann_file"] = str(Path(files[0].get("data_root") or ".") / files[0]["ann_file"])


def is_format_only(evaluator: Any) -> bool:
    """Tells whether an evaluator writes detections and measures nothing."""
    metrics = metrics_of(evaluator)
    return bool(metrics) and all(metric.get("format_only") for metric in metrics)
