"""A diagnosis is text that can be pasted into a bug report, without names of people or machines."""

from __future__ import annotations

import os
import pwd
import re
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from resnext_backbones.reports.doctor.installed import BESIDE, MODULES
from resnext_backbones.reports.doctor.machine_rules import size
from resnext_backbones.reports.doctor.probe import COLLECT_ENV
from resnext_backbones.reports.doctor.setup import OPERATORS, Finding, SetUp

SECRETS = (
    (r"//[^/\s:@]+:[^/\s@]+@", "//***@"),
    (r"\b(hf|ghp|gho|github_pat|glpat|sk)[_-][A-Za-z0-9_-]{16,}", "***"),
    (r"/(home|Users)/[^/\s:'\"]+", r"/\1/USER"),
)
"""What may stand in paths and variables, and what stands there in its place."""

PASTE = "Paste all of this into a bug report; paths are without your home and your name."


def text(setup: SetUp, findings: Sequence[Finding], notes: Sequence[str]) -> str:
    """Returns the diagnosis."""
    count = len(findings)
    head = "all fits" if not count else f"{count} thing{'s do' if count > 1 else ' does'} not fit"
    lines = [f"resnext doctor: {head}", PASTE, ""]
    for number, finding in enumerate(findings, start=1):
        lines += [f"{number}. {finding.what}", *([f"   {finding.mend}"] if finding.mend else [])]
    lines += ["", *(f"- {note}" for note in notes)] if notes else []
    for title, rows in (
        ("versions", _versions(setup)),
        ("operators of mmcv in use", _operators(setup)),
        ("machine", _machine(setup)),
        ("environment", _environment(setup)),
        (COLLECT_ENV, _collected(setup)),
    ):
        lines += ["", f"== {title}", *rows]
    return re.sub(r"\n{3,}", "\n\n", private("\n".join(lines)).strip())


def private(text: str) -> str:
    """Returns a text without this user's home and name, this machine's name, and secrets."""
    home = str(Path.home())
    if home not in ("/", "/root"):
        text = text.replace(home, "~")
    for pattern, instead in SECRETS:
        text = re.sub(pattern, instead, text)
    names = {socket.gethostname(): "HOST"}
    with suppress(KeyError):
        names[pwd.getpwuid(os.getuid()).pw_name] = "USER"
    for name in (os.environ.get("USER"), os.environ.get("LOGNAME")):
        names[name or ""] = "USER"
    for name, instead in names.items():
        if name not in ("", "root", "localhost"):
            text = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", instead, text)
    return text


def _versions(setup: SetUp) -> Iterator[str]:
    from resnext_backbones.engine.provenance import commit

    made_by = ""
    with suppress(OSError):  # there may be no git
        made_by = commit(Path(__file__).parents[3])
    yield _row("resnext_backbones", setup.installed.own_version, made_by and f"commit {made_by}")
    yield _row("Python", sys.version.split()[0], setup.facts.get("surroundings") or "")
    for module, names in MODULES.items():
        packages = setup.installed.of_module(module)
        probe = setup.probes.get(module)
        if not packages and probe is None:
            yield _row(names[0], "not installed")
        for package in packages:
            yield _row(package.name, package.version, _how(setup, module))
        if not packages and probe is not None:
            yield _row(module, probe.version or "?", f"no distribution; {_how(setup, module)}")
    for name in BESIDE:
        if name in setup.installed.packages:
            yield _row(name, setup.installed.packages[name].version)


def _how(setup: SetUp, module: str) -> str:
    probe = setup.probes.get(module)
    if probe is None:
        return "not tried: there was no time" if module in setup.installed.origins else "not found"
    if not probe.works:
        return f"FAILS: {probe.error.splitlines()[0]}"
    cuda = probe.facts.get("cuda", "")
    built = f", for {f'CUDA {cuda}' if cuda else 'the processor'}" if cuda != "" else ""
    same = probe.version in ("", setup.installed.version(module))
    return f"imported{'' if same else f' as {probe.version}'}{built}"


def _row(name: str, *cells: str) -> str:
    return f"{name:24} {'  '.join(f'{cell:14}' for cell in cells)}".rstrip()


def _operators(setup: SetUp) -> Iterator[str]:
    probe = setup.probes.get(OPERATORS)
    if probe is None:
        yield (
            "none: mmcv is not installed" if "mmcv" not in setup.installed.origins else "not known"
        )
    else:
        yield probe.facts["operators"] if probe.works else f"FAILS: {probe.error}"


def _machine(setup: SetUp) -> Iterator[str]:
    facts = setup.facts
    yield _row("system", facts.get("system") or "?")
    if processors := facts.get("processors"):
        name, count, allowed, quota = processors
        limit = f", the container {quota:g}" if quota is not None else ""
        yield _row("processors", f"{name}: {allowed} of {count}{limit}; load {facts['load']:.1f}")
    if memory := facts.get("memory"):
        total, available, most = memory
        limit = f", the container {size(most)}" if most is not None else ""
        yield _row("memory", f"{size(available)} available of {size(total)}{limit}")
    gpus = facts.get("gpus")
    if gpus is not None:
        yield _row("NVIDIA GPUs", str(gpus.cards), *gpus.names)
        if gpus.driver:
            yield _row("NVIDIA driver", f"{gpus.driver}, CUDA up to {gpus.cuda or '?'}")
    for device in setup.fact("torch", "devices") or ():
        memory = f"{device['gigabytes']} GiB"
        yield _row("torch's GPU", device["name"], f"compute {device['capability']}", memory)
    for name in ("shm", "temporary", "runs"):
        if (found := facts.get(name)) is not None:
            shown = {"shm": "/dev/shm", "temporary": "temporary files", "runs": str(setup.runs)}
            yield _row(shown[name], f"{size(found.free)} free of {size(found.total)}")
    if handles := facts.get("handles"):
        yield _row("open files", f"{handles[0]} (at most {handles[1]})")
    yield _row("C++ compiler", facts.get("compiler") or "none")


def _environment(setup: SetUp) -> Iterator[str]:
    for name, value in (setup.facts.get("environment") or {}).items():
        yield f"{name}={value}"


def _collected(setup: SetUp) -> Iterator[str]:
    probe = setup.probes.get(COLLECT_ENV)
    if probe is None:
        yield "torch is not installed"
    elif probe.works:
        yield probe.said
    else:
        yield f"{probe.error}"
