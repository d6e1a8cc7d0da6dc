"""Files of other formats are named, and what each of them is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import annotated
import pytest

from resnext_backbones.data.annotations import read_annotations
from resnext_backbones.data.rules import Use
from resnext_backbones.errors import InputError

USE = Use(train=True)


def kind(**keys: Any) -> dict[str, Any]:
    """A file of COCO's whose annotations are of another kind."""
    return {**annotated.content(), "annotations": [{"image_id": 10, **keys}]}


LISTS = {"images": [], "annotations": [], "categories": []}
OTHERS: dict[str, Any] = {
    "COCO's panoptic format": kind(segments_info=[]),
    "has captions and no boxes": kind(caption="a cat"),
    "names a picture of segments": kind(segm_file="a.png"),
    "--from labelme": {"shapes": [], "imagePath": "a.jpg"},
    "VGG Image Annotator": {"_via_settings": {}},
    "GeoJSON": {"type": "FeatureCollection", "features": []},
    "list of detections": [{"image_id": 1, "score": 0.5, "bbox": [1, 2, 3, 4]}],
    "no list 'images'": [],
    "has no list 'images'": None,
    "no list 'annotations'": {"images": [], "categories": []},
    "its 'images' is no list": {**LISTS, "images": {}},
    "images[0] is 7": {**LISTS, "images": [7]},
    "is not JSON": "",
    "is not JSON: Expecting": "{'",
    "is not JSON: maximum recursion": "[" * 100_000,
    "is not JSON: Expecting value": "\0",
}
"""What is said of other files: contents, or their text."""


@pytest.mark.parametrize("words", OTHERS)
def test_what_is_of_another_format_is_named(words: str, tmp_path: Path) -> None:
    path = annotated.write(tmp_path, OTHERS[words])
    if isinstance(OTHERS[words], str):
        path.write_text(OTHERS[words])
    with pytest.raises(InputError, match=f"annotation file {path}: ") as error:
        read_annotations(path, USE)
    assert words in str(error.value)


def test_a_file_may_be_of_another_encoding_but_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_annotations(tmp_path / "b.json", USE)
    path = tmp_path / "a.json"
    path.write_bytes(json.dumps(annotated.content()).encode("utf-16"))
    assert read_annotations(path, USE).content == annotated.content()
