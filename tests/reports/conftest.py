"""What the tests of a run's page share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="package")
def work_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from run_folder import make_run

    return make_run(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="package")
def page(work_dir: Path) -> Path:
    from resnext_backbones.reports.page import FILE_NAME
    from resnext_backbones.reports.page.write import write_report

    said: list[str] = []
    path = write_report(work_dir, work_dir / FILE_NAME, say=said.append)
    assert not said
    return path
