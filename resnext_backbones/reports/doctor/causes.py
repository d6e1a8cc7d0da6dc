"""A table says what is behind the errors with which imports fail, and what mends it."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from importlib.util import find_spec
from typing import NamedTuple

from resnext_backbones.reports.doctor.installed import MODULES, Installed
from resnext_backbones.reports.doctor.probing import Probe

AGAIN = "{pip} install --force-reinstall --no-deps --no-cache-dir {names}"


class Cause(NamedTuple):
    """Explains an error.

    Attributes:
        pattern: of the error, or of what the module wrote.
        why: in words.
        mend: a command, in which `{pip}`, `{names}` (of the distributions) and the pattern's
            groups by their names stand; "" where there is none.
    """

    pattern: str
    why: str
    mend: str = ""


CAUSES = (
    Cause(
        r"libGL\.so|libgthread|libglib-2\.0|libSM\.so|libXext|libXrender",
        "OpenCV for desktops needs libraries of a display, which servers and containers lack",
        "{pip} uninstall -y opencv-python opencv-python-headless && "
        "{pip} install opencv-python-headless",
    ),
    Cause(
        r"torchvision::\w+ does not exist|Couldn't load custom C\+\+ ops",
        "torchvision was compiled for another torch",
        "{pip} install --upgrade torch torchvision",
    ),
    Cause(
        r"_ARRAY_API not found|compiled using NumPy 1\.x|numpy\.dtype size changed|"
        r"numpy\.core\.multiarray failed to import|numpy\._core",
        "it was compiled for another numpy",
        "{pip} install --upgrade {names}",
    ),
    Cause(
        r"undefined symbol|symbol not found",
        "it was compiled for other versions of what it is linked with",
        AGAIN,
    ),
    Cause(
        r"GLIBCXX_|CXXABI_",
        "another libstdc++ is found than the one it was built with; LD_LIBRARY_PATH or conda's "
        "own may be in front",
        "unset LD_LIBRARY_PATH",
    ),
    Cause(r"GLIBC_2", "the system's C library is older than this wheel needs"),
    Cause(
        r"invalid ELF header|file too short|wrong ELF class|not a dynamic|bad magic|"
        r"cannot read file",
        "a compiled file of it is damaged or of another machine",
        AGAIN,
    ),
    Cause(
        r"lib(cuda(rt)?|cudnn|cublas\w*|nccl|cusparse\w*|cufft|curand|cusolver|nv\w+)\.so"
        r"|ncclComm\w+",
        "CUDA's libraries that belong to it are not found, or others are in front "
        "(LD_LIBRARY_PATH)",
        "{pip} install --force-reinstall --no-cache-dir torch torchvision",
    ),
    Cause(
        r"(?P<file>[\w.+-]+\.so[.\d]*): cannot open shared object file",
        "the system lacks the library {file}",
    ),
    Cause(
        r"cannot import name .* from 'huggingface_hub|huggingface[-_]hub\S* is required",
        "huggingface_hub is too old or too new for it",
        "{pip} install --upgrade transformers huggingface_hub",
    ),
    Cause(
        r"circular import|partially initialized module",
        "a file beside yours may have its name, and be imported in its place",
    ),
    Cause(r"SIGILL", "this processor lacks instructions that it was compiled with", AGAIN),
    Cause(r"SIGKILL", "the system ended it, which it does where memory runs out"),
    Cause(r"SIGBUS", "a file was cut off, or a disk or /dev/shm is full", AGAIN),
    Cause(
        r"SIGSEGV|SIGABRT",
        "a compiled part of it crashed: it may be for other versions of torch, numpy or Python",
        AGAIN,
    ),
)
"""The first one whose pattern is found explains an error."""


def pip() -> str:
    """Returns the command that installs into this very environment."""
    python = shlex.quote(sys.executable)
    if find_spec("pip") is not None:
        return f"{python} -m pip"
    if shutil.which("uv"):
        return f"VIRTUAL_ENV={shlex.quote(sys.prefix)} uv pip"
    return f"{python} -m ensurepip && {python} -m pip"


def explanation(probe: Probe, installed: Installed) -> tuple[str, str]:
    """Returns why a module cannot be imported, and the command that mends it; "" where none is
    known.
    """
    own, missing = (each.partition(".")[0] for each in (probe.name, probe.missing))
    brought = installed.of_module(probe.name)
    fields = {"pip": pip(), "names": " ".join(brought) or own}
    if missing == own:
        return "a part of it is not there", AGAIN.format_map(fields)
    if missing:
        known = MODULES[missing].brought_by if missing in MODULES else (missing,)
        return f"it needs {probe.missing}", f"{pip()} install {known[0]}"
    if probe.hangs:
        return "", ""
    for text in (probe.error, probe.said):
        for cause in CAUSES:
            if found := re.search(cause.pattern, text):
                fields |= found.groupdict()
                return cause.why.format_map(fields), cause.mend.format_map(fields)
    return "", AGAIN.format_map(fields) if brought else ""


def place(said: str) -> str:
    """Returns where Python was as it crashed or hung, as faulthandler wrote it; "" where it did
    not.
    """
    stack = said.partition("most recent call first")[2]
    for file, line, function in re.findall(r'File "(.+)", line (\d+) in (\S+)', stack):
        if not re.search(r"^<frozen|/doctor/probe\.py$|/threading\.py$", file):
            return f"{file}:{line} in {function}"
    return ""
