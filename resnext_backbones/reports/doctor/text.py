"""A diagnosis is text that can be pasted into a bug report, without names of people or machines."""

from __future__ import annotations

import os
import platform
import pwd
import re
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from resnext_backbones import __version__
from resnext_backbones.engine.provenance import commit
from resnext_backbones.reports.doctor.installed import MODULES
from resnext_backbones.reports.doctor.probe import COLLECT_ENV, OPERATORS
from resnext_backbones.reports.doctor.rules import Finding, SetUp
from resnext_backbones.reports.units import size

SHOWN = r"RESNEXT_\w+|OMP_\w+|MKL_\w+|KMP_\w+|ONEDNN_\w+|CUDA_\w+|NVIDIA_\w+|NCCL_\w+|TORCH_\w+|\
PYTORCH_\w+|TORCHINDUCTOR_\w+|TRITON_\w+|PYTHON\w+|LD_LIBRARY_PATH|LD_PRELOAD|HF_HOME|\
HF_HUB_OFFLINE|XDG_CACHE_HOME|VIRTUAL_ENV|CONDA_DEFAULT_ENV|TMPDIR|CXX|CC|RANK|WORLD_SIZE|\
LOCAL_RANK|SLURM_JOB_ID"
"""A pattern of environment variables that matter here; the others are nobody's business."""

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
    probes = [setup.probes.get(name) for name in (OPERATORS, COLLECT_ENV)]
    operators, account = (each and (each.error or each.said) for each in probes)
    if probes[0] and not probes[0].error:
        operators = probes[0].facts["operators"]
    sections = {
        "versions": _versions(setup),
        "operators of mmcv in use": [operators or "none: mmcv is not installed, or not tried"],
        "machine": _machine(setup),
        "environment": [
            f"{k}={v}" for k, v in sorted(os.environ.items()) if re.fullmatch(SHOWN, k)
        ],
        COLLECT_ENV: [account or "torch is not installed, or there was no time"],
    }
    for title, rows in sections.items():
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
        if name not in ("", "root", "localhost", *MODULES):
            # In a path, or as USER@HOST; elsewhere it may be a word of its own.
            given = re.escape(name)
            text = re.sub(rf"(?<=[/@=]){given}(?![\w-])|(?<![\w-]){given}(?=@)", instead, text)
    return text


def _versions(setup: SetUp) -> Iterator[str]:
    made_by = ""
    with suppress(OSError):  # there may be no git
        made_by = commit(Path(__file__).parents[3])
    yield _row("resnext_backbones", __version__, made_by and f"commit {made_by}")
    yield _row("Python", sys.version.split()[0], sys.prefix)
    for module, row in MODULES.items():
        brought, probe = setup.installed.of_module(module), setup.probes.get(module)
        for name, version in brought.items():
            yield _row(name, version, _how(setup, module))
        if row.brought_by and not brought:
            there = probe and (module, probe.version or "?", "no distribution", _how(setup, module))
            yield _row(*(there or (row.brought_by[0], "not installed")))


def _how(setup: SetUp, module: str) -> str:
    probe = setup.probes.get(module)
    if probe is None:
        return "not tried: there was no time" if module in setup.installed.origins else "not found"
    if probe.error:
        return f"FAILS: {probe.error.splitlines()[0]}"
    cuda = probe.facts.get("cuda", "")
    built = f", for {f'CUDA {cuda}' if cuda else 'the processor'}" if cuda != "" else ""
    same = probe.version in ("", setup.installed.version(module))
    return f"imported{'' if same else f' as {probe.version}'}{built}"


def _row(name: str, *cells: str) -> str:
    return f"{name:24} {'  '.join(f'{cell:14}' for cell in cells)}".rstrip()


def _machine(setup: SetUp) -> Iterator[str]:
    facts = setup.facts
    yield _row("system", platform.platform())
    for name in ("processors", "load", "memory"):
        yield _row(name, facts.get(name) or "?")
    if gpus := facts.get("gpus"):
        yield _row("NVIDIA GPUs", str(gpus.cards), *gpus.names)
        if gpus.driver:
            yield _row("NVIDIA driver", f"{gpus.driver}, CUDA up to {gpus.cuda or '?'}")
    shown = {"shm": "/dev/shm", "temporary": "temporary files", "runs": str(setup.runs)}
    for name, title in shown.items():
        if found := facts.get(name):
            yield _row(title, f"{size(found.free)} free of {size(found.total)}")
    if handles := facts.get("handles"):
        yield _row("open files", f"{handles[0]} (at most {handles[1]})")
    yield _row("C++ compiler", facts.get("compiler") or "none")
