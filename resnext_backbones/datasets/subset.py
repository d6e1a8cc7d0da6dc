"""A few images of a data set in COCO's layout, as a data set in COCO's layout."""

from __future__ import annotations

import json
from pathlib import Path

from resnext_backbones.datasets.tree import whole_tree

SPLITS = ("train2017", "val2017")


def coco_subset(source: str | Path, root: str | Path, *, num_train: int, num_val: int) -> Path:
    """Write a tree with the first annotated images of another; the images are links.

    Args:
        source: with annotations/instances_{train,val}2017.json, train2017/ and val2017/.
        root: of the new tree; it may exist if it is empty.
        num_train, num_val: images at the most; those without annotations are left out.

    Returns:
        `root`.

    Raises:
        FileNotFoundError: `source` lacks one of the files.
        ValueError: an annotation file is not in COCO's format.
        FileExistsError: `root` is a file or a folder that is not empty.
    """
    source, root = Path(source).absolute(), Path(root)
    for split in SPLITS:
        for path in (_annotations(source, split), source / split):
            if not path.exists():
                raise FileNotFoundError(f"{path}: not found; is {source} a COCO tree?")
    with whole_tree(root) as partial:
        (partial / "annotations").mkdir()
        for split, limit in zip(SPLITS, (num_train, num_val), strict=True):
            _write_split(source, partial, split, limit)
    return root


def _write_split(source: Path, root: Path, split: str, limit: int) -> None:
    path = _annotations(source, split)
    try:
        content = json.loads(path.read_bytes())
        annotated = {annotation["image_id"] for annotation in content["annotations"]}
        images = [image for image in content["images"] if image["id"] in annotated][:limit]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: is not in COCO's format: {error!r}") from error
    kept = {image["id"] for image in images}
    content["images"] = images
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in kept]
    _annotations(root, split).write_text(json.dumps(content), encoding="utf-8")
    (root / split).mkdir()
    for image in images:
        (root / split / image["file_name"]).symlink_to(source / split / image["file_name"])


def _annotations(root: Path, split: str) -> Path:
    return root / "annotations" / f"instances_{split}.json"
