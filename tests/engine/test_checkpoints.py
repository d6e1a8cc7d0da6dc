"""The checkpoint that a run goes on from."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from mmengine.fileio import get_file_backend

from resnext_backbones.engine.checkpoints import (
    BACKEND,
    JOURNAL,
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


def test_mmengine_writes_whole_files(tmp_path: Path) -> None:
    backend = get_file_backend(str(tmp_path), backend_args={"backend": BACKEND})
    backend.put(b"content", str(tmp_path / "folder" / "a.pth"))
    assert (tmp_path / "folder" / "a.pth").read_bytes() == b"content"
