"""MMDetection's data sets and metrics of COCO's format read annotations by this package's reader.

Each class that reads a file itself, by pycocotools, has a twin that differs in this alone; a
config's types are replaced by their twins when it is read.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import resnext_backbones.tasks.mmdetection.quiet  # noqa: F401

import numpy as np
from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation.metrics import CocoMetric
from mmdet.registry import DATASETS, METRICS
from mmengine.dist import is_main_process
from mmengine.fileio import get_local_path

from resnext_backbones.adapters import registry as own
from resnext_backbones.data.annotations import read_annotations
from resnext_backbones.data.rules import Use
from resnext_backbones.engine.config import SPLITS
from resnext_backbones.engine.fit import log_info, log_warning
from resnext_backbones.engine.record import harmless
from resnext_backbones.engine.walk import dicts_with
from resnext_backbones.errors import InputError, some
from resnext_backbones.io import atomic_write

PREFIX = "resnext_backbones."

UNLABELLED = "LoadEmptyAnnotations"
"""MMDetection's transform of images without annotations."""

SEGMENTS = "segm"
"""COCO's metric of masks."""


class CompletedCOCO(COCO):
    """Has an annotation file's index, checked and completed, in the place of pycocotools' own.

    Args:
        path: of the file.
        use: what it is read for.
    """

    def __init__(self, path: str | Path, use: Use) -> None:
        super().__init__()
        self.path = path
        self.found = read_annotations(Path(path), use, log_info)
        self.dataset = self.found.content
        self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

    def get_cat_ids(
        self,
        cat_names: Sequence[str] = (),
        sup_names: Sequence[str] = (),
        cat_ids: Sequence[int] = (),
    ) -> list[int]:
        """Returns the ids of categories; those asked for by name in the order of the names, which
        is that of a network's labels, and not in the order of the file.
        """
        if not cat_names:
            return super().get_cat_ids(cat_names, sup_names, cat_ids)
        by_name = {category["name"]: category["id"] for category in self.dataset["categories"]}
        if absent := [name for name in cat_names if name not in by_name]:
            raise InputError(
                f"annotation file {self.path}: has no category {some(absent)}, of the classes"
            )
        return [by_name[name] for name in cat_names]


class ReadsCompleted:
    """Is the data set's own part of a twin."""

    def COCOAPI(self, path: str) -> CompletedCOCO:
        """Returns a file's index, in the place of the class that a data set calls."""
        coco = CompletedCOCO(path, self.use)
        if is_main_process():
            coco.found.tell(log_info, log_warning)
        return coco

    def filter_data(self) -> list[Any]:
        """Leaves images out as the class does where it trains, and says how many where `filter_cfg`
        asked for it, since an evaluation of the same file counts them.
        """
        data: Any = self
        kept = super().filter_data()  # type: ignore[misc]
        left = len(data.data_list) - len(kept) if data.filter_cfg else 0
        if left > 0 and is_main_process():
            log_info(
                f"annotation file {data.ann_file}: {left} of {len(data.data_list)} images are left "
                f"out, by filter_cfg {dict(data.filter_cfg)}: they have no object of the classes, "
                "or are smaller"
            )
        return kept

    def _serialize_data(self) -> tuple[Any, Any]:
        """Packs the images as MMEngine does, which takes no list without any: all of a file of
        background may be left out, beside others.
        """
        data: Any = self
        if not data.data_list:
            return np.zeros(0, np.uint8), np.zeros(0, np.int64)
        return super()._serialize_data()  # type: ignore[misc]

    def __reduce__(self) -> tuple[Any, ...]:
        """Is how a data set goes to processes that import by name: twins have no module."""
        return _blank, (type(self).__bases__[1],), self.__dict__

    @property
    def use(self) -> Use:
        """Says what the file is read for: to learn from it, or for its images."""
        data: Any = self
        steps = data.pipeline.transforms
        train = not data.test_mode and not any(type(s).__name__ == UNLABELLED for s in steps)
        masks = any(getattr(step, "with_mask", False) for step in steps)
        return Use(train=train, part=train, masks=masks, annotated=train)


class MeasuresCompleted:
    """Is the metric's own part of a twin: it counts the images that were shown, and keeps what was
    found in them where `keep_in` is a folder.
    """

    keep_in: Path | None = None
    kept: Mapping[str, Any] | None = None

    def __init__(self, ann_file: str | None = None, **options: Any) -> None:
        metric: Any = self
        CocoMetric.__init__(metric, None, **options)
        annotated = not metric.format_only
        masks = annotated and SEGMENTS in metric.metrics
        use = Use(evaluate=annotated, masks=masks, annotated=annotated)
        if ann_file is not None:
            with get_local_path(ann_file, backend_args=metric.backend_args) as path:
                metric._coco_api = CompletedCOCO(path, use)

    def compute_metrics(self, results: Sequence[Any]) -> Any:
        """Counts on the images of the results; the others of the file were not looked for."""
        metric: Any = self
        metric.img_ids = [truth["img_id"] for truth, _ in results]
        metric.cat_ids = None  # in the order of labels again, for `results2json`
        return super().compute_metrics(results)  # type: ignore[misc]

    def results2json(self, results: Sequence[Any], outfile_prefix: str) -> dict[str, str]:
        """Writes detections as MMDetection does, and keeps a copy."""
        metric: Any = self
        files = super().results2json(results, outfile_prefix)  # type: ignore[misc]
        if self.keep_in is not None:
            with harmless(log_warning, "detections"):
                names = {k: f"detections.{k}.json" for k in ("bbox", SEGMENTS) if k in files}
                for kind, name in names.items():
                    with atomic_write(self.keep_in / name) as temporary:
                        shutil.copyfile(files[kind], temporary)
                path = getattr(metric._coco_api, "path", None)
                self.kept = {
                    "annotations": path,
                    "results": names,
                    "image_ids": metric.img_ids,
                    "category_ids": metric.cat_ids,
                }
        # What follows counts by class in the order of ids, as COCOeval sorts them.
        metric.cat_ids = sorted(metric.cat_ids)
        return files


@cache
def _twin(part: type, kind: type) -> type:
    """Returns the twin of a class, which a config names `resnext_backbones.NAME`."""
    twin = type(kind.__name__, (part, kind), {"__doc__": kind.__doc__})
    registry = own.DATASETS if part is ReadsCompleted else own.METRICS
    registry.register_module(module=twin, force=True)
    return twin


def _blank(kind: type) -> Any:
    twin: Any = _twin(ReadsCompleted, kind)
    return twin.__new__(twin)


def reads_coco(kind: Any) -> bool:
    """Tells whether a data set's class reads COCO's format as MMDetection's own does."""
    loads = getattr(kind, "load_data_list", None) is CocoDataset.load_data_list
    return loads and getattr(kind, "COCOAPI", None) is COCO


def measures_coco(kind: Any) -> bool:
    """Tells whether a metric's class reads COCO's format as MMDetection's own does."""
    return getattr(kind, "__init__", None) is CocoMetric.__init__


PARTS = (
    ("dataloader", "ann_file", DATASETS, reads_coco, ReadsCompleted),
    ("evaluator", "type", METRICS, measures_coco, MeasuresCompleted),
)
"""Each part of a config's splits has mappings with this key whose class may have a twin."""


def class_of(node: Mapping[str, Any], registry: Any) -> type | None:
    """Returns the class that a config's `type` names; None where the registry has none."""
    kind = node.get("type")
    if not isinstance(kind, str):
        return kind
    return registry.get(kind.removeprefix(PREFIX)) or registry.get(kind)


def use_twins(cfg: Any) -> None:
    """Replaces the types of data sets and metrics in a config by their twins."""
    for part, key, registry, reads, twin in PARTS:
        nodes = [cfg.get(f"{split}_{part}") for split in SPLITS]
        for node in dicts_with(nodes, lambda d, key=key: key in d):  # type: ignore[misc]
            kind = class_of(node, registry)
            if reads(kind):
                node["type"] = PREFIX + _twin(twin, kind).__name__
