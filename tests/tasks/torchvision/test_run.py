"""Runs that end and go on, and what a checkpoint says of its network."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import randomise
from safetensors.torch import save_file

from resnext_backbones import build_backbone
from resnext_backbones.engine.journal import TERMINATED, read_journal
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.torchvision import Settings, evaluate, loop, train
from resnext_backbones.tasks.torchvision.network import Network
from resnext_backbones.weights.files import read_file

CPU = torch.device("cpu")


def state_of(work_dir: Path, name: str) -> dict[str, torch.Tensor]:
    content = read_file(work_dir / name)
    momenta = {f"{k}": v["momentum_buffer"] for k, v in content["optimizer"]["state"].items()}
    return {**content["model"], **momenta}


def test_a_run_that_ended_goes_on_to_the_same_weights(
    settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit: ended within the second epoch, and one without an end; whatever the workers."""
    whole = settings("mask_rcnn", keep=1)
    metrics = json.loads((train(whole, CPU) / "coco_metrics.json").read_text())
    assert [path.name for path in whole.work_dir.glob("*.pth")] == ["epoch_2.pth"]
    start_of = "weights: random: none given (--weights): trainable layers 3 -> 5, norm FrozenBN"
    assert start_of in (whole.work_dir / "log.txt").read_text()
    part = dataclasses.replace(whole, work_dir=tmp_path / "part", workers=1, keep=2)
    log = loop.Trainer._log

    def end_in_the_second(trainer: loop.Trainer, *args: Any) -> None:
        log(trainer, *args)
        if trainer.progress.done == trainer.progress.steps + 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_log", end_in_the_second)
        with pytest.raises(SystemExit) as raised:
            train(part, CPU)
    assert raised.value.code == TERMINATED
    files = [entry.file for entry in read_journal(part.work_dir)]
    assert files == ["epoch_1.pth", "iter_5.pth"]
    start = state_of(part.work_dir, "epoch_1.pth")

    with pytest.raises(InputError, match=r"holds the checkpoints of an earlier run.*--resume"):
        train(part, CPU)
    other = dataclasses.replace(part, resume="auto", model="faster_rcnn")
    with pytest.raises(InputError, match="--model faster_rcnn: the checkpoint has mask_rcnn"):
        train(other, CPU)

    train(dataclasses.replace(part, resume="auto"), CPU)
    expected, found = (state_of(path, "epoch_2.pth") for path in (whole.work_dir, part.work_dir))
    assert expected.keys() == found.keys()
    assert all(value.equal(found[key]) for key, value in expected.items())
    assert not all(value.equal(start[key]) for key, value in expected.items())
    results = json.loads((part.work_dir / "detections.json").read_text())
    assert results
    assert all(set(result["segmentation"]) == {"size", "counts"} for result in results)
    again = dataclasses.replace(whole, work_dir=tmp_path / "test")
    assert evaluate(again, CPU, str(part.work_dir / "epoch_2.pth")) == metrics


def test_weights_set_pixels_norms_and_what_is_frozen(
    settings: Callable[..., Settings], tiny: str, tmp_path: Path
) -> None:
    """And the checkpoint alone says it again."""
    file = tmp_path / "weights.safetensors"
    trunk = randomise(build_backbone(tiny))
    state = {key: value.contiguous() for key, value in trunk.state_dict().items()}
    metadata = {"pixel_order": "RGB", "pixel_mean": "[51, 51, 51]", "pixel_std": "[51, 51, 51]"}
    save_file(state, file, metadata=metadata)
    run = settings(weights=str(file), epochs=1, limit_images=2)
    train(run, CPU)
    content = read_file(run.work_dir / "epoch_1.pth")
    assert content["network"]["image_mean"] == [0.2] * 3
    assert content["network"]["norm"] == "FrozenBN"
    moved = {
        key.removeprefix("backbone.body.")
        for key, value in content["model"].items()
        if key.startswith("backbone.body.")
        and not value.equal(state[key.removeprefix("backbone.body.")])
    }
    assert moved
    assert all(key.startswith(("layer2", "layer3", "layer4")) and "bn" not in key for key in moved)
    file.unlink()
    evaluate(dataclasses.replace(run, weights=None, trainable_layers=3), CPU, "auto")
    again = Network.from_checkpoint(content["network"], run).build(run)
    assert again.transform.image_mean == [0.2] * 3


def test_a_full_disk_does_not_end_a_run(
    settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = settings(epochs=1)
    save = torch.save

    def limited(content: Any, path: Path) -> None:  # what a process can be given for a full disk
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        try:
            save(content, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)

    monkeypatch.setattr(torch, "save", limited)
    assert (train(run, CPU) / "coco_metrics.json").is_file()
    assert not list(run.work_dir.glob("*.pth"))
    assert "epoch_1.pth: not written" in (run.work_dir / "log.txt").read_text()
