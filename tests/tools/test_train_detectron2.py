"""Training and evaluating on Detectron2's engine, on real images."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from tooling import TOOLS, run

from resnext_backbones.engine import record
from resnext_backbones.engine.run_ways import KEY, SWITCH
from resnext_backbones.reports.page import unasked

UP = "model.backbone.bottom_up"
HEADS = "model.roi_heads"
TINY = (
    "--weights", "none", f"{UP}.depth=[1,1,1,1]", f"{UP}.num_groups=8",
    "model.backbone.out_channels=16", "model.proposal_generator.head.in_channels=16",
    f"{HEADS}.box_head.input_shape.channels=16", f"{HEADS}.box_head.fc_dims=[16]",
    f"{HEADS}.box_predictor.input_shape.channels=16",
    f"{HEADS}.box_predictor.test_score_thresh=0.0",
    f"{HEADS}.mask_head.input_shape.channels=16", f"{HEADS}.mask_head.conv_dims=[16]",
    "dataloader.train.total_batch_size=2", "dataloader.train.num_workers=0",
    "dataloader.train.mapper.augmentations.0.short_edge_length=[64]",
    "dataloader.test.mapper.augmentations.0.short_edge_length=64",
    "dataloader.test.num_workers=0", "train.log_period=1", "train.checkpointer.period=2",
)  # fmt: skip
LAZY = "mask_rcnn_fpn_1x"
AVERAGED = "train.model_ema.momentum=0.01"
YAML = "COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml"
TINY_YAML = (
    "MODEL.BACKBONE.NAME", "build_resnext_fpn_backbone", "MODEL.BACKBONE.FREEZE_AT", "0",
    "MODEL.RESNETS.DEPTH", "50", "MODEL.RESNETS.NUM_GROUPS", "4",
    "MODEL.RESNETS.WIDTH_PER_GROUP", "4", "MODEL.RESNETS.RES2_OUT_CHANNELS", "32",
    "MODEL.FPN.OUT_CHANNELS", "16", "MODEL.ROI_BOX_HEAD.FC_DIM", "16", "MODEL.WEIGHTS", "",
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.MAX_ITER", "2", "INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64",
    "DATALOADER.NUM_WORKERS", "0",
)  # fmt: skip


@pytest.fixture(scope="module")
def datasets(coco_tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that DETECTRON2_DATASETS names, with twelve images to train and to test on."""
    pytest.importorskip("detectron2", reason="Detectron2 is not installed")
    root = tmp_path_factory.mktemp("datasets")
    (root / "coco" / "annotations").mkdir(parents=True)
    for split in ("train2017", "val2017"):
        (root / "coco" / split).symlink_to(coco_tiny.absolute() / split)
        name = Path("annotations") / f"instances_{split}.json"
        content = json.loads((coco_tiny / name).read_text())
        content["images"] = content["images"][:12]
        kept = {image["id"] for image in content["images"]}
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] in kept]
        (root / "coco" / name).write_text(json.dumps(content))
    return root


def iterations(work_dir: Path) -> list[int]:
    lines = (work_dir / "metrics.json").read_text().splitlines()
    return [found["iteration"] for found in map(json.loads, lines) if "total_loss" in found]


def test_train_kill_resume_and_evaluate(datasets: Path, tmp_path: Path) -> None:
    work_dir = tmp_path / "run"
    env = {"DETECTRON2_DATASETS": str(datasets)}
    arguments = [LAZY, "--variant", "resnext50_32x4d", "--work-dir", work_dir, *TINY, AVERAGED]
    command = [sys.executable, TOOLS / "train_detectron2.py", *arguments]
    with (tmp_path / "log").open("w") as file:
        killed = subprocess.Popen(
            [*map(str, command), "train.max_iter=100000"],
            stdout=file,
            stderr=file,
            env=os.environ | env | {SWITCH: "", "TORCH_HOME": str(tmp_path / "home")},
        )
        deadline = time.monotonic() + 240
        while not (work_dir / "last_checkpoint").exists() and time.monotonic() < deadline:
            assert killed.poll() is None, (tmp_path / "log").read_text()[-3000:]
            time.sleep(0.05)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    log = (tmp_path / "log").read_text()
    assert f"weights: random: --weights none: {UP}.freeze_at 2 -> 0, {UP}.norm Froz" in log
    assert "frozen: none" in log
    last = (work_dir / "last_checkpoint").read_text()
    saved = torch.load(work_dir / last)
    step = saved["iteration"] + 1
    name = "backbone.bottom_up.res2.0.conv2.weight"
    assert not torch.equal(saved["model"][name], saved["current_model_state"][name])
    assert "kinds measured in" in log
    assert saved[KEY]["rows"]

    # The command that takes every engine's configs.
    again = [*arguments[1:5], *TINY[:2], "--resume", "--cfg-options", *TINY[2:], AVERAGED]
    last_step = f"train.max_iter={step + 2}"
    env |= {unasked.SWITCH: ""}
    train = [sys.executable, str(TOOLS / "train.py")]
    env |= {"WANDB_MODE": "offline"}
    loggers = ["--loggers", "wandb"] if find_spec("wandb") else []
    done = run(train, f"detectron2/{LAZY}", *loggers, *again, last_step, **env)
    assert done.returncode == 0, done.stderr[-3000:]
    for path in work_dir.glob("wandb/offline*/*.wandb") if loggers else ():
        content = path.read_bytes()
        assert path.stem.removeprefix("run-") in (work_dir / "loggers.json").read_text()
        assert all(each in content for each in (b"total_loss", b"bbox/AP", b"record", b"max_iter"))
        break
    else:
        assert not loggers
    page = (work_dir / "report.html").read_text(encoding="utf-8")
    for section in ("trained", "data", "curves", "measured", "confusion", "images", "time"):
        assert f'<section id="{section}">' in page, section
    starts = record.read_record(work_dir)
    assert [start["from_step"] for start in starts] == [0, step]
    assert ["ended" in start for start in starts] == [False, True]
    measured = record.read_json(work_dir / record.EVALUATION)
    assert measured["step"] == step + 2
    assert {"coco/bbox_mAP", "coco/segm_mAP"} <= measured["metrics"].keys()
    assert f"Starting training from iteration {step}" in done.stdout
    assert iterations(work_dir)[-2:] == [step, step + 1]
    resumed = torch.load(work_dir / "model_final.pth")
    assert "convolutions: as the checkpoint's run had them" in done.stdout
    assert resumed[KEY] == saved[KEY]
    counts = [state["trainer"]["iteration"] for state in (saved, resumed)]
    assert counts == [step - 1, step + 1]
    momentum = resumed["trainer"]["optimizer"]["state"]
    assert any(values["momentum_buffer"].any() for values in momentum.values())
    assert "backbone: a 8x4d network of 1-1-1-1 blocks" in done.stdout
    assert re.search(r"weights: .*/model_\d+\.pth", done.stdout)
    table = r"\|\s+AP\s+\|\s+AP50\s+\|.*\n.*\n\|\s+\d"
    assert len(re.findall(table, done.stdout)) == 2, "boxes and masks"
    assert f"done: {work_dir}" in done.stdout


def test_one_word_makes_a_yaml_config_ours(datasets: Path, tmp_path: Path) -> None:
    """In this process: train, evaluate what was saved, and load it in Detectron2's own."""
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from detectron2.data.datasets import register_coco_instances
    from detectron2.modeling import build_model

    from resnext_backbones.errors import InputError
    from resnext_backbones.tasks.detectron2 import Request
    from resnext_backbones.tasks.detectron2 import run as run_here
    from resnext_backbones.tasks.detectron2.experiments import read_experiment

    names = {split: f"tiny_{split}_{tmp_path.name}" for split in ("train2017", "val2017")}
    for split, name in names.items():
        annotations = datasets / "coco" / "annotations" / f"instances_{split}.json"
        register_coco_instances(name, {}, str(annotations), str(datasets / "coco" / split))
    try:
        overrides = (
            *TINY_YAML, "DATASETS.TRAIN", f"('{names['train2017']}',)",
            "DATASETS.TEST", f"('{names['val2017']}',)",
        )  # fmt: skip
        request = Request(YAML, overrides, work_dir=str(tmp_path / "run"))
        assert run_here(request) == tmp_path / "run"
        assert iterations(tmp_path / "run") == [1]
        with pytest.raises(InputError, match="go on with --resume"):
            run_here(request)
        wrong = replace(request, overrides=(*overrides, "INPUT.FORMAT", "RGB"), resume=True)
        with pytest.raises(InputError, match=r"model_final.pth expect pixels of BGR.* gives RGB"):
            run_here(wrong)
        results = tmp_path / "run" / "inference" / "coco_instances_results.json"
        assert json.loads(results.read_text())
    finally:
        for name in names.values():
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)
    cfg = read_experiment(YAML, overrides).cfg
    cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    stock = build_model(cfg)
    DetectionCheckpointer(stock).load(str(tmp_path / "run" / "model_final.pth"))
    content = torch.load(tmp_path / "run" / "model_final.pth")
    assert content[KEY]["rows"] == []  # where nothing may be measured
    saved = content["model"]
    assert saved.keys() == stock.state_dict().keys()
    assert all(value.equal(saved[key]) for key, value in stock.state_dict().items())
