"""Rules say what of the installed packages does not fit together."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from resnext_backbones.reports.doctor.failures import (
    AGAIN,
    DEPENDS,
    explanation,
    pip,
    place,
)
from resnext_backbones.reports.doctor.installed import MODULES, OPENCV, OWN, Unmet
from resnext_backbones.reports.doctor.probe import COLLECT_ENV
from resnext_backbones.reports.doctor.setup import OPERATORS, Finding, SetUp

BY_PAIRS = (("torch", "torchvision"), ("transformers", "huggingface-hub"))
"""Newer versions of these fit one another."""


def absent(setup: SetUp) -> Iterator[Finding]:
    """What this package needs is not installed."""
    unmet = [each for each in setup.installed.unmet if each.by == OWN and not each.found]
    names = [each.name for each in unmet]
    if names:
        yield Finding(f"not installed: {', '.join(names)}", f"{pip()} install {' '.join(names)}")


def openmmlab(setup: SetUp) -> Iterator[Finding]:
    """OpenMMLab's own packages are installed, or files of the maintained ones are gone."""
    if setup.openmmlab:
        what, _, command = setup.openmmlab.partition("; to mend it:\n")
        yield Finding(what, command)


def versions(setup: SetUp) -> Iterator[Finding]:
    """A package needs another version of another than there is."""
    unmet = [each for each in setup.installed.unmet if not (each.by == OWN and not each.found)]
    for each in unmet:
        found = f"{each.name} {each.found}" if each.found else f"{each.name} is not installed"
        by = setup.installed.packages.get(each.by)
        name = f"{each.by} {by.version}" if by else each.by
        if each.found:
            found = f"{found} is installed"
        yield Finding(f"{name} needs {each.requirement}, but {found}", _fits(each))


def _fits(unmet: Unmet) -> str:
    for pair in BY_PAIRS:
        if {unmet.by, unmet.name} == set(pair):
            return f"{pip()} install --upgrade {' '.join(pair)}"
    return f"{pip()} install {shlex.quote(unmet.requirement)}"


def halves(setup: SetUp) -> Iterator[Finding]:
    """A package is installed in part, or twice."""
    for name, each in setup.installed.packages.items():
        if each.absent and not (name.startswith("onedl-") and setup.openmmlab):
            yield Finding(
                f"{name} {each.version}: {each.absent} of its {each.files} files are missing, such "
                f"as {each.missing}",
                AGAIN.format(pip=pip(), names=f"{name}=={each.version}"),
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
        listed = ", ".join(f"{name} {version}" for name, version in found.items())
        names = " ".join(found)
        newest = max(
            found.values(), key=lambda v: [int(p) if p.isdigit() else 0 for p in v.split(".")]
        )
        pinned = " ".join(f"{name}=={newest}" for name in found)
        yield Finding(
            f"{listed}: they write the same files, and are of different versions",
            f"{pip()} uninstall -y {names} && {pip()} install {pinned}",
        )


def shadowed(setup: SetUp) -> Iterator[Finding]:
    """A module is found elsewhere than where its distribution is, or has no first file."""
    for module, origin in setup.installed.origins.items():
        brought = setup.installed.of_module(module)
        name = module.partition(".")[0]
        if origin is None and not setup.openmmlab:
            yield Finding(
                f"{name}: there is a folder of this name without its first file",
                AGAIN.format(pip=pip(), names=brought[0].name) if brought else "",
            )
        elif origin is not None and is_shadowed(setup, module):
            yield Finding(
                f"{name} is imported from {Path(origin).parent}, not from where {brought[0].name} "
                f"{brought[0].version} is installed: a folder or file of this name is in front of "
                "it (PYTHONPATH, or the current directory)",
                "unset PYTHONPATH" if _on_pythonpath(origin) else "",
            )


def is_shadowed(setup: SetUp, module: str) -> bool:
    """Tells whether a module is found elsewhere than where its distributions are."""
    origin, brought = setup.installed.origins.get(module), setup.installed.of_module(module)
    if origin is None or not brought or any(each.editable for each in brought):
        return False
    return not any(Path(origin).is_relative_to(each.folder) for each in brought)


def _on_pythonpath(origin: str) -> bool:
    folders = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return any(Path(origin).is_relative_to(Path(folder).absolute()) for folder in folders)


def imports(setup: SetUp) -> Iterator[Finding]:
    """A module is installed, and cannot be imported."""
    for name, probe in setup.probes.items():
        if probe.works or name == COLLECT_ENV or _told(setup, probe.missing):
            continue
        if any(broken(setup, each) for each in DEPENDS.get(name, ())):
            continue
        if setup.openmmlab and name in (OPERATORS, "mmengine", "mmcv", "mmdet"):
            continue
        why, mend = explanation(probe, setup.installed)
        version = setup.installed.version(name)
        at = place(probe.said)
        what = f"{name}{f' {version}' if version else ''} cannot be imported: {probe.error}"
        if probe.hangs:
            load = setup.facts.get("load")
            why = "it hangs, or the disk or the machine is slow: --seconds 60 tells"
            why += f" (load {load:.1f})" if load is not None else ""
        what += "".join(f"; {each}" for each in (why, at and f"it was at {at}") if each)
        yield Finding(what, "" if is_shadowed(setup, name) else mend)


def broken(setup: SetUp, module: str) -> bool:
    """Tells whether a module is known not to work."""
    return module in setup.probes and not setup.probes[module].works


def _told(setup: SetUp, module: str | None) -> bool:
    """Tells whether a module that was not found is one that a rule above has named."""
    names = MODULES.get((module or "").partition(".")[0], ())
    return any(each.name in names and not each.found for each in setup.installed.unmet)


def numpy(setup: SetUp) -> Iterator[Finding]:
    """A module was compiled for numpy 1, and says so without failing."""
    if (error := setup.fact("torch", "numpy")) and setup.installed.version("numpy"):
        yield Finding(
            f"torch cannot use numpy {setup.installed.version('numpy')}: {error}",
            f"{pip()} install --upgrade numpy torch torchvision",
        )


def builds(setup: SetUp) -> Iterator[Finding]:
    """torch and torchvision were built for different devices."""
    if not all(name in setup.probes and setup.probes[name].works for name in BY_PAIRS[0]):
        return
    cuda, theirs = (setup.fact(name, "cuda") for name in BY_PAIRS[0])
    # One with ROCm says neither.
    if cuda != theirs and not setup.fact("torch", "hip"):
        yield Finding(
            f"torch was built for {_device(cuda)}, torchvision for {_device(theirs)}",
            f"{pip()} install --force-reinstall --no-cache-dir torch torchvision",
        )


def _device(cuda: str | None) -> str:
    return f"CUDA {cuda}" if cuda else "the processor alone"


def compiled_operators(setup: SetUp) -> Iterator[Finding]:
    """mmcv has compiled operators that do not load: torchvision's are taken."""
    if "do not load" in str(setup.fact(OPERATORS, "operators")):
        yield Finding(
            "mmcv's compiled operators are for another torch; this package takes torchvision's in "
            "their place, other programs fail. Without them:",
            f"{pip()} install --force-reinstall --no-deps --no-cache-dir onedl-mmcv",
        )
