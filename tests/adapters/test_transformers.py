"""transformers' detectors on the trunk: trained, frozen, saved, loaded whole or not at all."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import unittest
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from helpers import SMALL, quick, relative_error, small
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

pytest.importorskip("transformers", reason="transformers is not installed")

import transformers

from resnext_backbones import ResNeXt, load_weights
from resnext_backbones.adapters.transformers import (
    ResNeXtBackbone,
    ResNeXtConfig,
    pixel_options,
)
from resnext_backbones.adapters.transformers_config import OPTIONS
from resnext_backbones.models.architecture import Architecture
from resnext_backbones.models.freezing import RandomStagesWarning
from resnext_backbones.weights import WeightsError
from resnext_backbones.weights.preprocessing import BGR, RGB
from resnext_backbones.weights.write import write_state

BEFORE_5 = int(transformers.__version__.partition(".")[0]) < 5
STAGES = [f"stage{i}" for i in (1, 2, 3, 4)]
FIELDS = {name: value for name, value in asdict(SMALL).items() if value is not None}
SIZE = (64, 96)


def config(**words: Any) -> ResNeXtConfig:
    """Describes a trunk that computes in milliseconds."""
    return ResNeXtConfig(**{**FIELDS, "out_features": STAGES, **words})


@pytest.fixture(autouse=True)
def _quiet() -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


NO_TIMM = {"use_timm_backbone": False, "use_pretrained_backbone": False} if BEFORE_5 else {}
TINY = {
    **{"d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "num_queries": 4, "num_labels": 3},
    **{"encoder_attention_heads": 2, "decoder_attention_heads": 2},
    **{"encoder_ffn_dim": 32, "decoder_ffn_dim": 32},
}
DETR = {**NO_TIMM, **TINY, "backbone": None}
RT_DETR = {
    **TINY,
    **{"encoder_in_channels": [128, 256, 512], "decoder_in_channels": [32, 32, 32]},
    **{"encoder_hidden_dim": 32, "num_denoising": 0, "hidden_expansion": 0.5},
}
MASK = {"mask_feature_size": 32, "num_labels": 3}


def boxes() -> dict[str, Any]:
    one = {"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.4, 0.3]])}
    return {"labels": [one, one]}


def masks() -> dict[str, Any]:
    mask = torch.zeros(1, *SIZE)
    mask[:, 10:40, 20:60] = 1
    return {"mask_labels": [mask, mask], "class_labels": [torch.tensor([1])] * 2}


def pixels() -> dict[str, Any]:
    return {"labels": torch.arange(2 * SIZE[0] * SIZE[1]).reshape(2, *SIZE) % 3}


NETWORKS: dict[str, tuple[str, str, list[str], dict[str, Any], Callable[[], dict[str, Any]]]] = {
    "DETR": ("DetrConfig", "DetrForObjectDetection", STAGES[3:], DETR, boxes),
    "Conditional DETR": (
        "ConditionalDetrConfig",
        "ConditionalDetrForObjectDetection",
        STAGES[3:],
        DETR,
        boxes,
    ),
    "Deformable DETR": (
        "DeformableDetrConfig",
        "DeformableDetrForObjectDetection",
        STAGES[1:],
        {**DETR, "encoder_n_points": 2, "decoder_n_points": 2},
        boxes,
    ),
    "RT-DETR": ("RTDetrConfig", "RTDetrForObjectDetection", STAGES[1:], RT_DETR, boxes),
    "RT-DETRv2": ("RTDetrV2Config", "RTDetrV2ForObjectDetection", STAGES[1:], RT_DETR, boxes),
    "Mask2Former": (
        "Mask2FormerConfig",
        "Mask2FormerForUniversalSegmentation",
        STAGES,
        {
            **{**NO_TIMM, **MASK, "feature_size": 32, "hidden_dim": 32, "num_attention_heads": 2},
            **{"encoder_feedforward_dim": 32, "dim_feedforward": 32, "num_queries": 4},
            **{"encoder_layers": 1, "decoder_layers": 2, "train_num_points": 64},
        },
        masks,
    ),
    "MaskFormer": (
        "MaskFormerConfig",
        "MaskFormerForInstanceSegmentation",
        STAGES,
        {**MASK, "fpn_feature_size": 32},
        masks,
    ),
    "UperNet": (
        "UperNetConfig",
        "UperNetForSemanticSegmentation",
        STAGES,
        {
            **{"hidden_size": 16, "pool_scales": [1, 2], "num_labels": 3},
            **{"auxiliary_channels": 8, "auxiliary_in_channels": 256},
        },
        pixels,
    ),
}
"""The config and the class of each, the stages that it takes, a small one's words, and labels."""


def network(name: str, **words: Any) -> tuple[nn.Module, ResNeXtBackbone]:
    """Builds one of `NETWORKS`; words are the backbone's."""
    config_class, cls, features, own, _ = NETWORKS[name]
    own = dict(own)
    if name == "MaskFormer":
        own["decoder_config"] = transformers.DetrConfig(**TINY)
    backbone = config(out_features=features, **words)
    settled = getattr(transformers, config_class)(backbone_config=backbone, **own)
    built = getattr(transformers, cls)(settled)
    return built, backbone_of(built)


def nodes(output: Tensor) -> set[str]:
    """Names the nodes of the graph behind a tensor."""
    found, todo = {}, [output.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in found:
            found[node] = type(node).__name__
            todo += [before for before, _ in node.next_functions]
    return set(found.values())


def backbone_of(detector: nn.Module) -> ResNeXtBackbone:
    (found,) = (m for m in detector.modules() if isinstance(m, ResNeXtBackbone))
    return found


def words_of(settled: ResNeXtConfig) -> dict[str, Any]:
    """Returns a config's own words: transformers adds the type and the place of what it loads."""
    names = ("architecture", "weights", "out_features", "out_indices", *OPTIONS)
    return {name: getattr(settled, name) for name in names}


def images() -> Tensor:
    return torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(v.equal(second[k]) for k, v in first.items())


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    write_state(small().state_dict(), path, "safetensors", RGB.to_metadata())
    return path


@pytest.mark.parametrize("name", quick(NETWORKS, ("DETR", "RT-DETR", "Mask2Former")))
def test_a_network_trains_a_step_and_is_reloaded_bit_for_bit(
    name: str, file: Path, tmp_path: Path
) -> None:
    detector, backbone = network(name, weights=str(file), frozen_stages=1)
    before = {key: value.clone() for key, value in backbone.trunk.state_dict().items()}
    plain = ResNeXt(SMALL, norm="FrozenBN", frozen_stages=1)
    load_weights(plain, file)
    assert equal(before, plain.state_dict())  # no outer class drew them again
    maps = dict(zip(STAGES, plain(images()), strict=True))
    found = backbone(images()).feature_maps
    assert len(found) == len(backbone.out_features)
    assert "FoldedBackward" in nodes(found[-1])
    assert all(m.equal(maps[n]) for m, n in zip(found, backbone.out_features, strict=True))

    detector.train()
    optimizer = torch.optim.SGD([p for p in detector.parameters() if p.requires_grad], lr=0.1)
    detector(pixel_values=images(), **NETWORKS[name][4]()).loss.backward()
    optimizer.step()
    moved = {
        key for key, value in backbone.trunk.state_dict().items() if not value.equal(before[key])
    }
    convolutions = {key for key, p in backbone.trunk.named_parameters()}
    assert moved == {key for key in convolutions if not key.startswith(("conv1", "layer1"))}

    detector.eval().save_pretrained(tmp_path)
    again = type(detector).from_pretrained(tmp_path)
    assert equal(detector.state_dict(), again.state_dict())
    assert words_of(again.config.backbone_config) == words_of(detector.config.backbone_config)
    with torch.no_grad():
        for a, b in zip(
            *(d(pixel_values=images()).to_tuple() for d in (detector, again)), strict=True
        ):
            assert not isinstance(a, Tensor) or a.equal(b)
    trained = {k for k, p in backbone_of(again.train()).trunk.named_parameters() if p.requires_grad}
    assert trained == moved


def test_detrs_own_frozen_norms_compute_the_same(file: Path, tmp_path: Path) -> None:
    detector, ours = network("DETR", weights=str(file))
    with_theirs, theirs = network("DETR", weights=str(file), norm="BN", frozen_stages=2)
    assert type(theirs.trunk.bn1).__name__ == "DetrFrozenBatchNorm2d"
    for a, b in zip(ours(images()).feature_maps, theirs(images()).feature_maps, strict=True):
        assert relative_error(a, b) < 1e-5
    with_theirs.train()
    with_theirs(pixel_values=images(), **boxes()).loss.backward()
    got = {key for key, p in theirs.trunk.named_parameters() if p.grad is not None}
    assert {key.partition(".")[0] for key in got} == {"layer3", "layer4"}
    with_theirs.model.freeze_backbone()
    assert not any(p.requires_grad for p in theirs.parameters())
    with_theirs.save_pretrained(tmp_path)
    again = type(detector).from_pretrained(tmp_path)
    assert equal(again.state_dict(), with_theirs.state_dict())


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
        again = load(tmp_path)
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


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a misspelt word": ({"frozen_stage": 1}, "frozen_stage: unknown to ResNeXtConfig"),
    "a word of the file's name": ({"variant": "x"}, "variant: unknown"),
    "a network": ({"network": "resnext51"}, "no variant 'resnext51'"),
    "a norm that JSON does not hold": ({"norm": nn.BatchNorm2d}, "norm must be one of"),
    "a stage": ({"out_features": ["stage5"]}, "out_features must be a subset"),
    "two stages": (
        {"out_features": ["stage1"], "out_indices": [2]},
        r"out_indices must be those of stage1",
    ),
    "two networks": (
        {"architecture": SMALL.to_dict(), "blocks": (1, 1)},
        "blocks must be left out beside architecture",
    ),
    "the stem alone": ({"out_features": ["stem"]}, "out_features must be at least one of stage1"),
    "frozen": ({"frozen_stages": 9}, "frozen_stages must be an integer from -1 to 4, got 9"),
    "recompute": ({"recompute": "all"}, "recompute must be one of"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_is_refused(what: str) -> None:
    words, message = WRONG[what]
    with pytest.raises(ValueError, match=message):
        ResNeXtBackbone(ResNeXtConfig(**words))


def test_a_config_holds_what_it_was_given(tmp_path: Path) -> None:
    words = {"frozen_stages": 1, "recompute": "block", "strides": (1, 2, 2, 1), "drop_path": 0.1}
    first = config(**words, dilations=(1, 1, 1, 2), out_features=["stem", "stage4"])
    first.save_pretrained(tmp_path)
    second = transformers.AutoConfig.from_pretrained(tmp_path)
    assert words_of(second) == words_of(first)
    assert second.to_json_string() == first.to_json_string()
    assert Architecture.of(second.architecture) == SMALL
    assert config(**words) == config(**words) != config(**{**words, "strides": None})
    assert {**words, "strides": [1, 2, 2, 1]}.items() <= json.loads(second.to_json_string()).items()
    with pytest.warns(RandomStagesWarning):
        backbone = transformers.AutoBackbone.from_config(second)
    assert [m.shape[1:] for m in backbone(images()).feature_maps] == [(16, 16, 24), (512, 4, 6)]
    states = backbone(images(), output_hidden_states=True).hidden_states
    assert [s.shape[1] for s in states] == backbone.num_features == [16, 64, 128, 256, 512]
    assert ResNeXtConfig().depths == [3, 4, 6, 3]
    assert ResNeXtConfig(network="resnext101_32x8d", in_channels=4).num_channels == 4
    assert OPTIONS.keys() >= {"frozen_stages", "norm_eval", "recompute", "fold_norm"}


def test_a_stage_that_was_not_built_is_not_asked_for() -> None:
    backbone = ResNeXtBackbone(config(out_features=["stage2"]))
    backbone.out_features = ["stage4"]
    with pytest.raises(ValueError, match="stage4 is above the last stage that was built"):
        backbone(images())


def test_transformers_own_checkpointing_is_refused() -> None:
    enable = "gradient_checkpointing_enable" if BEFORE_5 else "activation_checkpointing_enable"
    with pytest.raises(ValueError, match="not support"):
        getattr(ResNeXtBackbone(config()), enable)()


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


COMMON = "TRANSFORMERS_BACKBONE_TESTS"
"""A variable that names tests/test_backbone_common.py of transformers' repository."""


def common_checks() -> ModuleType | None:
    path = os.environ.get(COMMON)
    if not path:
        return None
    spec = importlib.util.spec_from_file_location("test_backbone_common", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_transformers_own_checks_of_backbones_pass() -> None:
    module = common_checks()
    if module is None:
        pytest.skip(f"{COMMON} does not name transformers' tests/test_backbone_common.py")

    class Inputs:
        def prepare_config_and_inputs_for_common(self) -> tuple[ResNeXtConfig, dict[str, Tensor]]:
            return config(out_features=STAGES[1:]), {"pixel_values": images()}

    class Checks(module.BackboneTesterMixin, unittest.TestCase):
        all_model_classes = (ResNeXtBackbone,)
        config_class = ResNeXtConfig
        has_attentions = False

        def setUp(self) -> None:
            self.model_tester = Inputs()

    result = unittest.TestResult()
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Checks)
    suite.run(result)
    assert result.testsRun >= 6
    assert not [text for _, text in (*result.failures, *result.errors, *result.skipped)]
