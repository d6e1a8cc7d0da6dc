"""The demo, at a small size."""

from __future__ import annotations

from pathlib import Path

import pytest
from tooling import QUICK, run

pytest.importorskip("mmdet", reason="MMDetection is not installed")

from resnext_backbones.engine import record
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.demo import on_few, run_demo
from resnext_backbones.tasks.mmdetection.config import load_config


@pytest.mark.whole
@pytest.mark.parametrize("variant", ["", "regnety_002"])
def test_demo_at_a_tiny_size(tmp_path: Path, variant: str) -> None:
    """A variant takes the place of the small network, and is compared with random weights."""
    compare = bool(variant)
    options = [option for option in QUICK if not option.startswith("model.")]
    if variant:
        options.append("model.neck.in_channels=24,56,152,368")
    done = run(
        "demo.py", "--work-dir", tmp_path / "demo", "--num-train", 8, "--num-val", 4,
        *["--variant", variant, "--compare"] * compare, "--cfg-options", *options,
        "train_cfg.max_epochs=1", "train_cfg.val_interval=1",
        "--pretrain-options", "train_cfg.max_epochs=1", RESNEXT_BACKBONES_NO_REPORT="",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    folder = Path(done.stdout.rstrip().splitlines()[-1])
    assert folder == tmp_path / "demo"
    results = [folder, *[folder / "random_weights"] * compare]
    for row, result in zip(("pretraining ", "random weights "), results, strict=False):
        assert row in done.stdout
        assert {"coco_metrics.json", "coco_metrics.txt", "curves.png"} <= {
            path.name for path in result.iterdir()
        }
        assert len(list((result / "pictures").iterdir())) == 4
        text = (result / "report.html").read_text(encoding="utf-8")
        of_detector = ("confusion", "images") if "bbox" in text else ()
        for section in ("trained", "data", "curves", "measured", "memory", "time", *of_detector):
            assert f'<section id="{section}">' in text, section
        assert "resnext" in record.read_record(result)[0]["command"]
        assert record.read_json(result / "evaluation.json")["split"] == "test"
    pretrained = (folder / "pretraining" / "report.html").read_text(encoding="utf-8")
    assert "top-1 accuracy" in pretrained
    assert ("random weights " in done.stdout) == compare
    assert f"backbone: {variant}" in done.stdout + done.stderr
    assert (folder / "random_weights").exists() == compare


def test_few_images_take_as_many_steps(tmp_path: Path) -> None:
    settings = dict(option.split("=") for option in on_few(30, 300))
    assert set(settings.values()) == {"38"}  # of eight steps
    cfg = load_config("demo_shapes", on_few(30, 300))
    assert (cfg.train_cfg.max_epochs, cfg.param_scheduler[1].T_max) == (38, 38)
    base = load_config("demo_shapes")
    assert base.train_dataloader.batch_size == 4
    assert [step.keys() for step in base.param_scheduler] == [
        step.keys() for step in cfg.param_scheduler
    ], "no setting is new"
    with pytest.raises(InputError, match=r"--train-on 9: give 1 to 8"):
        run_demo(tmp_path / "demo", num_train=8, num_val=1, train_on=9)


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    again = run("demo.py", "--work-dir", tmp_path)
    assert again.returncode == 2
    assert "exists already" in again.stderr
