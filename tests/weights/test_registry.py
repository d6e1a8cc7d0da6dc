"""The table of published weights against the libraries that publish them."""

from __future__ import annotations

import re
import runpy
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from helpers import drawn, small
from regnets import IN_TORCHVISION
from safetensors.torch import save_file

from resnext_backbones import (
    Architecture,
    ResNeXt,
    ResNeXtClassifier,
    build_backbone,
    list_variants,
    load_weights,
)
from resnext_backbones.models.architecture import UNSEEN
from resnext_backbones.weights import WeightsError, preprocessing_of
from resnext_backbones.weights import sources as module
from resnext_backbones.weights.errors import DownloadError
from resnext_backbones.weights.identify import identify
from resnext_backbones.weights.load import load_state
from resnext_backbones.weights.preprocessing import BGR, RGB, Preprocessing
from resnext_backbones.weights.publishers import Crop
from resnext_backbones.weights.registry import REGISTRY, Published

VARIANTS = list_variants()


@cache
def state_of(architecture: Architecture) -> dict[str, torch.Tensor]:
    """Most rows share a few networks; each is built once."""
    with torch.device("meta"):
        return ResNeXt(architecture).state_dict()


@pytest.mark.parametrize("alias", REGISTRY)
def test_every_row_can_be_built(alias: str) -> None:
    row = REGISTRY[alias]
    assert row.variant in VARIANTS
    shown = {field: getattr(Architecture, field) for field in UNSEEN}
    assert identify(state_of(row.architecture)) == replace(row.architecture, **shown)
    assert all(url.startswith(("https://", "hf://")) for url in row.urls)
    assert row.source.licence
    assert row.top1 is None or row.source.preprocessing == RGB, "which `resnext verify` takes"
    assert (row.top1 is None) == (row.crop is None)
    assert row.source.reference.startswith("https://")


def test_every_weight_of_torchvision() -> None:
    for name, versions in {
        "resnext50_32x4d": ("v1", "v2"),
        "resnext101_32x8d": ("v1", "v2"),
        "resnext101_64x4d": ("v1",),
        "wide_resnet50_2": ("v1", "v2"),
        "wide_resnet101_2": ("v1", "v2"),
        **{name: REGNETS.get(name, ("v1", "v2")) for name in IN_TORCHVISION.values()},
    }.items():
        weights = torchvision.models.get_model_weights(name)
        assert len(weights) == len(versions)
        for version in versions:
            theirs = weights[f"IMAGENET1K_{version.upper()}{'_V1' * ('swag' in version)}"]
            own = REGISTRY[f"torchvision/{name}.{version}"]
            assert own.urls == (theirs.url,)
            assert own.top1 == theirs.meta["_metrics"]["ImageNet-1K"]["acc@1"]
            transforms = theirs.transforms()
            assert own.source.preprocessing.mean == pytest.approx(
                [255 * value for value in transforms.mean]
            )
            (resize,), (size,) = transforms.resize_size, transforms.crop_size
            assert own.crop == (size, resize, transforms.interpolation.value)


SWAG = ("swag_e2e", "swag_linear")
REGNETS = {
    "regnet_y_16gf": ("v1", "v2", *SWAG),
    "regnet_y_32gf": ("v1", "v2", *SWAG),
    "regnet_y_128gf": SWAG,
}
"""Whose weights are not of two versions alone."""

TIMM = [
    name
    for name in timm.list_pretrained(["*resnext*", "wide_resnet*", "eca_botnext*", "regnet*"])
    if name.split(".")[0] in VARIANTS and ".seer" not in name  # whose licence is its own
]


@pytest.mark.parametrize("name", TIMM)
def test_every_tag_of_timm(name: str) -> None:
    theirs, own = timm.get_pretrained_cfg(name), REGISTRY[f"timm/{name}"]
    on_hub = f"hf://{theirs.hf_hub_id}/model.safetensors"
    if theirs.url:
        assert Path(own.file).name == Path(theirs.url).name
    else:
        assert own.urls == (on_hub,)
    if own.alias.startswith("timm/"):
        assert (on_hub in own.urls) == bool(theirs.hf_hub_id)
    assert own.source.licence.lower().replace(" ", "-") == theirs.license
    pixels = own.source.preprocessing
    assert pixels.order == "RGB"
    assert pixels.mean == pytest.approx([255 * value for value in theirs.mean])
    assert pixels.std == pytest.approx([255 * value for value in theirs.std])
    assert own.source.classes == theirs.num_classes
    architecture = own.architecture
    deep = {"conv1.0"} if architecture.stage == "csp" else {"conv1.0", "stem.conv1.conv"}
    assert (architecture.stem in ("deep", "tiered")) == (theirs.first_conv in deep)
    if own.alias.startswith("torchvision/"):  # which say their crops themselves
        return
    sizes = [(theirs.input_size, theirs.crop_pct), (theirs.test_input_size, theirs.test_crop_pct)]
    crops = [
        Crop(size[-1], int(size[-1] / (share or theirs.crop_pct)), theirs.interpolation)
        for size, share in sizes
        if size
    ]
    assert own.crop in crops or own.top1 is None


def test_no_tag_of_timm_is_missing() -> None:
    own = [alias.removeprefix("timm/") for alias in REGISTRY if alias.startswith("timm/")]
    not_theirs = {"resnext101_32x48d.fb_wsl_ig1b_ft_in1k"}
    assert {*own} - not_theirs == {*TIMM}
    assert len(TIMM) == 111


def test_every_resnext_of_openmmlab() -> None:
    checkpoint = pytest.importorskip("mmengine.runner.checkpoint")
    for table, family, count in (
        (checkpoint.get_external_models(), "open-mmlab", 16),
        (checkpoint.get_mmcls_models(), "mmpretrain", 4),
    ):
        names = [name for name in table if re.search(r"(^|/)(resnext\d+_\d+x\dd|regnetx_)", name)]
        assert len(names) == count
        assert all(table[name] in REGISTRY[f"{family}/{name}"].urls for name in names)


def test_every_resnext_of_detectron2() -> None:
    catalog = pytest.importorskip(
        "detectron2.checkpoint.catalog", reason="Detectron2 is not installed"
    )
    theirs = catalog.ModelCatalog
    urls = {
        f"{theirs.S3_C2_DETECTRON_PREFIX}/{path}"
        for path in theirs.C2_IMAGENET_MODELS.values()
        if "X-1" in path
    }
    own = {
        url for alias, row in REGISTRY.items() if alias.startswith("caffe2/") for url in row.urls
    }
    assert own == urls


def test_preprocessing_of_an_alias_and_of_an_address() -> None:
    assert preprocessing_of("torchvision/resnext50_32x4d.v2") == RGB
    assert preprocessing_of("detectron2/X-101-32x8d") == BGR
    row = REGISTRY["caffe2/X-152-32x8d-IN5k"]
    assert preprocessing_of(row.urls[0]).std == (1, 1, 1)
    assert row.source.norms == "fused"


def test_pixels_that_were_computed_are_those_that_were_written() -> None:
    unit = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    mean, std = (tuple(255 * value for value in values) for values in unit)
    assert std != RGB.std
    assert Preprocessing("RGB", mean, std) == RGB


def test_preprocessing_of_a_file(tmp_path: Path) -> None:
    pixels = Preprocessing("BGR", (1.5, 2.0, 3.0), (4.0, 5.0, 6.0))
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.ones(1)}, path, metadata=pixels.to_metadata())
    assert preprocessing_of(path) == pixels
    save_file({"a": torch.ones(1)}, path)
    with pytest.raises(WeightsError, match=r"does not record its pixel.*resnext convert"):
        preprocessing_of(path)
    save_file({"a": torch.ones(1)}, path, metadata={**pixels.to_metadata(), "pixel_std": "[0]"})
    with pytest.raises(WeightsError, match=r"pixel normalisation"):
        preprocessing_of(path)


def test_pixels_of_a_file_of_several_trunks(tmp_path: Path) -> None:
    """Which one is meant is asked of who loads one."""
    nets = {name: small().state_dict() for name in ("student", "teacher")}
    torch.save(nets, path := tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"does not record its pixel"):
        preprocessing_of(path)
    pixels = Preprocessing("BGR", (1.5, 2.0, 3.0), (4.0, 5.0, 6.0)).to_metadata()
    torch.save({**nets, "meta": pixels}, path)
    assert preprocessing_of(path).order == "BGR"


def test_a_published_file_is_known_wherever_it_lies(tmp_path: Path, monkeypatch) -> None:
    """By its name and its hash: another file of that name is another file."""
    path = tmp_path / "resnext50_32x4d-7cdf4587.pth"
    torch.save({}, path)
    with pytest.raises(WeightsError, match="does not record"):
        preprocessing_of(path)
    monkeypatch.setattr(module, "hash_of", lambda _: "7cdf4587" + 56 * "0")
    assert preprocessing_of(path) == RGB


def test_an_alias_is_downloaded_and_its_licence_said(tmp_path: Path, monkeypatch) -> None:
    state = build_backbone("resnext101_32x8d").state_dict()
    torch.save(state, tmp_path / "wsl.pth")
    asked: list[tuple] = []

    def download(urls: tuple[str, ...], sha256: str) -> Path:
        asked.append((urls, sha256))
        return tmp_path / "wsl.pth"

    monkeypatch.setattr(module, "download", download)
    model = build_backbone("resnext101_32x8d")
    with pytest.warns(UserWarning, match="CC BY-NC 4.0"):
        loaded = load_weights(model, "fair/resnext101_32x8d.wsl")
    assert "licence CC BY-NC 4.0" in str(loaded)
    row = REGISTRY["fair/resnext101_32x8d.wsl"]
    assert asked == [(row.urls, "c38310e5")]


@pytest.mark.parametrize(
    ("alias", "file"),
    [
        ("timm/seresnextaa101d_32x8d.sw_in12k", "model.safetensors"),
        ("glasses/resnext50_32x4d", "pytorch_model.bin"),
        ("timm/gcresnext50ts.ch_in1k", "model.safetensors"),  # where its other address has it not
    ],
)
def test_the_hub_is_an_address_like_others(
    alias: str, file: str, tmp_path: Path, monkeypatch
) -> None:
    asked: list[tuple[str, str]] = []

    def absent(*_: object) -> Path:
        raise DownloadError("weights x: could not be downloaded")

    def from_hub(repository: str, name: str) -> Path:
        asked.append((repository, name))
        if len(asked) > 1:
            raise WeightsError("weights hf://x: cannot be had")
        return tmp_path / name

    monkeypatch.setattr(module, "download", absent)
    monkeypatch.setattr(module, "from_hub", from_hub)
    assert module.locate(alias) == tmp_path / file
    assert asked == [(alias, file)]
    with pytest.raises(DownloadError, match="cannot be had"):
        module.locate(alias)
    assert module.row_of(f"hf://{alias}/{file}") == REGISTRY[alias]
    asked.clear()
    assert module.locate(f"hf://{alias}/{file}") == tmp_path / file


def test_a_head_of_more_classes_says_what_takes_it() -> None:
    """A trunk takes such weights as they are."""
    state = drawn(ResNeXtClassifier, num_classes=11).state_dict()
    classifier = drawn(ResNeXtClassifier, num_classes=5)
    with pytest.raises(WeightsError, match=r"num_classes=11 builds its head. head=False keeps"):
        load_state(classifier, state, "it")
    load_state(drawn(), state, "it")
    load_state(classifier, state, "it", head=False)


def test_standardised_weights_need_convolutions_that_do_it(tmp_path: Path, monkeypatch) -> None:
    """mmcv's, or this package's own, which compute alike."""
    wrappers = pytest.importorskip("mmcv.cnn.bricks.conv_ws")
    source = build_backbone("resnext50_32x4d", norm="GN", conv=wrappers.ConvWS2d)
    torch.save(source.state_dict(), tmp_path / "w")
    monkeypatch.setattr(module, "download", lambda *_: tmp_path / "w")
    alias = "open-mmlab/jhu/resnext50_32x4d_gn_ws"
    with pytest.raises(WeightsError, match=r"'standardised'.*'plain'.*conv_cfg in a"):
        load_weights(build_backbone("resnext50_32x4d", norm="GN"), alias)
    assert load_weights(source, alias).variant == "resnext50_32x4d with norm_kind=group"
    own = build_backbone("resnext50_32x4d", norm_kind="group", convolution="standardised")
    load_weights(own, alias)
    images = torch.randn(1, 3, 32, 32)
    for found, expected in zip(own(images), source(images), strict=True):
        torch.testing.assert_close(found, expected)


def test_a_wrong_alias_is_answered_with_close_ones() -> None:
    with pytest.raises(WeightsError, match=r"torchvision/resnext50_32x4d.v2"):
        load_weights(build_backbone("resnext26_32x4d"), "torchvision/resnext50_32x4d.v3")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("open-mmlab://resnet50", r"no such alias; try open-mmlab/"),
        ("open-mmlab://resnext50.pth", r"no such alias; try open-mmlab/"),
        ("hf://somebody/resnext", r"use hf://OWNER/REPOSITORY/FILE"),
        ("s3://bucket/weights.pth", r"s3://bucket/weights.pth: use a path, an alias .* https://"),
    ],
)
def test_an_address_that_is_none_is_not_asked_for(name: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        load_weights(build_backbone("resnext26_32x4d"), name)


def test_a_path_is_never_taken_for_an_alias(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file"):
        load_weights(build_backbone("resnext26_32x4d"), str(tmp_path / "dir" / "absent.pth"))
    assert module.row_of(tmp_path) is None


def test_a_file_by_its_address_is_read_where_it_lies(tmp_path: Path) -> None:
    """A file may have been written anew since it was loaded last."""
    path = tmp_path / "a run" / "epoch_1.pth"
    path.parent.mkdir()
    for content in ("first", "second"):
        path.write_text(content)
        assert module.locate(path.as_uri()).read_text() == content
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"a run/epoch_1.pth: there is no such file"):
        module.locate(path.as_uri())
    with pytest.raises(WeightsError, match=r"file://weights/x#1\.pth: is of another host"):
        module.locate("file://weights/x#1.pth")


def test_the_hash_is_in_the_name() -> None:
    source = REGISTRY["detectron2/X-101-32x8d"].source
    row = Published("timm/x", "resnext50d_32x4d", source, "a.pkl", 1, Crop())
    assert row.sha256 == ""
    assert row.architecture.shortcut == "pooled"
    assert REGISTRY["mmpretrain/resnext50_32x4d"].sha256 == "56066e27"


def test_the_document_has_the_table() -> None:
    root = Path(__file__).parents[2]
    text = (root / "docs" / "weights.md").read_text(encoding="utf-8")
    tool = runpy.run_path(str(root / "tools" / "list_weights.py"))
    assert tool["weights_table"]() in text
    assert tool["choice_table"]() in text
    assert all(f"`{alias}`" in text for alias in REGISTRY)
