"""Files are written, run and compared, and only then get their names."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from resnext_backbones.engine.checks.outputs import check_folder
from resnext_backbones.errors import InputError, RunError
from resnext_backbones.export.accuracy import Validation, by_torch
from resnext_backbones.export.compare import INT8_LIMIT, Row, Size, compared, sizes_for
from resnext_backbones.export.formats import FORMATS, Format
from resnext_backbones.export.metadata import missing
from resnext_backbones.export.program import program_of
from resnext_backbones.export.quantise import QUANTISERS, Calibration
from resnext_backbones.export.subject import Subject
from resnext_backbones.io import atomic_files
from resnext_backbones.weights.sources import SUFFIXES


@dataclass(frozen=True)
class Written:
    """Says what was written, and what its check showed.

    Attributes:
        bytes: of the file and of those beside it.
        top1, torch_top1: shares of images with labels, of the file and of PyTorch's network; None
            where there were none.
    """

    path: Path
    format: Format
    bytes: int
    rows: list[Row]
    top1: float | None
    torch_top1: float | None


LONGEST = 230
"""Bytes that a file's name may have: file systems take 255, and names on the way are longer."""


def default_out(source: str) -> Path:
    """Returns what a file is called where nobody says it: the last part of its source, without the
    suffix of a file of weights. What else stands behind a dot tells one source from another.
    """
    name = Path(Path(source).name)
    while name.suffix in SUFFIXES:
        name = name.with_suffix("")
    return name


def paths_for(out: Path, formats: Sequence[str], *, overwrite: bool) -> dict[str, Path]:
    """Returns the file of each format: `out` without a suffix of a format, and its own.

    Raises:
        InputError: the runtime is missing, a file is there or cannot be, or `out` is the name of
            another format.
    """
    formats = list(dict.fromkeys(formats))
    base, given = out.name, ""
    for name in sorted(FORMATS, key=lambda name: -len(FORMATS[name].suffix)):
        if base.endswith(suffix := FORMATS[name].suffix):
            base, given = base.removesuffix(suffix), name
            break
    if given and formats != [given]:
        raise InputError(
            f"--out {out}: is a name of {given}, and the formats are {', '.join(formats)}; each "
            f"gets its suffix: --out {out.with_name(base)}"
        )
    if len(os.fsencode(out.name)) > LONGEST:
        raise InputError(f"--out {out}: the name is too long; it may have {LONGEST} bytes")
    check_folder("--out", out.parent)
    if out.is_dir():
        raise InputError(f"--out {out}: is a folder; name the files in it, without a suffix")
    paths = {name: out.with_name(f"{base}{FORMATS[name].suffix}") for name in formats}
    for name, path in paths.items():
        FORMATS[name].writer().check()
        taken = [file for file in FORMATS[name].files(path) if file.exists()]
        if taken and not overwrite:
            raise InputError(f"{taken[-1]}: there is a file already; --overwrite replaces it")
    return paths


def write(
    subject: Subject,
    paths: dict[str, Path],
    *,
    sizes: Sequence[tuple[int, int]] = (),
    int8: Calibration | None = None,
    validation: Validation | None = None,
    done: Callable[[Written], None] = lambda _: None,
) -> list[Written]:
    """Writes a network in each format, and hands to `done` what was written as soon as it is.

    Args:
        sizes: of images, height and width, that are compared beside the usual ones.
        int8: the images with which it is quantised, once it is right in float32.
        validation: images to measure its accuracy with.

    Raises:
        InputError: the network cannot be written in the format.
        RunError: a file does not compute what the network does; it did not get its name.
    """
    wanted = sizes_for(sizes, subject.least)
    before = None if validation is None else validation.top1(by_torch(subject))
    found = []
    for name, path in paths.items():
        with atomic_files(path) as temporary:
            rows = _checked(name, subject, temporary, wanted, int8)
            run = FORMATS[name].writer().load(temporary)
            after = None if validation is None else validation.top1(run)
            size = sum(file.stat().st_size for file in temporary.parent.iterdir())
        found.append(Written(path, FORMATS[name], size, rows, after, before))
        done(found[-1])
    return found


def _checked(
    name: str, subject: Subject, path: Path, sizes: Sequence[Size], int8: Calibration | None
) -> list[Row]:
    """Writes a file that has no name yet, and returns how it compares with PyTorch."""
    writer, runtime = FORMATS[name].writer(), FORMATS[name].runtime
    metadata = {**subject.metadata, "format": name, "precision": "float32"}
    # The program is its own: converters narrow the sizes that one takes.
    writer.write(program_of(subject), subject, path, metadata)
    rows = compared(subject, writer.load(path), sizes, runtime)
    if int8 is not None:
        metadata |= {"precision": "int8", "calibrated_on": str(int8)}
        QUANTISERS[name](path, int8.batches, metadata)
        run = writer.load(path)
        rows = compared(subject, run, sizes, f"{runtime}, int8", int8.draw, INT8_LIMIT)
    if absent := missing(metadata, writer.metadata(path)):
        raise RunError(f"{runtime}: the file does not say {', '.join(absent)}")
    return rows
