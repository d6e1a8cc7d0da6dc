"""Whole detectors go from one framework to another, and find the same there."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from detector_peers import COCO, PEERS, SUFFIXES, Peer, same, tiny
from helpers import randomise
from torch import Tensor
from torch.nn.functional import conv2d
from torchvision.models.detection import MaskRCNN, _utils
from torchvision.models.detection.image_list import ImageList

from resnext_backbones import cli
from resnext_backbones.adapters.torchvision import resnext_fpn
from resnext_backbones.adapters.torchvision_detectors import PreciseAnchors
from resnext_backbones.tasks.torchvision.models import anchors
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
from resnext_backbones.weights.detector_names import LAYOUTS
from resnext_backbones.weights.download import hash_of
from resnext_backbones.weights.preprocessing import BGR, BGR_UNSCALED, RGB
from resnext_backbones.weights.write_detectors import convert_detector

ALIGNED = "aligned_options"
STRIDES = (4, 8, 16, 32, 64)
State = dict[str, Tensor]


@cache
def peer(framework: str, classes: int, masks: bool, settings: tuple[str, ...] = ()) -> Peer:
    """A detector of a framework, kept: none is changed but by loading."""
    if framework == "detectron2":
        pytest.importorskip("detectron2", reason="Detectron2 is not installed")
    if framework == "mmdet":
        pytest.importorskip("mmdet")
    return PEERS[framework](classes, masks=masks, settings=settings)


def own_settings(framework: str) -> tuple[str, ...]:
    return (ALIGNED,) if framework == "torchvision" else ()


def images(width: int = 96) -> Tensor:
    """One that is normalised; its sides are multiples of 32."""
    return torch.randn(1, 3, 64, width, generator=torch.Generator().manual_seed(1))


def write(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


def whole(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.whole)


PAIRS = list(permutations(PEERS, 2))


@pytest.mark.parametrize(
    ("first", "second", "masks", "classes"),
    [
        *((a, b, True, COCO) for a, b in PAIRS),
        *(whole(a, b, masks, 3) for a, b in PAIRS for masks in (False, True)),
        *(whole(a, b, False, COCO) for a, b in PAIRS),
    ],
)
def test_all_directions_find_the_same(
    first: str, second: str, masks: bool, classes: int, tmp_path: Path
) -> None:
    """Boxes, scores, classes and masks; torchvision's with the pools and anchors of the others."""
    if "detectron2" in (first, second):
        pytest.importorskip("detectron2", reason="Detectron2 is not installed")
    source = peer(first, classes, masks, own_settings(first))
    target = peer(second, classes, masks, own_settings(second))
    written = tmp_path / f"written{SUFFIXES[second]}"
    path = write(source.content(), tmp_path / "source.pth")
    done = convert_detector(path, written, second, pixels=RGB)
    assert (done.detector.layout, done.detector.classes) == (first, classes)
    assert done.detector.has_masks == masks
    assert done.pixels == RGB
    assert (ALIGNED in done.settings) == (second == "torchvision" or first == "torchvision")
    target.load(written)
    same(target(images()), source(images()))


@pytest.mark.parametrize(("second", "masks"), [("mmdet", True), ("detectron2", True)])
def test_what_is_said_makes_torchvisions_own_detector_find_the_same(
    second: str, masks: bool, tmp_path: Path
) -> None:
    """Its pools are not aligned, its anchors rounded, and of sides that are multiples of 64 its
    strides are those of the others.
    """
    source = peer("torchvision", 3, masks)
    path = write(source.content(), tmp_path / "source.pth")
    done = convert_detector(path, tmp_path / "w.pth", second, pixels=RGB)
    lines = done.settings.split("\n(")[0].split("\n")
    target = peer(second, 3, masks, tuple(lines))
    target.load(tmp_path / "w.pth")
    same(target(images(128)), source(images(128)))


@pytest.mark.parametrize("size", [(64, 96), (96, 160)])
def test_anchors_are_mmdetections_where_torchvisions_own_are_not(size: tuple[int, int]) -> None:
    """Also in the last level of an image whose sides are no multiples of 64."""
    generators = pytest.importorskip("mmdet.models.task_modules.prior_generators")
    sizes = [[-(-side // stride) for side in size] for stride in STRIDES]
    expected = generators.AnchorGenerator(STRIDES, [0.5, 1.0, 2.0], [8]).grid_priors(
        sizes, device="cpu"
    )
    maps = [torch.zeros(1, 1, *each) for each in sizes]
    images = ImageList(torch.zeros(1, 3, *size), [size])
    assert torch.allclose(PreciseAnchors(STRIDES)(images, maps)[0], torch.cat(expected), atol=1e-4)
    rounded = anchors(STRIDES[:-1])(images, maps)[0]
    assert not torch.allclose(rounded, torch.cat(expected), atol=0.6)


@pytest.mark.whole
@pytest.mark.parametrize("second", ["mmdet", "detectron2"])
def test_what_is_said_is_all_that_there_is_to_say(second: str, tmp_path: Path) -> None:
    """A detector of usual widths on this package's trunk is built from the words alone."""
    if second == "detectron2":
        pytest.importorskip("detectron2", reason="Detectron2 is not installed")
    pyramid = resnext_fpn("resnext26_32x4d", trainable_layers=5)
    model = MaskRCNN(pyramid, num_classes=COCO_ROWS)
    path = write(randomise(model).state_dict(), tmp_path / "source.pth")
    there = convert_detector(path, tmp_path / f"there{SUFFIXES[second]}", second, pixels=RGB)
    lines = there.settings.split("\n(")[0].split("\n")
    other = PEERS[second](COCO, masks=True, settings=lines, usual=True)
    other.load(tmp_path / f"there{SUFFIXES[second]}")
    write(other.content(), tmp_path / "other.pth")
    back = convert_detector(
        tmp_path / "other.pth", tmp_path / "back.pth", "torchvision", pixels=BGR
    )
    line, imported, *_ = back.settings.split("\n")
    names: dict[str, Any] = {"torchvision": torchvision, "resnext_fpn": resnext_fpn}
    exec(imported.split(":")[0], names)
    built = eval(line, names)
    built.load_state_dict(torch.load(tmp_path / "back.pth", weights_only=True))
    assert built.transform.image_mean == model.transform.image_mean
    first = "backbone.body.conv1.weight"
    assert built.state_dict()[first].equal(model.state_dict()[first].flip(1))


Files = Callable[..., Path]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Tiny detectors by the names of a layout, Detectron2's too where that is not installed."""

    @cache
    def file(layout: str, classes: int = 3, *, masks: bool = True) -> Path:
        folder = tmp_path_factory.mktemp(layout)
        own = write(tiny(classes, masks=masks).content(), folder / "own.pth")
        path = folder / f"written{SUFFIXES[layout]}"
        convert_detector(own, path, layout, pixels=RGB)
        return path

    return file


def tensors_in(path: Path) -> State:
    """What a file of any layout holds, by its names."""
    if path.suffix == ".pkl":
        arrays = pickle.loads(path.read_bytes())["model"]
        return {key: torch.from_numpy(array) for key, array in arrays.items()}
    content = torch.load(path, weights_only=True)
    return content.get("state_dict") or content.get("model") or content


def bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)


def same_bits(first: State, second: State) -> None:
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(bits(value), bits(second[key])), key


@pytest.mark.parametrize("classes", [whole(1), whole(3), COCO])
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_there_and_back_bit_by_bit(
    first: str, second: str, classes: int, files: Files, tmp_path: Path
) -> None:
    state = tensors_in(files(first, classes))
    there, back = tmp_path / f"there{SUFFIXES[second]}", tmp_path / f"back{SUFFIXES[first]}"
    convert_detector(files(first, classes), there, second, pixels=RGB)
    assert state.keys().isdisjoint(tensors_in(there).keys() - _SHARED)
    convert_detector(there, back, first)  # the file that was written says its pixels
    same_bits(tensors_in(back), state)


_SHARED = {
    f"roi_heads.box_predictor.{layer}.{parameter}"
    for layer in ("cls_score", "bbox_pred")
    for parameter in ("weight", "bias")
}
"""Detectron2 and torchvision call these alike."""


def test_names_of_published_files(files: Files, tmp_path: Path) -> None:
    """torchvision's have its names of before 0.13, and no counters; MMDetection's counters, and the
    rest of a run; Detectron2's the anchors and the pixels.
    """
    state = {k: v for k, v in tensors_in(files("torchvision")).items() if "num_batches" not in k}
    earlier = {
        re.sub(
            r"mask_head\.(\d)\.0\.",
            lambda found: f"mask_head.mask_fcn{int(found[1]) + 1}.",
            re.sub(r"(blocks\.\d)\.0\.|(rpn\.head\.conv)\.0\.0\.", r"\1\2.", key),
        ): value
        for key, value in state.items()
    }
    assert earlier.keys() - state.keys(), "nothing has another name"
    tiny(3).model.load_state_dict(earlier)  # torchvision itself still takes them
    path = write(earlier, tmp_path / "earlier.pth")
    convert_detector(path, tmp_path / "d2.pkl", "detectron2", pixels=RGB)
    convert_detector(tmp_path / "d2.pkl", tmp_path / "again.pth", "torchvision")
    same_bits(tensors_in(tmp_path / "again.pth"), state)

    held = pickle.loads((tmp_path / "d2.pkl").read_bytes())
    corners = [[-(r**-0.5), -(r**0.5), r**-0.5, r**0.5] for r in (0.5, 1, 2)]
    for level in range(5):
        anchors = torch.tensor(corners) * 16 * 2**level
        held["model"][f"proposal_generator.anchor_generator.cell_anchors.{level}"] = anchors.numpy()
    for name, values in (("pixel_mean", RGB.mean), ("pixel_std", RGB.std)):
        held["model"][name] = torch.tensor(values).reshape(3, 1, 1).numpy()
    path.write_bytes(pickle.dumps(held))
    convert_detector(path, tmp_path / "once more.pth", "torchvision", pixels=RGB)
    same_bits(tensors_in(tmp_path / "once more.pth"), state)
    with pytest.raises(WeightsError, match=r"its pixel_mean is \[123.*was given"):
        convert_detector(path, tmp_path / "w.pth", "mmdet", pixels=BGR_UNSCALED)
    held["model"]["proposal_generator.anchor_generator.cell_anchors.2"] *= 2
    path.write_bytes(pickle.dumps(held))
    with pytest.raises(WeightsError, match=r"anchors\.2, are not the default"):
        convert_detector(path, tmp_path / "w.pth", "mmdet", pixels=RGB)

    state = tensors_in(files("mmdet"))
    run = {"state_dict": {f"module.{k}": v for k, v in state.items()}, "meta": {"epoch": 12}}
    run["optimizer"] = {"state": {0: {"momentum_buffer": torch.ones(3)}}}
    convert_detector(write(run, path), tmp_path / "tv.pth", "torchvision", pixels=RGB)
    convert_detector(tmp_path / "tv.pth", tmp_path / "mm.pth", "mmdet")
    same_bits(tensors_in(tmp_path / "mm.pth"), state)


HEADS = ("fpn.output4.bias", "rpn.deltas.weight", "box.logits.bias", "mask.conv3.weight")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("own", HEADS)
@pytest.mark.parametrize("what", ["missing", "of another shape", "with NaN", "unexpected"])
def test_heads_are_whole_or_nothing_is_written(
    layout: str, own: str, what: str, files: Files, tmp_path: Path
) -> None:
    state, name = tensors_in(files(layout)), LAYOUTS[layout].heads.from_own(own)
    assert name is not None
    if what == "missing":
        del state[name]
    elif what == "of another shape":
        state[name] = state[name][1:]
    elif what == "with NaN":
        state[name] = torch.full_like(state[name], torch.nan)
    else:
        name = f"{name.rsplit('.', 2)[0]}.spare.weight"
        state[name] = torch.zeros(3)
    path = write(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=rf"Nothing was written.\n +1 {what}.*{re.escape(name)}"):
        convert_detector(path, tmp_path / "out.pth", "mmdet", pixels=RGB)
    assert list(tmp_path.iterdir()) == [path]


REFUSED = [
    ("mmdet", "bbox_head.retina_cls.weight", "a RetinaNet, of which Detectron2 and torchvision"),
    ("detectron2", "head.cls_subnet.0.weight", "have a ReLU before P7 and MMDetection has none"),
    ("torchvision", "head.regression_head.bbox_ctrness.weight", "levels by convolutions"),
    ("torchvision", "head.regression_head.conv.0.weight", "is a RetinaNet"),
    ("mmdet", "roi_head.bbox_head.0.fc_cls.weight", "averages the logits of its stages"),
    ("detectron2", "roi_heads.box_predictor.2.cls_score.weight", "Cascade R-CNN"),
    ("detectron2", "roi_heads.keypoint_head.conv_fcn1.weight", "finds keypoints"),
    ("torchvision", "roi_heads.keypoint_head.0.weight", "finds keypoints"),
    ("mmdet", "neck.lateral_convs.0.bn.weight", "has norms"),
    ("detectron2", "backbone.fpn_lateral2.norm.weight", "have norms"),
    ("torchvision", "backbone.fpn.inner_blocks.0.1.weight", "have norms"),
    ("mmdet", "roi_head.mask_head.convs.0.gn.weight", "have norms"),
    ("mmdet", "neck.fpn_convs.4.conv.weight", "levels by convolutions"),
    ("detectron2", "backbone.top_block.p6.weight", "levels by convolutions"),
    ("torchvision", "roi_heads.box_head.0.0.weight", "box head has convolutions"),
    ("detectron2", "roi_heads.box_head.conv1.weight", "box head has convolutions"),
    ("mmdet", "roi_head.bbox_head.shared_convs.0.conv.weight", "box head has convolutions"),
]


@pytest.mark.parametrize(("layout", "name", "why"), REFUSED)
def test_other_detectors_are_refused_with_the_reason(
    layout: str, name: str, why: str, files: Files, tmp_path: Path
) -> None:
    path = write(tensors_in(files(layout)) | {name: torch.zeros(1)}, tmp_path / "w.pth")
    why = why.replace("has norms", "have norms")
    with pytest.raises(WeightsError, match=f"{why}.*Nothing was written"):
        convert_detector(path, tmp_path / "out.pth", "mmdet", pixels=RGB)


@pytest.mark.parametrize("shape", [(), (0,), (1, 64), (0, 64)])
@pytest.mark.parametrize("name", ["fc_cls", "fc_reg"])
def test_shapes_that_are_none(
    name: str, shape: tuple[int, ...], files: Files, tmp_path: Path
) -> None:
    changed = {f"roi_head.bbox_head.{name}.weight": torch.zeros(shape)}
    path = write(tensors_in(files("mmdet")) | changed, tmp_path / "w")
    with pytest.raises(WeightsError, match="Nothing was written"):
        convert_detector(path, tmp_path / "o", "torchvision", pixels=RGB)


@pytest.mark.parametrize(("name", "what"), [("fc_reg", "boxes"), ("conv_logits", "masks")])
def test_heads_that_do_not_tell_classes_apart(
    name: str, what: str, files: Files, tmp_path: Path
) -> None:
    state = tensors_in(files("mmdet"))
    rows = 4 if what == "boxes" else 1
    state = {key: value[:rows] if f".{name}." in key else value for key, value in state.items()}
    with pytest.raises(WeightsError, match=f"its {what} are class-agnostic"):
        convert_detector(write(state, tmp_path / "w"), tmp_path / "o", "detectron2", pixels=RGB)


def test_trunks_without_heads_and_what_targets_lack(tmp_path: Path) -> None:
    state = tiny(3).content()
    trunk = {k: v for k, v in state.items() if k.startswith("backbone.body.")}
    path = write(trunk, tmp_path / "w")
    with pytest.raises(WeightsError, match="a trunk without heads"):
        convert_detector(path, tmp_path / "o", "mmdet", pixels=RGB)
    heads = {k: v for k, v in state.items() if k not in trunk}
    with pytest.raises(WeightsError, match="no detector"):
        convert_detector(write(heads, path), tmp_path / "o", "mmdet", pixels=RGB)
    cut = {k: v for k, v in state.items() if not k.endswith("layer2.0.conv1.weight")}
    with pytest.raises(WeightsError, match=r"1 missing: layer2\.0\.conv1\.weight"):
        convert_detector(write(cut, path), tmp_path / "o", "mmdet", pixels=RGB)
    offset = {"backbone.body.layer4.0.conv2.conv_offset.weight": torch.zeros(18, 128, 3, 3)}
    context = {"backbone.body.layer4.0.context_block1.conv_mask.weight": torch.zeros(1, 512, 1, 1)}
    for added, to in ((offset, "torchvision"), (context, "torchvision"), (context, "detectron2")):
        path = write(state | added, path)
        with pytest.raises(WeightsError, match=f"has no place for {next(iter(added))[14:]}"):
            convert_detector(path, tmp_path / "o", to, pixels=RGB)
    convert_detector(write(state | offset, path), tmp_path / "o.pkl", "detectron2", pixels=RGB)
    name = "backbone.bottom_up.res5.0.conv2_offset.weight"
    assert tensors_in(tmp_path / "o.pkl")[name].equal(*offset.values())
    # A part that Detectron2 has no names for has this package's, as its adapter's state dict.
    path = write(tiny(3, stem="deep").content(), path)
    convert_detector(path, tmp_path / "deep.pkl", "detectron2", pixels=RGB)
    assert "backbone.bottom_up.trunk.stem.0.weight" in tensors_in(tmp_path / "deep.pkl")
    convert_detector(tmp_path / "deep.pkl", tmp_path / "deep.pth", "torchvision")
    same_bits(tensors_in(tmp_path / "deep.pth"), tensors_in(path))


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


def test_norms_without_eps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's first published detectors have none, and all others have."""
    source = peer("torchvision", 3, False, (ALIGNED,))
    path = write(source.content(), tmp_path / "fasterrcnn.pth")
    hashes = ("x", hash_of(path)[:8])
    monkeypatch.setattr("resnext_backbones.weights.write_detectors.WITHOUT_EPS", hashes)
    done = convert_detector(path, tmp_path / "w.pth", "torchvision", pixels=RGB)
    assert any("norms: scaled for an eps of 1e-05" in change for change in done.changed)
    trunk = source.model.backbone.body
    before = trunk(images())
    try:
        _utils.overwrite_eps(source.model, 0.0)
        expected = trunk(images())
        _utils.overwrite_eps(source.model, 1e-5)
        source.load(tmp_path / "w.pth")
        found = trunk(images())
    finally:
        source.load(path)
        _utils.overwrite_eps(source.model, 1e-5)
    for name, value in expected.items():
        error = (found[name] - value).abs().max()
        assert error < 0.05 * (before[name] - value).abs().max()


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


def test_the_command(files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dest = tmp_path / "model.pkl"
    line = ["convert", str(files("mmdet")), str(dest), "--to"]
    cli.main([*line, "detectron2", "--detector", "--to-pixels", "BGR"])
    said = capsys.readouterr().out
    assert "Mask R-CNN" in said
    assert "boxes 8, masks 12 tensors; nothing was left out" in said
    assert "MODEL.ROI_HEADS.NUM_CLASSES 3\n" in said
    assert "INPUT.FORMAT BGR\n" in said
    assert f"pixels: {BGR}" in said
    assert tensors_in(dest)["backbone.fpn_lateral2.weight"].shape[0] == 16
    for more, message in (
        (["detectron2", "--detector"], "there is a file already; --overwrite"),
        (["timm", "--detector"], "--to timm: has no layout of whole detectors"),
        (["mmdet", "--to-pixels", "RGB"], "--to-pixels RGB: is for whole detectors"),
        (["mmdet", "--class-ids", "coco"], "--class-ids coco: is for whole detectors"),
    ):
        with pytest.raises(SystemExit) as stopped:
            cli.main([*line, *more])
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err
