"""A set-up is what is known of it; a finding is what of it does not fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from resnext_backbones.reports.doctor.installed import Installed
from resnext_backbones.reports.doctor.probing import Probe

OPERATORS = "resnext_backbones.mmcv_ops"


class Finding(NamedTuple):
    """Says what does not fit, and the command that mends it; "" where no command does."""

    what: str
    mend: str = ""


@dataclass(frozen=True)
class SetUp:
    """Holds all that is known of a set-up.

    Attributes:
        installed: what Python would find.
        probes: how imports went.
        facts: of the machine; None where there was no answer.
        openmmlab: what is wrong with OpenMMLab's packages; "" where nothing is.
        runs: the folder of runs.
    """

    installed: Installed
    probes: dict[str, Probe]
    facts: dict[str, Any]
    openmmlab: str
    runs: Path

    def fact(self, module: str, name: str) -> Any:
        """Returns what a module said; None where it did not."""
        return self.probes[module].facts.get(name) if module in self.probes else None
