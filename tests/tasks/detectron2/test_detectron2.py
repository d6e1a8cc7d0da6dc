"""What is checked before a detector of Detectron2's is built."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import small

pytest.importorskip("detectron2", reason="Detectron2 is not installed")

from detectron2.layers import FrozenBatchNorm2d

from resnext_backbones.adapters.detectron2 import ResNeXtBackbone
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.detectron2 import Request, run
from resnext_backbones.tasks.detectron2.checkpoints import Checkpointer, last_checkpoint
from resnext_backbones.tasks.detectron2.checks import check_batch, check_data, check_weights
from resnext_backbones.tasks.detectron2.experiments import Experiment
from resnext_backbones.tasks.detectron2.zoo import Expected, expected_by, plain_name
from resnext_backbones.weights import Preprocessing, WeightsError
from resnext_backbones.weights.formats import FORMATS
from resnext_backbones.weights.preprocessing import BGR, BGR_UNSCALED, RGB
from resnext_backbones.weights.write import convert

LAZY, NETWORK = "mask_rcnn_fpn_1x", "resnext50_32x4d"
YAML = "COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml"
OURS = ("MODEL.BACKBONE.NAME", "build_resnext_fpn_backbone")
UP = "model.backbone.bottom_up"
TINY = (
    f"{UP}.depth=[1,1,2,1]", f"{UP}.num_groups=4", f"{UP}.width_per_group=4",
    f"{UP}.stem_out_channels=16", f"{UP}.res2_out_channels=64", f"{UP}.freeze_at=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the tiny trunk, of which nobody knows the pixels."""
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    torch.save(small().state_dict(), path)
    return path


def tiny(*overrides: str, weights: Path | str | None = None) -> Experiment:
    source = weights and str(weights)
    return Request(LAZY, (*TINY, *overrides), weights=source, variant=NETWORK).experiment()


def yaml(*overrides: str, weights: str | None = None) -> Experiment:
    return Request(YAML, (*OURS, *overrides), weights=weights).experiment()


@pytest.mark.parametrize("read", [tiny, yaml])
def test_weights_bring_their_pixels(read: Any) -> None:
    for source, pixels in (
        ("caffe2/X-101-32x8d", BGR_UNSCALED),
        ("torchvision/resnext101_32x8d.v1", RGB),
        ("detectron2://ImageNetPretrained/FAIR/X-101-32x8d.pkl", BGR),
    ):
        experiment = read(weights=source)
        assert experiment.pixels == pixels
        assert experiment.weights == plain_name(source)
        assert experiment.checkpoint == ""


def test_weights_that_fit_are_taken(file: Path, tmp_path: Path) -> None:
    check_weights(tiny(weights=file))
    convert(file, tmp_path / "w.safetensors", "safetensors", preprocessing=BGR)
    experiment = tiny(weights=tmp_path / "w.safetensors")
    assert experiment.pixels == BGR
    check_weights(experiment)
    wrong = tiny(f"{UP}.weights={tmp_path / 'w.safetensors'}")
    with pytest.raises(InputError, match=r"expect pixels of BGR.*config gives RGB.*--allow-mism"):
        check_weights(wrong)
    check_weights(wrong, allow_mismatch=True)


def test_grey_images_take_weights_for_three_channels(file: Path, tmp_path: Path) -> None:
    convert(file, tmp_path / "w.safetensors", "safetensors", preprocessing=BGR)
    grey = ("dataloader.train.mapper.image_format=L", "model.pixel_mean=[110.0]")
    grey += ("model.pixel_std=[57.0]", f"{UP}.in_channels=1")
    for path in (file, tmp_path / "w.safetensors"):
        experiment = tiny(*grey, f"{UP}.adapt_input=repeat", weights=path)
        assert experiment.pixels == Preprocessing("grey", (110.0,), (57.0,))
        check_weights(experiment)
    with pytest.raises(WeightsError, match="adapt_input='repeat' or adapt_input='zeros'"):
        check_weights(tiny(*grey, weights=file))
    four = tiny("model.pixel_mean=[1.0,1.0,1.0,1.0]", weights=file)
    with pytest.raises(InputError, match=r"image_format, model.pixel_mean.* Detectron2 reads no"):
        check_weights(four)


def fused(file: Path, tmp_path: Path) -> Path:
    state = torch.load(file)
    named = {FORMATS["caffe2"].from_own(key): v.numpy() for key, v in state.items()}
    blobs = {k: v for k, v in named.items() if k and not k.endswith(("_rm", "_riv"))}
    (tmp_path / "fused.pkl").write_bytes(pickle.dumps(blobs, 2))
    return tmp_path / "fused.pkl"


def test_fused_norms_must_stay_frozen(file: Path, tmp_path: Path) -> None:
    path = fused(file, tmp_path)
    check_weights(tiny(weights=path))
    with pytest.raises(InputError, match=rf"fused norms.*set {UP}.norm to FrozenBN"):
        check_weights(tiny(f"{UP}.norm=BN", weights=path))


def test_a_detector_is_evaluated_with_the_pixels_of_its_weights() -> None:
    request = Request(
        LAZY,
        ("train.init_checkpoint=detector.pth",),
        weights="detectron2/X-101-32x8d",
        eval_only=True,
    )
    experiment = request.experiment()
    assert (experiment.checkpoint, experiment.weights) == ("detector.pth", "")
    assert experiment.pixels == BGR


def test_frozen_stages_need_weights() -> None:
    frozen = tiny(f"{UP}.freeze_at=2", f"{UP}.weights=null")
    with pytest.raises(InputError, match=rf"freeze_at=2.*random.*set {UP}.freeze_at to 0"):
        check_weights(frozen)
    check_weights(tiny(f"{UP}.weights=null"))


def test_without_weights_all_of_the_backbone_learns() -> None:
    yaml_keys = "MODEL.BACKBONE.FREEZE_AT 2 -> 0, MODEL.RESNETS.NORM FrozenBN -> BN"
    for config, overrides, changed in (
        (LAZY, (), f"{UP}.freeze_at 2 -> 0, {UP}.norm FrozenBN -> BN"),
        (LAZY, (f"{UP}.norm=GN",), f"{UP}.freeze_at 2 -> 0, {UP}.norm GN"),
        (YAML, OURS, yaml_keys),
    ):
        experiment = Request(config, overrides, weights="none").experiment()
        check_weights(experiment)
        assert (experiment.weights, experiment.checkpoint) == ("", "")
        assert experiment.changed == changed
        backbone = experiment.backbone().train()
        assert all(parameter.requires_grad for parameter in backbone.parameters())
        assert not any(isinstance(module, FrozenBatchNorm2d) for module in backbone.modules())
        norms = [module for module in backbone.modules() if "Norm" in type(module).__name__]
        assert norms
        assert all(norm.training for norm in norms)
    with pytest.raises(InputError, match=r"--weights none: the config's backbone is not this pack"):
        check_weights(Request(YAML, weights="none").experiment())


def test_offline_the_message_names_the_option(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    request = Request(LAZY, weights="http://127.0.0.1:9/a.pth")  # nothing listens there
    with pytest.raises(WeightsError, match=r"put it at .*a.pth, or name it .*: --weights FILE$"):
        check_weights(request.experiment())


def test_a_checkpoint_of_another_depth_or_width_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"the network is resnext101_32x8d"):
        check_weights(yaml(weights=str(file)))
    with pytest.raises(
        InputError, match=r"holds a 4x4d network.*; the network is resnext101_32x8d"
    ):
        check_weights(yaml("MODEL.WEIGHTS", str(file)))
    torch.save({"head.weight": torch.zeros(1)}, tmp_path / "head.pth")
    with pytest.raises(InputError, match=r"the file holds no ResNeXt; the network"):
        check_weights(yaml("MODEL.WEIGHTS", str(tmp_path / "head.pth")))
    with pytest.raises(InputError, match=r"weights .*absent.pkl: there is no such file"):
        check_weights(yaml("MODEL.WEIGHTS", str(tmp_path / "absent.pkl")))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("detectron2://ImageNetPretrained/MSRA/R-50.pkl", Expected(BGR_UNSCALED, True)),
        ("detectron2://ImageNetPretrained/FAIR/X-101-32x8d.pkl", Expected(BGR, False)),
        ("detectron2://ImageNetPretrained/torchvision/R-50.pkl", Expected(RGB, False)),
        ("catalog://ImageNetPretrained/FAIR/X-152-32x8d-IN5k", Expected(BGR_UNSCALED, False)),
        ("catalog://ImageNetPretrained/FAIR/R-101-GN", Expected(BGR_UNSCALED, False)),
        ("open-mmlab://resnext101_32x4d", Expected(RGB, False)),
        (
            "detectron2://COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x/139653917/"
            "model_final_2d9806.pkl",
            Expected(BGR, False),
        ),
        (
            "https://dl.fbaipublicfiles.com/detectron2/COCO-Detection/faster_rcnn_R_50_FPN_3x/"
            "137849458/model_final_280758.pkl",
            Expected(BGR_UNSCALED, True),
        ),
        ("https://example.org/weights.pkl", Expected(None, None)),
    ],
)
def test_what_is_known_of_published_weights(source: str, expected: Expected) -> None:
    assert expected_by(source) == expected


@pytest.fixture
def _x101_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if Detectron2 had downloaded its X-101-32x8d."""
    state = ResNeXtBackbone(variant="resnext101_32x8d").state_dict()
    content = {"model": state, "__author__": "FAIR", "matching_heuristics": True}
    torch.save(content, tmp_path / "x101.pkl")
    checks = "resnext_backbones.tasks.detectron2.checks._local"
    monkeypatch.setattr(checks, lambda _: str(tmp_path / "x101.pkl"))


@pytest.mark.usefixtures("_x101_is_there")
def test_the_config_of_the_zoo_fits_and_a_changed_one_does_not() -> None:
    check_weights(yaml())
    for override, message in (
        (
            ("MODEL.RESNETS.STRIDE_IN_1X1", "True"),
            r"trained with stride_in_1x1=False, and the network has stride_in_1x1=True",
        ),
        (("INPUT.FORMAT", "RGB"), r"expect pixels of BGR.*gives RGB"),
        (("MODEL.PIXEL_STD", "[1,1,1]"), r"std \(57.*gives BGR, .* std \(1.0"),
    ):
        with pytest.raises(InputError, match=message):
            check_weights(yaml(*override))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("MODEL.RESNETS.OUT_FEATURES", "['res6']"), r"out_features must be of stem, res2"),
        (("MODEL.RESNETS.NORM", ""), r"norm must be FrozenBN, BN, SyncBN, GN"),
        (("MODEL.RESNETS.DEPTH", "34"), r"depth must be 50, 101, 152.* 34"),
        (("MODEL.RESNETS.NUM_GROUPS", "0"), r"cardinality must be"),
        (("MODEL.BACKBONE.FREEZE_AT", "7"), r"freeze_at must be .* got 7"),
    ],
)
def test_wrong_arguments_are_named(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=f"config .*yaml: {message}"):
        check_weights(yaml(*overrides))


def test_another_backbone_is_left_alone() -> None:
    check_weights(Request(YAML).experiment())


def test_a_run_that_is_killed_while_it_saves_has_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpointer = Checkpointer(torch.nn.Linear(1, 1), str(tmp_path), BGR)
    checkpointer.save("model_1")
    write = torch.save

    def killed(_data: Any, file: Any) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", killed)
    for name in ("model_1", "model_2"):
        with pytest.raises(KeyboardInterrupt):
            checkpointer.save(name)
        assert last_checkpoint(str(tmp_path)) == str(tmp_path / "model_1.pth")
        assert "weight" in torch.load(tmp_path / "model_1.pth")["model"]
    monkeypatch.setattr(torch, "save", write)
    checkpointer.save("model_2")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"last_checkpoint", "model_1.pth", "model_2.pth"}


def test_data_and_devices_are_checked_first(tmp_path: Path, monkeypatch) -> None:
    request = Request(LAZY, ("dataloader.test.dataset.names=absent",), work_dir=str(tmp_path / "w"))
    with pytest.raises(InputError, match="data set absent: is not registered"):
        run(request)
    missing = Request(LAZY, ("dataloader.test.dataset.names=coco_2014_val",))
    with pytest.raises(InputError, match=r"file .*2014.*set DETECTRON2_DATASETS"):
        run(missing)
    count = torch.cuda.device_count()
    with pytest.raises(InputError, match=rf"--num-gpus 99: this machine has {count} CUDA devices"):
        run(request, num_gpus=99)
    with pytest.raises(InputError, match="at least 1"):
        run(request, num_gpus=0)
    with pytest.raises(InputError, match="--machine-rank 1: must be from 0 to 0"):
        run(request, machine_rank=1)
    with pytest.raises(InputError, match="total_batch_size 16: must be a multiple of the 3"):
        check_batch(tiny(), 3)
    with pytest.raises(InputError, match=r"voc_2007_test: its evaluator 'pascal_voc' is none of"):
        check_data(yaml("DATASETS.TEST", "('voc_2007_test',)"), train=False)
    monkeypatch.setitem(sys.modules, "lvis", None)
    with pytest.raises(InputError, match=r"lvis_v1_val: is evaluated with .*: pip install lvis"):
        check_data(yaml("DATASETS.TEST", "('lvis_v1_val',)"), train=False)
    with pytest.raises(InputError, match="nothing to evaluate; add --resume"):
        check_weights(Request(LAZY, eval_only=True).experiment(), evaluate=True)
    assert not (tmp_path / "w").exists()


def test_weights_are_for_this_backbone_alone(file: Path) -> None:
    with pytest.raises(InputError, match=r"set MODEL.BACKBONE.NAME to build_resnext_fpn_backbone"):
        check_weights(Request(YAML, weights=str(file)).experiment())
    with pytest.raises(InputError, match=r"absent.pth"):
        check_weights(yaml("MODEL.BACKBONE.WEIGHTS", "absent.pth"))


def test_a_part_of_a_detector_is_not_evaluated(file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="hold a backbone and 0 other tensors, no detector"):
        check_weights(tiny(f"train.init_checkpoint={file}"), evaluate=True)
    whole = tiny().detector().state_dict()
    state = {name: torch.zeros(value.shape) for name, value in whole.items()}
    torch.save({"model": state}, tmp_path / "whole.pth")
    check_weights(
        tiny(f"train.init_checkpoint={tmp_path / 'whole.pth'}"), evaluate=True, allow_mismatch=True
    )
    lost = next(name for name in state if name.startswith("roi_heads."))
    del state[lost]
    torch.save({"model": state}, tmp_path / "part.pth")
    with pytest.raises(InputError, match=f"{lost} of the detector are missing"):
        check_weights(
            tiny(f"train.init_checkpoint={tmp_path / 'part.pth'}"),
            evaluate=True,
            allow_mismatch=True,
        )


def test_the_work_directory_is_that_of_the_override_or_the_name() -> None:
    assert tiny("train.output_dir=mine").work_dir == "mine"
    assert yaml("OUTPUT_DIR", "mine").work_dir == "mine"
    assert tiny().work_dir == f"work_dirs/{NETWORK}_{LAZY}"
    assert yaml().work_dir == f"work_dirs/{YAML.removesuffix('.yaml')}"
