"""Rows of classes, and pixels, as another framework's detectors have them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detector_files import Files, same_bits, tensors_in, write
from detector_peers import COCO, tiny
from torch import Tensor
from torch.nn.functional import conv2d

from resnext_backbones.weights import Preprocessing, WeightsError
from resnext_backbones.weights.detector_arithmetic import (
    COCO_IDS,
    COCO_ROWS,
    background_first,
    background_last,
    class_places,
    for_pixels,
    gathered,
    spread,
)
from resnext_backbones.weights.preprocessing import BGR, BGR_UNSCALED, RGB
from resnext_backbones.weights.write_detectors import convert_detector


def test_rows_there_and_back() -> None:
    values = torch.randn(3 * 4, 5)
    rows = spread(values, (4, 1, 2), 6, fill=7.0)
    assert rows[4 * 4 : 5 * 4].equal(values[:4])
    assert (rows[:4] == 7).all()
    assert gathered(rows, (4, 1, 2), 6).equal(values)
    heads = {"box.logits.bias": torch.arange(4.0), "box.deltas.bias": torch.arange(12.0),
             "mask.logits.bias": torch.arange(3.0), "rpn.conv.bias": torch.arange(2.0)}  # fmt: skip
    places = class_places(3, by_coco_id=False)
    first = background_first(heads, places, 4)
    assert first["box.logits.bias"].tolist() == [3, 0, 1, 2]
    assert first["mask.logits.bias"].tolist() == [0, 0, 1, 2]
    assert all(value.equal(heads[key]) for key, value in background_last(first, places, 4).items())
    weight = torch.randn(2, 3, 3, 3)
    assert for_pixels(for_pixels(weight, RGB, BGR), BGR, RGB).equal(weight)


def test_classes_at_cocos_ids_or_in_a_row(files: Files, tmp_path: Path) -> None:
    name = "roi_heads.box_predictor.cls_score.bias"
    state = tensors_in(files("torchvision", COCO))
    assert len(state[name]) == COCO_ROWS
    theirs = tensors_in(files("mmdet", COCO))["roi_head.bbox_head.fc_cls.bias"]
    assert theirs.equal(torch.cat([state[name][list(COCO_IDS)], state[name][:1]]))
    assert (len(COCO_IDS), COCO_IDS[0], COCO_IDS[-1]) == (COCO, 1, 90)
    in_a_row = tmp_path / "row"
    convert_detector(files("mmdet", COCO), in_a_row, "torchvision", class_ids="contiguous")
    assert len(tensors_in(in_a_row)[name]) == COCO + 1
    # All 90 rows are classes where it is said so; of ids that COCO does not use, or not.
    path = files("torchvision", COCO)
    done = convert_detector(path, tmp_path / "90", "mmdet", class_ids="contiguous")
    assert done.detector.classes == 90
    done = convert_detector(path, tmp_path / "80", "mmdet")
    assert done.detector.classes == COCO
    assert any("10 of ids that COCO does not use are left out" in c for c in done.changed)


@pytest.mark.parametrize("held", [BGR, BGR_UNSCALED])
def test_pixels(held: Preprocessing, tmp_path: Path) -> None:
    """Of BGR weights torchvision gets RGB ones, bit by bit; other deviations scale the weights."""
    own, raw = tiny(3, masks=False).content(), torch.rand(2, 3, 16, 16) * 255
    path, first = write(own, tmp_path / "w"), "backbone.body.conv1.weight"
    done = convert_detector(path, tmp_path / "rgb", "torchvision", pixels=held)
    assert done.pixels == Preprocessing("RGB", held.mean[::-1], held.std[::-1])
    assert "conv1.weight: channels turned from BGR to RGB" in done.changed
    assert tensors_in(tmp_path / "rgb")[first].equal(own[first].flip(1))
    convert_detector(tmp_path / "rgb", tmp_path / "back", "torchvision", to_pixels=held)
    same_bits(tensors_in(tmp_path / "back"), own)
    done = convert_detector(path, tmp_path / "scaled", "torchvision", pixels=held, to_pixels=RGB)
    assert any("rounds" in change for change in done.changed) == (held == BGR_UNSCALED)

    def normalised(images: Tensor, pixels: Preprocessing) -> Tensor:
        mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (pixels.mean, pixels.std))
        return ((images if pixels.order == "RGB" else images.flip(1)) - mean) / std

    expected = conv2d(normalised(raw, held), own[first], padding=3)
    for name, pixels in (("rgb", Preprocessing("RGB", held.mean[::-1], held.std[::-1])),
                         ("scaled", RGB)):  # fmt: skip
        weight = tensors_in(tmp_path / name)[first]
        maps = conv2d(normalised(raw, pixels), weight, padding=3)
        assert torch.allclose(maps, expected, rtol=1e-4, atol=1e-4 * expected.abs().max())


def test_pixels_that_cannot_be(files: Files, tmp_path: Path) -> None:
    unsaid = write(tiny(3).content(), tmp_path / "w")
    with pytest.raises(WeightsError, match=r"does not say which pixels .* --pixels"):
        convert_detector(unsaid, tmp_path / "o", "mmdet")
    other = Preprocessing("RGB", (127.5, 127.5, 127.5), RGB.std)
    with pytest.raises(WeightsError, match="the zeros that convolutions put round an image"):
        convert_detector(files("mmdet"), tmp_path / "o", "mmdet", to_pixels=other)
    assert [path.name for path in tmp_path.iterdir()] == ["w"]
