"""Files are written, run and compared, and only then get their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from resnext_backbones.errors import InputError, RunError
from resnext_backbones.export.compare import Row, compared, sizes_for
from resnext_backbones.export.formats import FORMATS, Format
from resnext_backbones.export.metadata import missing
from resnext_backbones.export.program import program_of
from resnext_backbones.export.subject import Subject
from resnext_backbones.io import atomic_files


@dataclass(frozen=True)
class Written:
    """Says what was written, and what its check showed."""

    path: Path
    format: Format
    bytes: int
    rows: list[Row]


def paths_for(out: Path, formats: Sequence[str], *, overwrite: bool) -> dict[str, Path]:
    """Returns the file of each format: `out` without a suffix of a format, and its own.

    Raises:
        InputError: the runtime is missing, a file is there, or `out` is the name of another format.
    """
    base, given = out.name, ""
    for name in sorted(FORMATS, key=lambda name: -len(FORMATS[name].suffix)):
        suffix = FORMATS[name].suffix
        if base.endswith(suffix):
            base, given = base.removesuffix(suffix), name
            break
    if given and formats != [given]:
        raise InputError(
            f"--out {out}: is a name of {given}, and the formats are {', '.join(formats)}; each "
            f"gets its suffix: --out {out.with_name(base)}"
        )
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
    sizes: Sequence[tuple[int, int]] = (),
    done: Callable[[Written], None] = lambda _: None,
) -> list[Written]:
    """Writes a network in each format, and hands to `done` what was written as soon as it is.

    Args:
        sizes: of images, height and width, that are compared beside the usual ones.

    Raises:
        InputError: the network cannot be written in the format.
        RunError: a file does not compute what the network does; it did not get its name.
    """
    wanted = sizes_for(sizes, subject.least)
    program = program_of(subject)
    found = []
    for name, path in paths.items():
        row = FORMATS[name]
        writer = row.writer()
        with atomic_files(path) as temporary:
            metadata = {**subject.metadata, "format": name, "precision": "float32"}
            writer.write(program, subject, temporary, metadata)
            if absent := missing(metadata, writer.metadata(temporary)):
                raise RunError(f"{path}: the file does not say {', '.join(absent)}")
            rows = compared(subject, writer.load(temporary), wanted, row.runtime)
            size = sum(file.stat().st_size for file in temporary.parent.iterdir())
        found.append(Written(path, row, size, rows))
        done(found[-1])
    return found
