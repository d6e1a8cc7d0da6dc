"""A run that has ended writes its page by itself, where what that needs is installed."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from resnext_backbones.engine.record import harmless
from resnext_backbones.extras import NEEDED, installation
from resnext_backbones.reports.page import FILE_NAME

SWITCH = "RESNEXT_BACKBONES_NO_REPORT"
"""Where an environment variable of this name is set, no run writes its page."""


def write_page(work_dir: Path, say: Callable[[str], None], warn: Callable[[str], None]) -> None:
    """Writes the page of a work directory, and says where it is, or how to get it; that it cannot
    be written ends nothing.
    """
    if os.environ.get(SWITCH):
        return
    if absent := [name for name in NEEDED["report"] if find_spec(name) is None]:
        say(
            f"{FILE_NAME}: not written, for want of {' and '.join(absent)}: "
            f"{installation('report')}, then resnext report {work_dir}"
        )
        return
    with harmless(warn, FILE_NAME):
        from resnext_backbones.reports.page.write import write_report

        say(f"report: {write_report(work_dir, work_dir / FILE_NAME, say=say)}")
