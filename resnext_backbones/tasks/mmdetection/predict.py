"""A detector looks at images without annotations."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmcv.transforms import Compose
from mmdet.apis import init_detector
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from rich.console import Console
from rich.progress import track
from torch.utils.data import DataLoader

from resnext_backbones.data.coco_results import ImageList, own_categories, to_results
from resnext_backbones.data.find_images import FoundImages
from resnext_backbones.engine.checkpoints import find_checkpoint
from resnext_backbones.engine.checks.network import check_checkpoint
from resnext_backbones.engine.checks.outputs import check_folder
from resnext_backbones.engine.config import check_parts
from resnext_backbones.engine.written import unlike_its_run
from resnext_backbones.errors import BUILD_ERRORS, InputError
from resnext_backbones.io import atomic_write_text, json_text
from resnext_backbones.reports.drawing import class_colours
from resnext_backbones.tasks.mmdetection.annotations import classes_of
from resnext_backbones.tasks.mmdetection.checks import check_heads
from resnext_backbones.tasks.mmdetection.config import given
from resnext_backbones.tasks.mmdetection.pictures import (
    check_found,
    picture_of,
    picture_path,
    write_picture,
)

IMAGES, PREDICTIONS, PICTURES = "images.json", "predictions.json", "pictures"
"""In the folder of results."""


def predict(
    cfg: Config,
    checkpoint: str,
    images: FoundImages,
    out: Path,
    *,
    batch_size: int = 1,
    workers: int = 0,
    score_thr: float | None = 0.3,
    image_list: Path | None = None,
    overwrite: bool = False,
) -> int:
    """Writes what a detector finds in images, as COCO's results and as pictures.

    An image is read, resized and normalised as the config's test data set does. The images of a
    batch are padded to the same size, which moves boxes near the padding by fractions of a pixel;
    with `batch_size` of the config's test data loader they are those of an evaluation.

    Args:
        checkpoint: a path or an address; its classes are taken, or else the config's.
        out: a folder, which gets images.json, with the ids of images and categories,
            predictions.json in COCO's results format, and pictures/ by the names of the images.
            Until all is done, images.json lists all images, and there is no predictions.json.
        workers: processes that read images; 0 reads them in this one.
        score_thr: the least score in pictures; None draws none.
        image_list: a file in COCO's format that says the ids of images and categories. None
            counts images from 1; categories are COCO's or counted from 1.
        overwrite: replace what an earlier call left in `out`.

    Returns:
        The number of detections.

    Raises:
        InputError: the checkpoint or the image list is wrong, `out` has files of an earlier call;
            or an image cannot be read, once all others are done.
        WeightsError: the checkpoint cannot be read.
    """
    check_parts(cfg, "a prediction")
    earlier = _earlier_results(out, overwrite)
    model = _build(cfg, checkpoint)
    classes = model.dataset_meta["classes"]
    ids, categories = list(range(1, len(images.names) + 1)), own_categories(classes)
    if image_list is not None:
        listed = ImageList(image_list)
        ids, categories = listed.image_ids(images.root, images.names), listed.category_list(classes)
    category_ids = [kind["id"] for kind in categories]
    loader = _loader(cfg, images, batch_size, workers)
    colours = class_colours(classes, model.dataset_meta.get("palette"))

    def write_images(description: str, rows: Sequence[Mapping[str, Any]]) -> None:
        content = {"info": {"description": description}, "images": rows, "annotations": []}
        content["categories"] = categories
        atomic_write_text(out / IMAGES, json_text(content, indent=1))

    # What stayed would pass for this detector's.
    for path in earlier:
        path.unlink(missing_ok=True)
    # Pictures that no images.json lists are not replaced, so it is there before them.
    named = [{"id": id_, "file_name": name} for id_, name in zip(ids, images.names, strict=True)]
    write_images(f"images in {images.root}, not all of them done", named)
    rows, results, failures = [], [], []
    for index, sample in _samples(model, loader):
        if isinstance(sample, InputError):
            failures.append(str(sample))
            continue
        check_found(sample, cfg.model)
        height, width = map(int, sample.ori_shape)
        rows.append({**named[index], "width": width, "height": height})
        found = sample.pred_instances
        tensors = {**dict(found.items()), "boxes": get_box_tensor(found.bboxes)}
        results += to_results(tensors, ids[index], category_ids)
        if score_thr is not None:
            picture = picture_of(sample, classes, colours, least_score=score_thr)
            write_picture(picture, out / PICTURES, images.names[index])
    write_images(f"images in {images.root}", rows)
    atomic_write_text(out / PREDICTIONS, json_text(results))
    if failures:
        raise InputError(
            f"{len(failures)} of {len(images.names)} images cannot be read; the results of the "
            f"others are in {out}\n" + "\n".join(failures)
        )
    return len(results)


def _loader(cfg: Config, images: FoundImages, batch_size: int, workers: int) -> DataLoader:
    """Returns a loader of lists of pairs: an image's index, and the image or its error."""
    kinds = ((step, step["type"]) for step in get_test_pipeline_cfg(cfg))
    names = ((step, kind if isinstance(kind, str) else kind.__name__) for step, kind in kinds)
    try:
        # LoadAnnotations and its kin go; PackDetInputs does without what they add.
        pipeline = Compose([step for step, name in names if "Annotations" not in name])
    except BUILD_ERRORS as error:
        raise InputError(f"config {cfg.filename}: its test pipeline: {error}") from error
    read = partial(_read, images, pipeline)
    indices: Any = range(len(images.names))
    return DataLoader(indices, batch_size, num_workers=workers, collate_fn=read)


def _read(images: FoundImages, pipeline: Compose, batch: Sequence[int]) -> list[tuple[int, Any]]:
    read: list[tuple[int, Any]] = []
    for index in batch:
        path = str(images.root / images.names[index])
        try:
            read.append((index, pipeline({"img_path": path, "img_id": index})))
        except InputError as error:
            read.append((index, error))
    return read


def _samples(model: Any, loader: DataLoader) -> Iterator[tuple[int, Any]]:
    """Yields each image's index, and its `DetDataSample` or the error that it cannot be read."""
    for batch in track(loader, description="batches", console=Console(stderr=True)):
        read = [(index, sample) for index, sample in batch if not isinstance(sample, InputError)]
        yield from ((index, error) for index, error in batch if isinstance(error, InputError))
        if read:
            indices, samples = zip(*read, strict=True)
            with torch.no_grad():
                found = model.test_step(pseudo_collate(samples))
            yield from zip(indices, found, strict=True)


def _build(cfg: Config, checkpoint: str) -> Any:
    """Returns the detector with its weights, on its device; `dataset_meta` has its classes."""
    if "backbone" not in cfg.model:
        raise InputError(
            f"model {cfg.model.get('type')}: has no backbone of its own; name a config of the "
            "detector in it"
        )
    path = find_checkpoint(checkpoint)
    meta = check_checkpoint(path, cfg)
    for problem in unlike_its_run(cfg.model, path, meta, given, to_resume=False):
        raise InputError(problem)
    # MMDetection 3 names classes in one way, and 2 in two others.
    named = {key.lower(): value for key, value in (meta.get("dataset_meta") or {}).items()}
    classes = tuple(named.get("classes") or meta.get("CLASSES") or ())
    classes = classes or classes_of(cfg.test_dataloader.dataset)
    if not classes:
        raise InputError(f"checkpoint {path}: names no classes, and neither does the config")
    check_heads(classes, cfg.model)
    try:
        model = init_detector(cfg, path, device=get_device())
    except BUILD_ERRORS as error:
        raise InputError(f"config {cfg.filename}: {error}") from error
    model.dataset_meta["classes"] = classes
    return model


def _earlier_results(out: Path, overwrite: bool) -> list[Path]:
    """Returns what an earlier call left, if it may be replaced, or raises InputError."""
    check_folder("--out", out)
    if not out.is_dir() or not any(out.iterdir()):
        return []
    if not overwrite:
        raise InputError(f"--out {out}: has files; name a new folder, or replace with --overwrite")
    listing, pictures = out / IMAGES, out / PICTURES
    if not listing.is_file():
        raise InputError(
            f"--out {out}: has no {IMAGES}, so its files are of something else; name a new folder"
        )
    try:
        names = [image["file_name"] for image in json.loads(listing.read_bytes())["images"]]
        paths = [Path(os.path.normpath(picture_path(pictures, name))) for name in names]
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"--out {out}: its {IMAGES} is damaged or of something else, and does not say which "
            "pictures may be replaced; name a new folder"
        ) from error
    inside = os.path.normpath(pictures)
    if outside := [path for path in paths if not path.is_relative_to(inside)]:
        raise InputError(
            f"--out {out}: its {IMAGES} names images outside {PICTURES}/ ({outside[0]}), so it is "
            "of something else; name a new folder"
        )
    return [*paths, out / PREDICTIONS]
