"""The checkpoint that a run goes on from."""

from __future__ import annotations

import errno
import logging
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from mmengine.fileio import get_file_backend
from mmengine.logging import MessageHub
from torch import nn

from resnext_backbones.engine.checkpoints import (
    BACKEND,
    JOURNAL,
    CheckpointHook,
    Entry,
    checkpoint_to_test,
    newest_checkpoint,
    read_journal,
    write_journal,
)
from resnext_backbones.errors import InputError
from resnext_backbones.weights.download import hash_of


def written(work_dir: Path, *names: str) -> list[Entry]:
    for name in names:
        (work_dir / name).write_bytes(name.encode())
    return [Entry(name, hash_of(work_dir / name), number) for number, name in enumerate(names)]


def test_the_newest_whole_one_is_taken(tmp_path: Path) -> None:
    entries = written(tmp_path, "epoch_1.pth", "iter_7.pth", "epoch_2.pth")
    write_journal(tmp_path, entries)
    assert newest_checkpoint(tmp_path) == tmp_path / "epoch_2.pth"
    assert checkpoint_to_test("auto", tmp_path) == str(tmp_path / "epoch_2.pth")
    assert checkpoint_to_test("epoch_1.pth", tmp_path) == "epoch_1.pth"
    (tmp_path / "epoch_2.pth").write_bytes(b"epoch_3.pth")
    assert newest_checkpoint(tmp_path) == tmp_path / "iter_7.pth"
    (tmp_path / "iter_7.pth").unlink()
    assert newest_checkpoint(tmp_path) == tmp_path / "epoch_1.pth"
    (tmp_path / "epoch_1.pth").write_bytes(b"")
    with pytest.raises(InputError, match=r"none that is whole.*--resume CHECKPOINT"):
        newest_checkpoint(tmp_path)


def test_a_run_that_has_saved_nothing_begins(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    with pytest.raises(InputError, match=f"checkpoint auto: there is none in {tmp_path}"):
        checkpoint_to_test("auto", tmp_path)


def test_checkpoints_without_a_journal(tmp_path: Path) -> None:
    written(tmp_path, "epoch_1.pth")
    with pytest.raises(InputError, match=r"--resume CHECKPOINT"):
        newest_checkpoint(tmp_path)
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_1.pth"))
    assert newest_checkpoint(tmp_path) == tmp_path / "epoch_1.pth"


@pytest.mark.parametrize("text", ["", "[1]", '[{"file": "a"}]', "{"])
def test_a_damaged_journal_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text(text)
    with pytest.raises(InputError, match=JOURNAL):
        read_journal(tmp_path)


class Saving:
    """Gives MMEngine's hook what it asks of a runner; its disk may be full."""

    def __init__(self, work_dir: Path) -> None:
        self.work_dir, self.message_hub = str(work_dir), MessageHub(work_dir.name)
        self.logger = logging.getLogger("saving")
        self.model, self.epoch, self.iter, self.full = nn.Linear(1, 1), 0, 0, False

    def save_checkpoint(self, folder: str, filename: str, **_: Any) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        Path(folder, filename).write_text(str(self.epoch))


@pytest.mark.parametrize("metrics", [["a"], ["a", "b"]])
def test_the_best_stays_until_a_better_one_is_written(metrics: list[str], tmp_path: Path) -> None:
    runner: Any = Saving(tmp_path)
    hook = CheckpointHook(save_best=metrics if metrics[1:] else metrics[0], rule="greater")
    hook.before_train(runner)
    for scores, full, kept in (
        ((1.0, 1.0), False, [1, 1]),
        ((2.0, 0.0), True, [1, 1]),
        ((1.5, 0.5), False, [3, 1]),
        ((1.2, 3.0), False, [3, 4]),
    ):
        runner.epoch, runner.iter, runner.full = runner.epoch + 1, runner.iter + 1, full
        hook.after_val_epoch(runner, dict(zip(metrics, scores, strict=False)))
        expected = {f"best_{m}_epoch_{n}.pth" for m, n in zip(metrics, kept, strict=False)}
        assert {path.name for path in tmp_path.glob("best_*.pth")} == expected
    # A run by steps counts no epochs, so that all have one name.
    hook.after_val_epoch(runner, dict.fromkeys(metrics, 5.0))
    assert len(list(tmp_path.glob("best_*.pth"))) == len(metrics)
    again = CheckpointHook(save_best=metrics if metrics[1:] else metrics[0], rule="greater")
    again.before_train(runner)
    runner.epoch = 5
    again.after_val_epoch(runner, dict.fromkeys(metrics, 9.0))
    assert {p.name for p in tmp_path.glob("best_*")} == {f"best_{m}_epoch_5.pth" for m in metrics}


def test_mmengine_writes_whole_files(tmp_path: Path) -> None:
    backend = get_file_backend(str(tmp_path), backend_args={"backend": BACKEND})
    backend.put(b"content", str(tmp_path / "folder" / "a.pth"))
    assert (tmp_path / "folder" / "a.pth").read_bytes() == b"content"
