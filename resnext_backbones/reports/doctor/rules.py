"""A table of rules says what of a set-up does not fit together, and the command that mends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from resnext_backbones.reports.doctor import machine_rules as machine
from resnext_backbones.reports.doctor import package_rules as packages
from resnext_backbones.reports.doctor.machine_rules import LEAST_DISK, LOW_DISK, size
from resnext_backbones.reports.doctor.setup import Finding, SetUp

Rule = Callable[[SetUp], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    packages.absent,
    packages.openmmlab,
    packages.versions,
    packages.halves,
    packages.opencv,
    packages.shadowed,
    packages.imports,
    packages.numpy,
    packages.builds,
    packages.compiled_operators,
    machine.gpus,
    machine.room,
    machine.caches,
)
"""What is mended first stands first."""


def notes(setup: SetUp) -> Iterator[str]:
    """Yields what is good to know, and no fault."""
    facts = setup.facts
    if not facts.get("compiler"):
        yield "no C++ compiler: torch.compile cannot be used on the processor (apt install g++)"
    if facts.get("headers") is False:
        yield "Python's headers are missing, which Triton and torch.compile need (python3-dev)"
    runs = facts.get("runs")
    if runs is not None and LEAST_DISK <= runs.free < LOW_DISK:
        yield f"{setup.runs}: {size(runs.free)} free; a checkpoint of a detector takes up to 1 GiB"
    for folder in setup.installed.leftovers:
        yield f"pip was interrupted and left {folder} behind, which can be removed"
    if not setup.installed.compared:
        yield "versions were not compared with what packages require: no pip, no packaging"
    processors = facts.get("processors")
    if processors is not None and processors[3] is not None and processors[3] < processors[2]:
        yield f"the container may use {processors[3]:g} of {processors[2]} processors"
    for name, fact in facts.items():
        if fact is None:
            yield f"not known, there was no answer in time: {name}"
