"""The first images of a data set in COCO's layout become a small one in COCO's layout."""

from __future__ import annotations

import json
from pathlib import Path

from resnext_backbones.data.annotations import annotation_file
from resnext_backbones.io import whole_tree


def coco_subset(source: str | Path, root: str | Path, *, num_train: int, num_val: int) -> Path:
    """Writes a tree with the first annotated images of another, as links; returns its `root`.

    Raises:
        FileNotFoundError: `source` lacks an annotation file or a folder of images.
        ValueError: an annotation file is not in COCO's format.
        FileExistsError: `root` is a file or a folder that is not empty.
    """
    source, root = Path(source).absolute(), Path(root)
    limits = {"train2017": num_train, "val2017": num_val}
    for path in (p for split in limits for p in (annotation_file(source, split), source / split)):
        if not path.exists():
            raise FileNotFoundError(f"{path}: not found; is {source} a COCO tree?")
    with whole_tree(root) as partial:
        (partial / "annotations").mkdir()
        for split, limit in limits.items():
            _write_split(source, partial, split, limit)
    return root


def _write_split(source: Path, root: Path, split: str, limit: int) -> None:
    path = annotation_file(source, split)
    try:
        content = json.loads(path.read_bytes())
        annotated = {annotation["image_id"] for annotation in content["annotations"]}
        content["images"] = [i for i in content["images"] if i["id"] in annotated][:limit]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: is not in COCO's format: {error!r}") from error
    taken = {image["id"] for image in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in taken]
    annotation_file(root, split).write_text(json.dumps(content), encoding="utf-8")
    (root / split).mkdir()
    for image in content["images"]:
        (root / split / image["file_name"]).symlink_to(source / split / image["file_name"])
