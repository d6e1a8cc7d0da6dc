"""Where output would go is refused before anything is computed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from resnext_backbones.engine.checks.outputs import check_folder, check_metrics_file
from resnext_backbones.errors import InputError

FOLDERS = {
    "file": "is a file",
    "file/below": "file is a file",
    "file/far/below": "file is a file",
    "link": "is a file",
    "locked": "cannot be written to",
    "locked/below": "locked cannot be written to",
}
FILES = {
    "folder": "is a folder",
    "m.txt": "the name of the table.* m.json",
    "m.TXT": "the name of the table",
    "m.pkl": "outfile_prefix",
    "m.pickle": "outfile_prefix",
    "m.csv": "metrics are written as JSON; name it m.json",
    "m.yaml": "as JSON",
    "file/m.json": "folder file: is a file",
    "locked/m.json": "folder locked: cannot be written to",
    "taken.json": r"taken\.txt cannot be written",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    Path("link").symlink_to("nowhere")
    for name in ("folder", "locked", "taken.txt"):
        Path(name).mkdir()
    access = os.access  # root may write everywhere
    monkeypatch.setattr(os, "access", lambda p, m: Path(p).name != "locked" and access(p, m))
    return tmp_path


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_cannot_be(here: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"--work-dir {name}: .*{FOLDERS[name]}"):
        check_folder("--work-dir", name)
    assert not (here / "locked" / "below").exists()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.usefixtures("here")
def test_a_file_of_metrics_that_cannot_be(name: str) -> None:
    with pytest.raises(InputError, match=f"--out {name}: .*{FILES[name]}"):
        check_metrics_file("--out", Path(name))


@pytest.mark.parametrize("name", ["m.json", "m", "new/deep/m.JSON", "folder/m.json"])
def test_one_that_can_be(here: Path, name: str) -> None:
    before = sorted(here.rglob("*"))
    check_metrics_file("--out", Path(name))
    check_folder("--work-dir", Path(name).parent)
    assert sorted(here.rglob("*")) == before, "nothing is made yet"
