"""What was found in large files, and completed copies, are kept and taken again."""

from __future__ import annotations

import json
from pathlib import Path

import annotated
import pytest

from resnext_backbones.data import annotations, kept
from resnext_backbones.data.annotations import completed_copy, read_annotations
from resnext_backbones.data.rules import Use
from resnext_backbones.errors import InputError

USE = Use(train=True, evaluate=True, masks=True)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is not complete, and large."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(annotations, "LARGE", 0)
    content = annotated.content()
    del content["annotations"][0]["iscrowd"]
    return annotated.write(tmp_path, content)


def test_what_was_found_in_a_large_file_is_kept(path: Path) -> None:
    said: list[str] = []
    first = read_annotations(path, USE, said.append)
    assert "read and checked, once" in said[0]
    assert "checked 6 of 6 annotations" in said[1]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(annotations, "_inspected", None)  # nobody looks again
        second = read_annotations(path, USE, said.append)
    assert len(said) == 2
    assert (second.findings, second.images) == (first.findings, first.images)
    assert second.content == first.content


def test_a_completed_copy_is_written_once(path: Path) -> None:
    found = read_annotations(path, USE)
    (kept.folder() / "renamed").symlink_to("elsewhere")  # as another process does meanwhile
    copy = completed_copy(found)
    assert copy.parent == kept.folder()
    assert json.loads(copy.read_text()) == found.content
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kept, "atomic_write", None)  # as in a folder that is read-only now
        patched.setattr(kept, "FileLock", None)
        assert completed_copy(found) == copy
    path.write_text(path.read_text() + " ")
    assert completed_copy(read_annotations(path, USE)) != copy


def test_a_folder_that_takes_nothing_is_named(path: Path, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    found = read_annotations(path, USE)
    with pytest.raises(InputError, match=r"completed copy .* cannot be written: .*TORCH_HOME"):
        completed_copy(found)
