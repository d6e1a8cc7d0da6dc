"""Detections are compared with the truth: by class, by image, and by what was taken for what."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from resnext_backbones.data.annotations import read_annotations
from resnext_backbones.data.rules import Use
from resnext_backbones.engine.record import read_json

OVERLAP = 0.5
"""A box is found where another one has so much intersection over union with it."""

MOST = 100
"""COCO counts so many detections of an image."""

Results = list[dict[str, Any]]
"""Detections in COCO's format of results."""


@dataclass(frozen=True)
class Precision:
    """Says how precise the detections of K classes are.

    Attributes:
        ap: COCO's average precision of each class, (K,); NaN where it has no objects.
        ap50: the same at an IoU of 0.5 alone.
        recall: at which the curves are, (R,).
        curves: of precision at an IoU of 0.5, (K, R).
        means: over the classes, (R,), by the IoU.
        score: which the detections must have for the best F1 at an IoU of 0.5, all classes
            together; NaN where nothing is right.
    """

    ap: NDArray[np.floating]
    ap50: NDArray[np.floating]
    recall: NDArray[np.floating]
    curves: NDArray[np.floating]
    means: Mapping[float, NDArray[np.floating]]
    score: float


@dataclass(frozen=True)
class ImageScore:
    """Says what was found in an image: objects with their class (right), with another one or where
    there is nothing (wrong), and those that were missed.
    """

    id: int
    right: int
    wrong: int
    missed: int

    @property
    def share(self) -> float:
        return self.right / (self.right + self.wrong + self.missed)


class Evaluated:
    """Holds the truth and what was found in images.

    Args:
        annotations: the truth, in COCO's format.
        results: the files of detections, by kind: `bbox`, `segm`.
        image_ids: of the images that were looked at; None is all.
        category_ids: of the network's classes; None is all.

    Raises:
        InputError, OSError, ValueError: a file is missing or wrong.
    """

    def __init__(
        self,
        annotations: Path,
        results: Mapping[str, Path],
        image_ids: Sequence[int] | None = None,
        category_ids: Sequence[int] | None = None,
    ) -> None:
        use = Use(evaluate=True, masks="segm" in results)
        self.truth = COCO()
        self.truth.dataset = read_annotations(annotations, use).content
        with _quiet():
            self.truth.createIndex()
        self.image_ids = list(self.truth.imgs if image_ids is None else image_ids)
        self.category_ids = list(self.truth.cats if category_ids is None else category_ids)
        self.names = [str(self.truth.cats[each]["name"]) for each in self.category_ids]
        self.results = {kind: self._read(path) for kind, path in results.items()}

    def _read(self, path: Path) -> Results:
        found, looked_at = read_json(path), set(self.image_ids)
        if not isinstance(found, list):
            raise ValueError(f"{path}: has no detections in COCO's format")
        return [each for each in found if each["image_id"] in looked_at]

    def objects(self) -> NDArray[np.integer]:
        """Returns how many objects of each class the images have, crowds left out, (K,)."""
        counts = dict.fromkeys(self.category_ids, 0)
        for image in self.image_ids:
            for each in self.objects_in(image):
                counts[each["category_id"]] += not each.get("iscrowd")
        return np.array(list(counts.values()))

    def objects_in(self, image: int) -> Results:
        """Returns the annotations of an image's objects of these classes, crowds among them."""
        known = set(self.category_ids)
        return [each for each in self.truth.imgToAnns[image] if each["category_id"] in known]

    def precision(self, kind: str) -> Precision | None:
        """Returns that of a kind, `bbox` or `segm`; None where nothing was found."""
        results = self.results.get(kind)
        if not results:
            return None
        # The boxes would be taken for the areas of masks.
        left_out = {"segm": "bbox"}.get(kind)
        own = [{k: v for k, v in each.items() if k != left_out} for each in results]
        with _quiet():
            counted = COCOeval(self.truth, self.truth.loadRes(own), kind)
            settings = counted.params
            settings.imgIds, settings.catIds = self.image_ids, self.category_ids
            settings.useCats, settings.maxDets = 1, [MOST]
            settings.areaRng, settings.areaRngLbl = settings.areaRng[:1], settings.areaRngLbl[:1]
            counted.evaluate()
            counted.accumulate()
        # (IoUs, R, K); -1 where a class has no objects. COCOeval sorts the classes by their ids.
        place = [sorted(self.category_ids).index(each) for each in self.category_ids]
        found = counted.eval["precision"][..., 0, 0][..., place]
        known = np.where(found < 0, np.nan, found)
        at = {overlap: known[i] for i, overlap in enumerate(settings.iouThrs.round(2).tolist())}
        with np.errstate(all="ignore"):
            return Precision(
                ap=known.mean((0, 1)),
                ap50=at[OVERLAP].mean(0),
                recall=settings.recThrs,
                curves=at[OVERLAP].T,
                means={t: _mean(at[t]) for t in (0.5, 0.75, 0.9)},
                score=_best_score(filter(None, counted.evalImgs)),
            )

    def compare(self, least_score: float) -> tuple[NDArray[np.integer], list[ImageScore]]:
        """Returns which class is taken for which, and what was found in each image that has
        anything, by the boxes of a score of at least `least_score`.

        Returns:
            The number of objects, (K + 1, K + 1), by their class and by the one that was found;
            the last row is what is nothing, and the last column what was missed.
        """
        nothing = len(self.names)
        place = {category: number for number, category in enumerate(self.category_ids)}
        found_in: dict[int, Results] = {image: [] for image in self.image_ids}
        for each in self.results.get("bbox", ()):
            if each["score"] >= least_score:
                found_in[each["image_id"]].append(each)
        matrix = np.zeros((nothing + 1, nothing + 1), int)
        scores = []
        for image, found in found_in.items():
            pairs = [
                (nothing if t is None else place[t], nothing if f is None else place[f])
                for t, f in matches(self.objects_in(image), found)
            ]
            np.add.at(matrix, tuple(np.array(pairs, int).reshape(-1, 2).T), 1)
            missed = sum(f == nothing for _, f in pairs)
            right = sum(t == f for t, f in pairs)
            if pairs:
                scores.append(ImageScore(image, right, len(pairs) - right - missed, missed))
        return matrix, scores


def matches(truth: Results, found: Results) -> Iterator[tuple[int | None, int | None]]:
    """Yields the category of each object beside the one that it was found as; None is nothing.

    The detections take objects in the order of their scores, each the one that it overlaps most
    of those that are left: of its own category first, and then of any. One that lies on a crowd is
    neither right nor wrong.
    """
    objects = [each for each in truth if not each.get("iscrowd")]
    crowds = [each for each in truth if each.get("iscrowd")]
    found = sorted(found, key=lambda each: -each["score"])
    overlaps = _overlaps(found, objects, 0)
    wanted = np.array([each["category_id"] for each in objects])
    taken: dict[int, int] = {}  # the object of a detection
    for own in (True, False):
        for row, each in enumerate(found):
            if row in taken or not objects:
                continue
            free = overlaps[row] >= OVERLAP
            if own:
                free &= wanted == each["category_id"]
            free[list(taken.values())] = False
            if free.any():
                taken[row] = int(np.where(free, overlaps[row], -1).argmax())
    on_crowd = _overlaps(found, crowds, 1).max(1, initial=0) >= OVERLAP
    for row, each in enumerate(found):
        if row in taken:
            yield objects[taken[row]]["category_id"], each["category_id"]
        elif not on_crowd[row]:
            yield None, each["category_id"]
    for column in sorted(set(range(len(objects))) - set(taken.values())):
        yield objects[column]["category_id"], None


def _overlaps(found: Results, truth: Results, crowd: int) -> NDArray[np.floating]:
    """Returns the intersection over union of boxes, (F, T); over the detection's area of crowds."""
    if not found or not truth:
        return np.zeros((len(found), len(truth)))
    boxes = [np.array([each["bbox"] for each in some], float) for some in (found, truth)]
    return np.asarray(rle.iou(*boxes, [crowd] * len(truth)))


def _best_score(images: Iterator[Mapping[str, Any]]) -> float:
    """Returns the least score of the detections with the best F1, of COCOeval's matches at its
    first IoU; NaN where none is right.
    """
    scores, right, objects = [], [], 0
    for each in images:
        counts = ~each["dtIgnore"][0].astype(bool)
        scores.append(np.asarray(each["dtScores"], float)[counts])
        right.append(each["dtMatches"][0][counts] > 0)
        objects += int((~each["gtIgnore"].astype(bool)).sum())
    if not scores:
        return np.nan
    every = np.concatenate(scores)
    order = np.argsort(-every, kind="mergesort")
    hits = np.concatenate(right)[order].cumsum()
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + max(objects, 1))
    return float(every[order][f1.argmax()]) if len(f1) and f1.max() > 0 else np.nan


def _mean(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Returns the mean over classes that have objects, (R,)."""
    known = ~np.isnan(values).all(0)
    return values[:, known].mean(1) if known.any() else np.full(len(values), np.nan)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps pycocotools from printing."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
