"""A pretraining run begins with what is right, and alone in its folder."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from resnext_backbones.engine.alone import alone_in
from resnext_backbones.engine.config import for_training, read_config
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.classification.run import pretrain


def test_a_checkpoint_that_is_not_there_is_named(config: Path, tmp_path: Path) -> None:
    cfg = read_config(str(config), work_dir=str(tmp_path / "run"))
    for_training(cfg, resume=str(tmp_path / "absent.pth"))
    with pytest.raises(InputError, match=r"absent.pth: there is no such file"):
        pretrain(cfg)


def test_what_a_run_begins_with_is_not_lost_by_resuming(config: Path, tmp_path: Path) -> None:
    """Schedulers restart a run with the same command, also where it has saved nothing yet."""
    absent = [f"load_from={tmp_path / 'absent.pth'}"]
    cfg = read_config(str(config), absent, work_dir=str(tmp_path / "run"))
    for_training(cfg, resume="auto")
    with pytest.raises(InputError, match=r"load_from .*absent.pth: there is no such file"):
        pretrain(cfg)


HOLD = """
import sys
from pathlib import Path
from resnext_backbones.engine.alone import alone_in
with alone_in(Path(sys.argv[1]), is_first=True, goes_on=False):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_run_at_a_time_trains_in_a_folder(config: Path, tmp_path: Path) -> None:
    cfg = read_config(str(config), work_dir=str(tmp_path / "run"))
    for_training(cfg)
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, cfg.work_dir],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=r"run: another run trains in it; name another folder"):
            pretrain(cfg)
    finally:
        other.communicate("")
    with alone_in(Path(cfg.work_dir), is_first=True, goes_on=False):
        pass


def test_where_there_are_no_locks_nobody_is_kept_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A marker in their place would outlive a run that is killed, and keep out the next one."""

    def unknown(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unknown)
    with alone_in(tmp_path, is_first=True, goes_on=False):
        assert not any(path.read_bytes() for path in tmp_path.iterdir())


def test_an_evaluation_is_needed(config: Path, tmp_path: Path) -> None:
    options = [f"val_{part}=None" for part in ("cfg", "dataloader", "evaluator")]
    cfg = read_config(str(config), options, work_dir=str(tmp_path / "run"))
    for_training(cfg)
    with pytest.raises(InputError, match=r"no val_cfg, val_dataloader, .*pretraining needs"):
        pretrain(cfg)


def test_averages_that_would_begin_behind_the_end_are_left_out(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("resnext_backbones.tasks.classification.run.log_warning", said.append)
    cfg = read_config(str(config), ["train_cfg.max_epochs=1"], work_dir=str(tmp_path / "run"))
    for_training(cfg)
    cfg.experiment_name = "late_averages"
    (hook,) = (h for h in cfg.custom_hooks if h.type == "EMAHook")
    hook.begin_epoch = 2
    pretrain(cfg)
    assert said == [
        "EMAHook: begins at epoch 2 of 1, so no weights are averaged; set its begin_epoch with "
        "custom_hooks"
    ]


def test_a_finished_run_is_not_overwritten(config: Path, finished: Path) -> None:
    with pytest.raises(InputError, match=r"go on with --resume"):
        for_training(read_config(str(config), work_dir=str(finished)))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("model.num_classes=5", r"8 classes, and model.num_classes is 5"),
        ("val_dataloader.dataset.root=/absent", r"/absent: there is no such folder"),
        ("val_dataloader.dataset.class_list=CLASSES", r"differ in classes: \['black', 'white'"),
    ],
)
def test_bad_data_is_named(option: str, message: str, config: Path, tmp_path: Path) -> None:
    (tmp_path / "classes").write_text("red\ngreen\nblue\nyellow\ncyan\nmagenta\n")
    option = option.replace("CLASSES", str(tmp_path / "classes"))
    cfg = read_config(str(config), [option], work_dir=str(tmp_path / "run"))
    for_training(cfg)
    with pytest.raises(InputError, match=message):
        pretrain(cfg)
