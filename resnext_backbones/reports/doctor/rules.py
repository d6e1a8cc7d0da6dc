"""A table of rules says what of a set-up does not fit together, and the command that mends it."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from resnext_backbones.reports.doctor.causes import AGAIN, explanation, pip, place
from resnext_backbones.reports.doctor.installed import MODULES, OPENCV, OWN, Installed
from resnext_backbones.reports.doctor.probe import COLLECT_ENV, OPERATORS
from resnext_backbones.reports.doctor.probing import Probe
from resnext_backbones.reports.units import size

LEAST_SHM, LEAST_DISK, LEAST_HANDLES = 2**30, 2**30, 1024

CPU = "the processor alone"

PAIRS = (("torch", "torchvision"), ("transformers", "huggingface-hub"))
"""Newer versions of these fit one another."""


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

    def broken(self, module: str) -> bool:
        """Tells whether a module is known not to work."""
        return module in self.probes and bool(self.probes[module].error)


def requirements(setup: SetUp) -> Iterator[Finding]:
    """A package is not installed that another one needs, or not in a version that it takes."""
    unmet = setup.installed.unmet
    absent = [each.name for each in unmet if each.by == OWN and not each.found]
    if absent:
        yield Finding(f"not installed: {', '.join(absent)}", f"{pip()} install {' '.join(absent)}")
    if setup.openmmlab:
        what, _, command = setup.openmmlab.partition("; to mend it:\n")
        yield Finding(what, command)
    for each in unmet:
        if each.found or each.by != OWN:
            by = setup.installed.packages.get(each.by)
            found = f"{each.found} is" if each.found else "is not"
            names = [
                f"--upgrade {' '.join(pair)}" for pair in PAIRS if {*pair} == {each.by, each.name}
            ]
            yield Finding(
                f"{each.by}{f' {by.version}' if by else ''} needs {each.requirement}, but "
                f"{each.name} {found} installed",
                f"{pip()} install {(names or [shlex.quote(each.requirement)])[0]}",
            )


def halves(setup: SetUp) -> Iterator[Finding]:
    """A package is installed in part, or twice."""
    for name, (gone, files, one) in setup.installed.absent.items():
        if not (name.startswith("onedl-") and setup.openmmlab):
            version = setup.installed.packages[name].version
            yield Finding(
                f"{name} {version}: {gone} of its {files} files are missing, such as {one}",
                AGAIN.format(pip=pip(), names=f"{name}=={version}"),
            )
    for name, several in setup.installed.doubled.items():
        yield Finding(
            f"{name}: one folder has it as {' and as '.join(several)}",
            f"{pip()} uninstall -y {name} && {pip()} uninstall -y {name} ; {pip()} install {name}",
        )


def opencv(setup: SetUp) -> Iterator[Finding]:
    """Several OpenCVs write the same files, and must be of one version."""
    packages = setup.installed.packages
    found = {name: packages[name].version for name in OPENCV if name in packages}
    if len(set(found.values())) > 1:
        newest = max(found.values(), key=lambda v: [int(n) for n in re.findall(r"\d+", v)])
        yield Finding(
            f"{', '.join(f'{name} {version}' for name, version in found.items())}: they write the "
            "same files, and are of different versions",
            f"{pip()} uninstall -y {' '.join(found)} && "
            f"{pip()} install {' '.join(f'{name}=={newest}' for name in found)}",
        )


def shadowed(setup: SetUp) -> Iterator[Finding]:
    """A module is found elsewhere than where its distribution is, or has no first file."""
    for module, origin in setup.installed.origins.items():
        brought = setup.installed.of_module(module)
        name = module.partition(".")[0]
        if origin is None and MODULES[module].brought_by and not setup.openmmlab:
            again = AGAIN.format(pip=pip(), names=next(iter(brought), ""))
            yield Finding(
                f"{name}: there is a folder of this name without its first file",
                again if brought else "",
            )
        elif origin and setup.installed.shadowed(module):
            paths = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
            on_path = any(Path(origin).is_relative_to(Path(each).absolute()) for each in paths)
            yield Finding(
                f"{name} is imported from {Path(origin).parent}, not from where "
                f"{' '.join(next(iter(brought.items())))} is installed: a folder or file of this "
                "name is in front of it (PYTHONPATH, or the current directory)",
                "unset PYTHONPATH" if on_path else "",
            )


def imports(setup: SetUp) -> Iterator[Finding]:
    """A module is installed, and cannot be imported."""
    told = {each.name for each in setup.installed.unmet if not each.found}
    for name, probe in setup.probes.items():
        row, missing = MODULES[name], MODULES.get(probe.missing.partition(".")[0])
        if (
            not probe.error
            or name == COLLECT_ENV
            or any(map(setup.broken, row.imports))
            or (missing and told & {*missing.brought_by})
            or (setup.openmmlab and row.process == "mmcv")
        ):
            continue
        why, mend = explanation(probe, setup.installed)
        if probe.hangs:
            why = "it hangs, or the disk or the machine is slow: --seconds 60 tells"
        at = place(probe.said)
        reasons = "".join(f"; {each}" for each in (why, at and f"it was at {at}") if each)
        called = f"{name} {setup.installed.version(name)}".strip()
        what = f"{called} cannot be imported: {probe.error}{reasons}"
        yield Finding(what, "" if setup.installed.shadowed(name) else mend)


def builds(setup: SetUp) -> Iterator[Finding]:
    """A package was compiled for another one or another device, and does not fail by itself."""
    if (error := setup.fact("torch", "numpy")) and setup.installed.version("numpy"):
        yield Finding(
            f"torch cannot use numpy {setup.installed.version('numpy')}: {error}",
            f"{pip()} install --upgrade numpy torch torchvision",
        )
    working = all(name in setup.probes and not setup.broken(name) for name in PAIRS[0])
    built = [f"CUDA {cuda}" if (cuda := setup.fact(name, "cuda")) else CPU for name in PAIRS[0]]
    if working and built[0] != built[1] and not setup.fact("torch", "hip"):  # ROCm says neither
        yield Finding(
            f"torch was built for {built[0]}, torchvision for {built[1]}",
            f"{pip()} install --force-reinstall --no-cache-dir torch torchvision",
        )
    if "do not load" in str(setup.fact(OPERATORS, "operators")):
        yield Finding(
            "mmcv's compiled operators are for another torch; this package takes torchvision's in "
            "their place, other programs fail. Without them:",
            AGAIN.format(pip=pip(), names="onedl-mmcv"),
        )


def gpus(setup: SetUp) -> Iterator[Finding]:
    """An NVIDIA GPU is there, and PyTorch cannot use it."""
    gpus, torch = setup.facts.get("gpus"), setup.probes.get("torch")
    if gpus is None or not gpus.cards:
        return
    if gpus.error or not gpus.driver:
        said = f"the driver of the NVIDIA GPU does not answer: {gpus.error}"
        absent = "an NVIDIA GPU is there, and no driver of it (nvidia-smi is not found)"
        mend = "sudo reboot" if "mismatch" in gpus.error else ""
        yield Finding(said if gpus.error else absent, mend)
        return
    if torch is None or torch.error or torch.facts.get("hip"):
        return
    cuda, named = torch.facts["cuda"], ", ".join(gpus.names)
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if cuda is None:
        yield Finding(
            f"torch {torch.version} computes on the processor alone, and there is an NVIDIA GPU "
            f"({named})",
            f"{pip()} uninstall -y torch torchvision && "
            f"{pip()} install --no-cache-dir torch torchvision",
        )
    elif not torch.facts["available"] and gpus.cuda and _major(cuda) > _major(gpus.cuda):
        yield Finding(
            f"the NVIDIA driver {gpus.driver} runs CUDA up to {gpus.cuda}, and torch "
            f"{torch.version} was built for {cuda}: install a newer driver, or a torch that was "
            f"built for CUDA {_major(gpus.cuda)} (pytorch.org has the command)",
        )
    elif not torch.facts["available"] and hidden is not None and hidden.strip() in ("", "-1"):
        yield Finding(
            f"CUDA_VISIBLE_DEVICES={hidden} hides the NVIDIA GPU ({named})",
            "unset CUDA_VISIBLE_DEVICES",
        )
    elif not torch.facts["available"]:
        said = "; ".join(torch.warnings) or "it does not say why"
        yield Finding(f"torch finds no GPU beside an NVIDIA driver ({named}): {said}")
    elif error := torch.facts["gpu_error"]:
        yield Finding(f"torch cannot compute on the GPU ({named}): {error}")


def _major(version: str) -> int:
    return int(version.partition(".")[0])


def room(setup: SetUp) -> Iterator[Finding]:
    """Something is full, too small for a run, or cannot be written to."""
    names = ("shm", "runs", "temporary", "handles")
    shm, runs, temporary, handles = (setup.facts.get(name) for name in names)
    if shm is not None and min(shm.total, shm.free) < LEAST_SHM:
        yield Finding(
            f"/dev/shm has {size(shm.free)} free of {size(shm.total)}, and processes that load "
            "images hand them on there: give the container more (docker run --shm-size=8g), or "
            "load in the process itself with num_workers=0"
        )
    if runs is not None and runs.free < LEAST_DISK:
        yield Finding(f"{setup.runs}: {size(runs.free)} free of {size(runs.total)} for checkpoints")
    if temporary is not None and temporary.free < LEAST_DISK / 10:
        yield Finding(
            f"the folder of temporary files has {size(temporary.free)} free; TMPDIR moves it"
        )
    if handles is not None and 0 <= handles[0] < LEAST_HANDLES:
        yield Finding(
            f"a process may have {handles[0]} files open, and workers share images as files",
            f"ulimit -n {LEAST_HANDLES if handles[1] < 0 else min(4096, handles[1])}",
        )
    for name, trouble in (setup.facts.get("caches") or {}).items():
        yield Finding(f"{name}: {trouble}, so nothing can be kept there", f"export {name}=FOLDER")


RULES: tuple[Callable[[SetUp], Iterator[Finding]], ...] = (
    requirements,
    halves,
    opencv,
    shadowed,
    imports,
    builds,
    gpus,
    room,
)
"""What is mended first stands first."""


def notes(setup: SetUp) -> Iterator[str]:
    """Yields what is good to know, and no fault."""
    if setup.facts.get("compiler") == "":
        yield "no C++ compiler: torch.compile cannot be used on the processor (apt install g++)"
    if setup.facts.get("headers") is False:
        yield "Python's headers are missing, which Triton and torch.compile need (python3-dev)"
    for folder in setup.installed.leftovers:
        yield f"pip was interrupted and left {folder} behind, which can be removed"
    if not setup.installed.compared:
        yield "versions were not compared with what packages require: no pip, no packaging"
    for name, fact in setup.facts.items():
        if fact is None:
            yield f"not known, there was no answer in time: {name}"
