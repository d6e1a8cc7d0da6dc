"""A part of a COCO tree is a COCO tree."""

from __future__ import annotations

from pathlib import Path

import pytest

pycocotools = pytest.importorskip("pycocotools", reason="pycocotools is not installed")

from pycocotools.coco import COCO  # noqa: E402

from resnext_backbones.datasets import coco_subset  # noqa: E402


@pytest.mark.parametrize(("num_train", "num_val"), [(5, 3), (100, 100)])
def test_subset(shapes_root: Path, tmp_path: Path, num_train: int, num_val: int) -> None:
    root = coco_subset(shapes_root, tmp_path / "part", num_train=num_train, num_val=num_val)
    for split, count in (("train2017", min(num_train, 16)), ("val2017", min(num_val, 8))):
        whole = COCO(shapes_root / "annotations" / f"instances_{split}.json")
        part = COCO(root / "annotations" / f"instances_{split}.json")
        assert len(part.imgs) == count
        for image in part.imgs.values():
            assert (root / split / image["file_name"]).read_bytes()
            assert part.imgToAnns[image["id"]] == whole.imgToAnns[image["id"]]
        assert part.cats == whole.cats
        assert len(list((root / split).iterdir())) == count


def test_nothing_is_overwritten_and_nothing_is_left(shapes_root: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(FileExistsError, match=str(tmp_path)):
        coco_subset(shapes_root, tmp_path, num_train=1, num_val=1)
    with pytest.raises(FileNotFoundError, match=r"is .* a COCO tree\?"):
        coco_subset(tmp_path, tmp_path / "part", num_train=1, num_val=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
