"""Runs that end and go on, and what is evaluated."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import randomise
from mmengine.config import Config
from mmengine.registry import MODELS
from safetensors.torch import save_file

from resnext_backbones import build_backbone, load_weights
from resnext_backbones.engine import record
from resnext_backbones.engine.checkpoints import TERMINATED, read_journal
from resnext_backbones.engine.config import BEGAN_WITH
from resnext_backbones.engine.hooks import FiniteLossHook
from resnext_backbones.engine.written import read_section
from resnext_backbones.errors import InputError
from resnext_backbones.reports.page.scores import Evaluated
from resnext_backbones.tasks.torchvision.earlier import translated
from resnext_backbones.tasks.torchvision.run import TASK, given, use_of
from resnext_backbones.variants import VARIANTS
from resnext_backbones.weights.files import read_file

train, evaluate = TASK.train, TASK.evaluate
FASTER, MASK = "faster_rcnn_x50_32x4d_fpn_coco", "mask_rcnn_x50_32x4d_fpn_coco"


def state_of(work_dir: Path, name: str) -> dict[str, torch.Tensor]:
    content = read_file(work_dir / name)
    momenta = {f"{k}": v["momentum_buffer"] for k, v in content["optimizer"]["state"].items()}
    return {**content["state_dict"], **momenta}


def log_of(work_dir: Path) -> str:
    return "".join(path.read_text() for path in sorted(work_dir.glob("*/*.log")))


def test_a_run_that_ended_goes_on_to_the_same_weights(
    config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit: ended within the second epoch, and one without an end; whatever the workers."""
    keep = "default_hooks.checkpoint.max_keep_ckpts={}".format
    whole = train(config(MASK, keep(1), work_dir="whole"))
    assert [path.name for path in whole.glob("*.pth")] == ["epoch_2.pth"]
    assert "weights: random: none given (--weights); all of the backbone" in log_of(whole)
    assert (whole / "curves.png").is_file()
    assert list(whole.glob("*/vis_data/events.out.tfevents.*"))
    assert read_journal(whole)[-1].metrics["coco/segm_mAP"] >= 0, "the last epoch is evaluated"
    part = [keep(2), "train_dataloader.num_workers=1"]
    look = FiniteLossHook.after_train_iter

    def end_in_the_second(hook: FiniteLossHook, runner: Any, *args: Any, **named: Any) -> None:
        look(hook, runner, *args, **named)
        if runner.iter == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(FiniteLossHook, "after_train_iter", end_in_the_second)
        with pytest.raises(SystemExit) as raised:
            train(config(MASK, *part, work_dir="part"))
    assert raised.value.code == TERMINATED
    work_dir = tmp_path / "part"
    assert [entry.file for entry in read_journal(work_dir)] == ["epoch_1.pth", "iter_4.pth"]
    before = state_of(work_dir, "epoch_1.pth")

    with pytest.raises(InputError, match=r"holds the checkpoints of an earlier run.*--resume"):
        config(MASK, *part, work_dir="part")
    with pytest.raises(InputError, match=r"12 unexpected: network.roi_heads.mask_"):
        train(config(FASTER, *part, work_dir="part", resume="auto"))
    other = "model.backbone.variant=resnext26_32x4d"
    with pytest.raises(InputError, match=r"holds tiny_4x4d; the network is resnext26_32x4d\."):
        train(config(MASK, *part, other, work_dir="part", resume="auto"))
    frozen = config(MASK, *part, work_dir="part", resume="auto")
    frozen.model.backbone.trainable_layers = 3
    with pytest.raises(InputError, match=r"had trainable_layers 5, and the config has 3.*--allow"):
        train(frozen)

    train(config(MASK, *part, work_dir="part", resume="auto"))
    expected, found = (state_of(path, "epoch_2.pth") for path in (whole, work_dir))
    assert expected.keys() == found.keys()
    assert all(value.equal(found[key]) for key, value in expected.items())
    assert not all(value.equal(before[key]) for key, value in expected.items())
    starts = record.read_record(work_dir)
    assert [start["from_step"] for start in starts] == [0, 4]
    assert ["ended" in start for start in starts] == [False, True]
    assert [len(starts[0]["data"][split]) for split in ("train", "val")] == [1, 1]

    cfg = config(MASK, work_dir="test", train=False)
    cfg.test_evaluator = [{**cfg.test_evaluator, "out": str(tmp_path / "found.json")}]
    metrics = evaluate(cfg, str(work_dir / "epoch_2.pth"))
    logged = read_journal(whole)[-1].metrics
    assert {name: logged[name] for name in metrics} == pytest.approx(metrics)
    results = json.loads((tmp_path / "found.json").read_text())
    assert results
    assert all(set(result["segmentation"]) == {"size", "counts"} for result in results)
    written = json.loads((tmp_path / "test" / "coco_metrics.json").read_text())
    assert written.keys() == {"checkpoint", *metrics}
    for folder in (whole, tmp_path / "test"):
        kept = record.read_json(folder / record.EVALUATION)
        files = {kind: folder / name for kind, name in kept["results"].items()}
        evaluated = Evaluated(Path(kept["annotations"]), files, kept["image_ids"])
        for kind in ("bbox", "segm"):
            precision = evaluated.precision(kind)
            assert precision is not None
            assert np.nanmean(precision.ap) == pytest.approx(metrics[f"coco/{kind}_mAP"])


def test_weights_set_pixels_and_what_is_frozen(
    config: Callable[..., Config], tiny: str, tmp_path: Path
) -> None:
    """And the run that they began is evaluated and goes on without them, on the same pixels."""
    file = tmp_path / "weights.safetensors"
    trunk = randomise(build_backbone(tiny))
    state = {key: value.contiguous() for key, value in trunk.state_dict().items()}
    metadata = {"pixel_order": "RGB", "pixel_mean": "[51, 51, 51]", "pixel_std": "[51, 51, 51]"}
    save_file(state, file, metadata=metadata)
    epoch = "train_cfg.max_epochs=1"
    cfg = config(FASTER, epoch, images=2, weights=str(file))
    assert cfg.model.data_preprocessor.mean == [51.0] * 3
    work_dir = train(cfg)
    log = log_of(work_dir)
    assert "frozen: stem, stage 1\n" in log
    assert f"weights: {file} (tiny_4x4d" in log
    assert "pixels: RGB, mean (51.0, 51.0, 51.0), std (51.0, 51.0, 51.0)" in log
    trained = read_file(work_dir / "epoch_1.pth")["state_dict"]
    body = "network.backbone.body."
    moved = {
        key.removeprefix(body)
        for key, value in trained.items()
        if key.startswith(body) and not value.equal(state[key.removeprefix(body)])
    }
    assert moved
    assert all(key.startswith(("layer2", "layer3", "layer4")) and "bn" not in key for key in moved)
    own = build_backbone(tiny)
    load_weights(own, work_dir / "epoch_1.pth")
    loaded = own.state_dict()
    assert all(v.equal(loaded[k.removeprefix(body)]) for k, v in trained.items() if body in k)

    file.unlink()
    of_before = {"weights": None, "images": 2, "work_dir": work_dir.name}
    with pytest.raises(InputError, match=r"its run had pixels RGB, mean \(51.0, .* has RGB, mean"):
        evaluate(config(**of_before, train=False), str(work_dir / "epoch_1.pth"))
    pixels = [f"model.data_preprocessor.{name}=[51,51,51]" for name in ("mean", "std")]
    evaluate(config(FASTER, *pixels, **of_before, train=False), str(work_dir / "epoch_1.pth"))
    gone = f"model.backbone.weights={file}"
    train(config(FASTER, *pixels, gone, **of_before, resume="auto"))
    assert "weights: resumed from" in log_of(work_dir)
    assert read_journal(work_dir)[-1].file == "epoch_2.pth"
    # The config that it wrote begins a new run with what this one was given.
    written = Config.fromfile(next(work_dir.glob("*.py")))
    assert (written.resume, written.load_from) == (False, None)
    assert written.model.backbone.weights == str(file)
    assert BEGAN_WITH not in written


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("output_stride=16", "its run had output_stride 16, and the config has 8"),
        ("backbone.stride_in_1x1=True", "its run had stride_in_1x1 True, and the config has False"),
        ("backbone.activation=SiLU", "its run had activation SiLU, and the config has ReLU"),
    ],
)
def test_what_no_tensor_shows_is_compared(
    setting: str, message: str, config: Callable[..., Config], tmp_path: Path
) -> None:
    """Also where the config leaves it to its default, and whatever the checkpoint is for."""
    fcn = "fcn_x50_32x4d_coco"
    cfg = config(fcn, f"model.{setting}", images=2, train=False)
    cfg.model.num_classes = 21
    state = dict(MODELS.build(cfg.model).state_dict())  # which says nothing by itself
    resumed = {"meta": {"cfg": cfg.pretty_text}, "message_hub": {}, "optimizer": {}}
    path = str(tmp_path / "epoch_1.pth")
    torch.save({"state_dict": state, **resumed}, path)
    plain = config(fcn, images=2, train=False)
    del plain.model["output_stride"]
    with pytest.raises(InputError, match=message):
        evaluate(plain, path)
    for change in ({"resume": path}, {}):
        cfg = config(fcn, *([] if change else [f"load_from={path}"]), images=2, **change)
        with pytest.raises(InputError, match=message):
            train(cfg)


def test_checkpoints_of_the_loop_before_are_evaluated_and_begin_runs(
    config: Callable[..., Config], tiny: str, tmp_path: Path
) -> None:
    """Their layout is in no other library: what its `train_torchvision` wrote."""
    cfg = config(work_dir="new", train=False)
    cfg.model.num_classes = 80
    model = randomise(MODELS.build(cfg.model))
    classes = tuple(json.loads(Path(cfg.val_evaluator.ann_file).read_text())["categories"])
    content = {
        "network": {
            "model": "faster_rcnn",
            "backbone": tiny,
            "norm": "BN",
            "trainable_layers": 5,
            "output_stride": 8,
            "classes": [category["name"] for category in classes],
            "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225],
        },
        "model": {k.removeprefix("network."): v for k, v in model.state_dict().items()},
        "optimizer": {"state": {}, "param_groups": []},
        "scaler": {},
        "seed": 0,
        "epoch": 1,
        "step": 0,
        "steps": 3,
    }
    path = tmp_path / "epoch_1.pth"
    torch.save(content, path)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "same.pth")
    evaluate(cfg, str(path))
    results = (tmp_path / "new" / "detections.json").read_text()
    evaluate(config(work_dir="same", train=False), str(tmp_path / "same.pth"))
    assert json.loads(results)
    assert results == (tmp_path / "same" / "detections.json").read_text()

    content["network"]["output_stride"] = 16
    model_of_before = read_section(translated(content)["meta"]["cfg"], "model")
    assert given(model_of_before, to_resume=False)["output_stride"] == 16

    cfg = config(train=False)
    cfg.model.data_preprocessor.mean = [0.0, 0.0, 0.0]
    with pytest.raises(InputError, match=r"its run had pixels RGB, mean \(123.675, 116.28"):
        evaluate(cfg, str(path))
    content["network"]["classes"][0] = "somebody"
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"its 80 classes \(somebody, .* are not the images' 80"):
        evaluate(config(train=False), str(tmp_path / "other.pth"))
    with pytest.raises(InputError, match=r"has no meta, message_hub, so it cannot be resumed; a"):
        train(config(resume=str(path)))

    begin = ["train_cfg.max_epochs=1", "optim_wrapper.optimizer.lr=0", f"load_from={path}"]
    with pytest.raises(InputError, match=r"its run had pixels RGB, mean \(123.675, 116.28"):
        train(config(FASTER, "model.data_preprocessor.mean=[0,0,0]", *begin, images=2))
    with pytest.raises(InputError, match=r"load_from: .*\n  12 missing: .*\n.*alone, give --w"):
        train(config(MASK, *begin, images=2))
    torch.save(content["model"], tmp_path / "plain.pth")  # torchvision's own, without `network.`
    names = [name for name, _ in model.named_parameters()]
    plain = [*begin[:2], f"load_from={tmp_path}/plain.pth"]
    for number, settings in enumerate((begin, plain)):
        cfg = config(FASTER, *settings, images=2, work_dir=f"begun_{number}")
        begun = read_file(train(cfg) / "epoch_1.pth")["state_dict"]
        assert all(begun[name].equal(model.state_dict()[name]) for name in names)
    body = build_backbone(tiny)
    load_weights(body, path)
    key = "layer1.0.conv1.weight"
    assert body.state_dict()[key].equal(model.state_dict()[f"network.backbone.body.{key}"])


def test_a_whole_network_begins_a_run_from_any_file_and_any_place(
    config: Callable[..., Config], tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As safetensors, by path and by address; of three stages, all of which are trained."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(VARIANTS, "tiny_of_three", replace(VARIANTS[tiny], blocks=(1, 1, 1)))
    three = "model.backbone.variant=tiny_of_three"
    cfg = config(FASTER, three, images=2, train=False)
    assert cfg.model.backbone.trainable_layers == 5
    cfg.model.num_classes = 80
    cfg.model.backbone.trainable_layers = 4  # of four stages all but the stem
    assert use_of(cfg).frozen == ""
    model = randomise(MODELS.build(cfg.model))
    assert all(parameter.requires_grad for parameter in model.parameters())
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    file = tmp_path / "whole.bin"  # PyTorch tells safetensors by the end of the name alone
    save_file(state, file)
    begin = [three, "train_cfg.max_epochs=1", "optim_wrapper.optimizer.lr=0"]
    for number, source in enumerate((str(file), file.as_uri())):
        cfg = config(FASTER, *begin, f"load_from={source}", images=2, work_dir=f"run_{number}")
        begun = read_file(train(cfg) / "epoch_1.pth")["state_dict"]
        assert all(begun[name].equal(value) for name, value in model.named_parameters())
    assert f"weights: {file}" in log_of(tmp_path / "run_0")
    assert evaluate(config(FASTER, three, images=2, train=False), str(file))
    with pytest.raises(InputError, match=r"load_from: weights .*absent.pth: there is no such file"):
        train(config(FASTER, f"load_from={tmp_path}/absent.pth", images=2))
    with pytest.raises(
        InputError, match=r"cannot be resumed; a new run can begin from its weights"
    ):
        train(config(FASTER, three, images=2, resume=str(file)))
