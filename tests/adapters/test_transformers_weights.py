"""Weights of the trunk in transformers: saved, loaded whole or not at all."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers import SMALL, relative_error, small
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from torch import Tensor

pytest.importorskip("transformers", reason="transformers is not installed")

import transformers
from transformers_networks import BEFORE_5, STAGES, backbone_of, config, equal, images, network

from resnext_backbones import ResNeXt, load_weights
from resnext_backbones.adapters.transformers import ResNeXtBackbone, ResNeXtConfig, pixel_options
from resnext_backbones.models.freezing import RandomStagesWarning
from resnext_backbones.weights import WeightsError
from resnext_backbones.weights.preprocessing import BGR, RGB
from resnext_backbones.weights.write import write_state

pytestmark = pytest.mark.usefixtures("quiet_transformers")


def saved(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], what: Any
) -> Path:
    """Saves a network, and changes its tensors."""
    what.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})
    return tmp_path


def without(*parts: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda state: {k: v for k, v in state.items() if not any(p in k for p in parts)}


def with_nan(state: dict[str, Tensor]) -> dict[str, Tensor]:
    (key,) = (key for key in state if key.endswith("layer2.0.conv2.weight"))
    return {**state, key: state[key] * torch.nan}


LOST: dict[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]] = {
    "layer2.0.conv2.weight": without("layer2.0.conv2.weight"),
    "layer2.0.bn2.running_mean": without("layer2.0.bn2.running_mean"),
    "layer2.0.conv2.weight is NaN": with_nan,
    "layer1": without("layer1."),
}


@pytest.mark.parametrize("what", LOST)
def test_no_door_takes_a_part_of_a_trunk(what: str, tmp_path: Path) -> None:
    key = what.partition(" ")[0]
    folder = saved(tmp_path / "alone", LOST[what], ResNeXtBackbone(config()))
    for load in (ResNeXtBackbone.from_pretrained, transformers.AutoBackbone.from_pretrained):
        with pytest.raises(
            WeightsError, match=f"model.safetensors.*{key}".replace(".*", r"[\s\S]*")
        ):
            load(folder)
    detector, _ = network("DETR")
    folder = saved(tmp_path / "detector", LOST[what], detector)
    for options in ({}, {"ignore_mismatched_sizes": True}):
        with pytest.raises(WeightsError, match=f"detector.*missing.*{key}|loaded.*missing.*{key}"):
            type(detector).from_pretrained(folder, **options)


@pytest.mark.parametrize("end", ["layer3.1.conv2.weight", "layer2.0.bn2.running_mean"])
def test_another_shape_is_not_ignored(end: str, tmp_path: Path) -> None:
    def cut(state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {k: v[1:].contiguous() if k.endswith(end) else v for k, v in state.items()}

    detector, _ = network("DETR")
    folder = saved(tmp_path, cut, detector)
    with pytest.raises(WeightsError, match=f"1 of the trunk's .* of another shape.*: {end}"):
        type(detector).from_pretrained(folder, ignore_mismatched_sizes=True)


def test_counters_of_batches_may_be_missing(tmp_path: Path) -> None:
    backbone = ResNeXtBackbone(config(norm="BN"))
    folder = saved(tmp_path, without("num_batches_tracked"), backbone)
    again = ResNeXtBackbone.from_pretrained(folder)
    assert equal(again.state_dict(), backbone.state_dict())


def test_a_checkpoint_of_another_backbone_needs_weights_for_this_one(
    file: Path, tmp_path: Path
) -> None:
    detector, _ = network("DETR")
    folder = saved(tmp_path, without(".trunk."), detector)
    cls = type(detector)
    with pytest.raises(WeightsError, match="starts from `weights` of its config"):
        cls.from_pretrained(folder)
    settled = cls.config_class.from_pretrained(folder)
    settled.backbone_config.weights = str(file)
    again = cls.from_pretrained(folder, config=settled)
    expected = ResNeXt(SMALL, norm="FrozenBN", frozen_stages=1)
    load_weights(expected, file)
    assert equal(backbone_of(again).trunk.state_dict(), expected.state_dict())
    assert again.class_labels_classifier.weight.equal(detector.class_labels_classifier.weight)


def test_a_folder_gives_the_backbone_again(file: Path, tmp_path: Path) -> None:
    backbone = ResNeXtBackbone(config(weights=str(file), frozen_stages=2, out_features=STAGES[1:]))
    backbone.save_pretrained(tmp_path)
    for load in (ResNeXtBackbone.from_pretrained, transformers.AutoBackbone.from_pretrained):
        again = load(pretrained_model_name_or_path=tmp_path)
        assert equal(again.state_dict(), backbone.state_dict())
        assert again.config.to_json_string() == backbone.config.to_json_string()
        assert again.loaded_weights is None
        frozen = {k for k, p in again.train().trunk.named_parameters() if not p.requires_grad}
        assert {key.partition(".")[0] for key in frozen} == {"conv1", "layer1", "layer2"}
        narrow = load(tmp_path, out_features=["stage3"], frozen_stages=0)
        assert narrow(images()).feature_maps[0].equal(again.eval()(images()).feature_maps[1])
        assert not hasattr(narrow.trunk, "layer4")
    dtype = {"torch_dtype" if BEFORE_5 else "dtype": torch.bfloat16}
    half = ResNeXtBackbone.from_pretrained(tmp_path, **dtype)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    assert half(images().bfloat16()).feature_maps[0].dtype == torch.bfloat16
    # The file is one of weights as any other.
    plain = ResNeXt(SMALL)
    load_weights(plain, tmp_path)
    assert plain.conv1.weight.equal(backbone.trunk.conv1.weight)


def test_a_folder_of_the_trunk_itself_is_refused_with_what_to_do(tmp_path: Path) -> None:
    small(out_indices=(1, 2)).save_pretrained(tmp_path)  # 1 is the second stage there
    with pytest.raises(ValueError, match=r"model_type None.*ResNeXtConfig\(architecture="):
        ResNeXtBackbone.from_pretrained(tmp_path)
    described = json.loads((tmp_path / "config.json").read_text())["architecture"]
    loaded = ResNeXtBackbone(
        ResNeXtConfig(architecture=described, weights=tmp_path, out_indices=[2, 3])
    )
    expected = small(out_indices=(1, 2)).eval()(images())
    for a, b in zip(loaded.eval()(images()).feature_maps, expected, strict=True):
        assert relative_error(a, b) < 1e-5


def test_the_trunk_loads_a_folder_of_the_backbone_but_does_not_count_its_stages(
    file: Path, tmp_path: Path
) -> None:
    backbone = ResNeXtBackbone(config(weights=str(file), out_features=["stage1", "stage2"]))
    backbone.save_pretrained(tmp_path)
    plain = ResNeXt(SMALL, out_indices=(0, 1))
    load_weights(plain, tmp_path)
    assert plain.layer2[0].conv1.weight.equal(backbone.trunk.layer2[0].conv1.weight)
    with pytest.raises(WeightsError, match="missing: layer3"):  # for which out_indices start at 0
        ResNeXt.from_pretrained(tmp_path)


def test_weights_for_bgr_are_turned_round(tmp_path: Path) -> None:
    path = tmp_path / "bgr.safetensors"
    write_state(small().state_dict(), path, "safetensors", BGR.to_metadata())
    backbone = ResNeXtBackbone(config(weights=path)).eval()
    plain = ResNeXt(SMALL, norm="FrozenBN").eval()
    load_weights(plain, path)
    for a, b in zip(backbone(images()).feature_maps, plain(images().flip(1)), strict=True):
        assert relative_error(a, b) < 1e-5
    options = pixel_options(path)
    assert options == dict(zip(("image_mean", "image_std"), RGB.unit(), strict=True))


def test_a_saved_folder_has_the_pixels_of_its_weights(file: Path, tmp_path: Path) -> None:
    ResNeXtBackbone(config(weights=file)).save_pretrained(tmp_path)
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    image = torch.randint(0, 256, (3, 70, 90), dtype=torch.uint8)
    found = processor(image.numpy(), return_tensors="pt")["pixel_values"][0]
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (RGB.mean, RGB.std))
    assert relative_error(torch.as_tensor(found), (image - mean) / std) < 1e-5


def test_what_no_tensor_shows_is_compared_too(tmp_path: Path) -> None:
    ResNeXtBackbone(config(activation="SiLU")).save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"activation='SiLU', and the network has .*'ReLU'"):
        load_weights(ResNeXt(SMALL), tmp_path)
    described = tmp_path / "config.json"
    described.write_text(described.read_text().replace("SiLU", "ReLU6"))
    with pytest.raises(WeightsError, match="activation must be one of"):
        load_weights(ResNeXt(SMALL), tmp_path)


def test_frozen_random_values_are_warned_of(file: Path) -> None:
    with pytest.warns(RandomStagesWarning, match=r"give weights, or train all \(frozen_stages=-1"):
        ResNeXtBackbone(config(frozen_stages=1))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RandomStagesWarning)
        ResNeXtBackbone(config())
        ResNeXtBackbone(config(frozen_stages=1, weights=file))


def test_pushed_to_the_hub_and_loaded_from_it(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = tmp_path / "models--owner--name"
    snapshot = hub / "snapshots" / ("0" * 40)
    for folder in (snapshot, hub / "refs"):
        folder.mkdir(parents=True)
    (hub / "refs" / "main").write_text(snapshot.name)

    def commit(*_: object, operations: list[Any], **__: object) -> None:
        for operation in operations:
            shutil.copy(operation.path_or_fileobj, snapshot / operation.path_in_repo)

    named = SimpleNamespace(repo_id="owner/name")
    places = ("huggingface_hub.HfApi", *(["transformers.utils.hub"] if BEFORE_5 else []))
    for place in places:
        monkeypatch.setattr(f"{place}.create_repo", lambda *_, **__: named)
        monkeypatch.setattr(f"{place}.create_commit", commit)
    monkeypatch.setattr("huggingface_hub.ModelCard.load", lambda *_, **__: ModelCard(""))
    weights = Path(shutil.copy(file, tmp_path))
    backbone = ResNeXtBackbone(config(weights=weights))
    backbone.push_to_hub("owner/name")
    names = ["README.md", "config.json", "model.safetensors", "preprocessor_config.json"]
    assert sorted(path.name for path in snapshot.iterdir()) == names
    weights.unlink()  # nobody looks for it any more
    where = {"cache_dir": tmp_path, "local_files_only": True}
    again = ResNeXtBackbone.from_pretrained("owner/name", **where)
    assert equal(again.state_dict(), backbone.state_dict())
    save_file({"a": torch.zeros(1)}, snapshot / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        ResNeXtBackbone.from_pretrained("owner/name", **where)


def test_the_trunk_of_a_detectors_folder_is_compared_in_what_no_tensor_shows(
    tmp_path: Path,
) -> None:
    detector, _ = network("DETR", activation="SiLU")
    detector.save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"(?s)SiLU.*ReLU|ReLU.*SiLU"):
        load_weights(small(), tmp_path)
    load_weights(small(activation="SiLU"), tmp_path)
