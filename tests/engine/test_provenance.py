"""The commit that made a result is said where it can be."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnext_backbones.engine.provenance import commit


def test_without_git_no_commit_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit(Path(__file__).parent) == ""
