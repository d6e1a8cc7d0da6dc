"""Says what of a set-up does not fit together; neither torch nor another package has to work."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from resnext_backbones.errors import InputError
from resnext_backbones.reports.doctor import machine
from resnext_backbones.reports.doctor.installed import MODULES, look
from resnext_backbones.reports.doctor.probing import try_modules
from resnext_backbones.reports.doctor.rules import RULES, Finding, SetUp, notes
from resnext_backbones.reports.doctor.text import text

SECONDS = 8.5
"""All of it then ends within ten, on a machine that does nothing else."""


class Diagnosis(NamedTuple):
    """Says what does not fit, in order of what is mended first, and all that was found."""

    findings: list[Finding]
    text: str


def diagnose(runs: Path, *, seconds: float = SECONDS) -> Diagnosis:
    """Returns the diagnosis of the environment that this Python runs in.

    Args:
        runs: the folder in which results of runs are written; it need not exist.
        seconds: after so many an import that has not ended is taken to hang.
    """
    until = time.monotonic() + seconds
    installed = look()
    lines: dict[str, list[str]] = {}
    for name in installed.origins:
        lines.setdefault(MODULES[name].process, []).append(name)
    with ThreadPoolExecutor() as threads:
        probes = threads.submit(try_modules, lines.values(), until=until)
        facts = machine.facts(runs, until=until)
        setup = SetUp(installed, probes.result(), facts, _openmmlab(), runs)
    findings = [finding for rule in RULES for finding in rule(setup)]
    return Diagnosis(findings, text(setup, findings, list(notes(setup))))


def _openmmlab() -> str:
    """Returns what is wrong with OpenMMLab's packages, and the command that mends it."""
    try:
        import resnext_backbones.adapters.distributions  # noqa: F401
    except InputError as error:
        return str(error)
    return ""
