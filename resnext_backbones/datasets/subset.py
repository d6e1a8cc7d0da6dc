"""A few images of a data set in COCO's layout, as a data set in COCO's layout."""

from __future__ import annotations

import json
import os
from pathlib import Path

SPLITS = ("train2017", "val2017")


def coco_subset(source: str | Path, root: str | Path, *, num_train: int, num_val: int) -> Path:
    """Write a tree with the first annotated images of another; the images are links.

    Args:
        source: with annotations/instances_{train,val}2017.json, train2017/ and val2017/.
        root: of the new tree; it must not exist.
        num_train, num_val: images at the most; those without annotations are left out.

    Returns:
        `root`.

    Raises:
        FileNotFoundError: `source` lacks one of the files.
        FileExistsError: `root` is there already.
    """
    source, root = Path(source).absolute(), Path(root)
    for split in SPLITS:
        for path in (_annotations(source, split), source / split):
            if not path.exists():
                raise FileNotFoundError(f"{path}: not found; is {source} a COCO tree?")
    if root.exists():
        raise FileExistsError(f"{root}: exists already; name a new folder")
    # Written beside its place and renamed: the tree is there whole or not at all.
    temporary = root.with_name(f".{root.name}.{os.getpid()}")
    (temporary / "annotations").mkdir(parents=True)
    for split, limit in zip(SPLITS, (num_train, num_val), strict=True):
        content = json.loads(_annotations(source, split).read_bytes())
        annotated = {annotation["image_id"] for annotation in content["annotations"]}
        images = [image for image in content["images"] if image["id"] in annotated][:limit]
        kept = {image["id"] for image in images}
        content["images"] = images
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] in kept]
        _annotations(temporary, split).write_text(json.dumps(content), encoding="utf-8")
        (temporary / split).mkdir()
        for image in images:
            (temporary / split / image["file_name"]).symlink_to(source / split / image["file_name"])
    temporary.rename(root)
    return root


def _annotations(root: Path, split: str) -> Path:
    return root / "annotations" / f"instances_{split}.json"
