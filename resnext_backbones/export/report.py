"""Says what was written, and how it compares with PyTorch."""

from __future__ import annotations

import json

from resnext_backbones.export.metadata import UNKNOWN
from resnext_backbones.export.subject import Subject
from resnext_backbones.export.write import Written
from resnext_backbones.reports.units import columns
from resnext_backbones.weights.choose import milliseconds


def lines_of(written: Written, subject: Subject) -> list[str]:
    """Returns a headline and a table with a line for each size."""
    runtime = written.format.runtime
    head = ("images", "error", runtime, "PyTorch")
    rows = [
        (
            " x ".join(map(str, (row.size[0], subject.in_channels, *row.size[1:]))),
            f"{row.error:.1e}",
            milliseconds(row.seconds),
            milliseconds(row.torch_seconds),
        )
        for row in written.rows
    ]
    size = f"{written.bytes / 1e6:.1f} MB"
    top1 = (
        []
        if written.top1 is None or written.torch_top1 is None
        else [f"top-1: {100 * written.top1:.2f} %, of PyTorch {100 * written.torch_top1:.2f} %"]
    )
    return [f"{written.path}: {size}", *top1, *columns([head, *rows], right=(1, 2, 3))]


def said_of(subject: Subject) -> list[str]:
    """Returns what a file says that its user must know, and what is left open."""
    said = json.loads(subject.metadata["preprocessing"])
    pixels = "not known; --pixels says it, and until then nobody can use the file rightly"
    if said != UNKNOWN:
        pixels = f"{said['order']}, mean {said['mean']}, std {said['std']}, from 0 to 255"
    lines = [f"{subject.metadata['variant']}, {subject.metadata['task']}", f"pixels: {pixels}"]
    if subject.metadata["task"] == "classifier" and said != UNKNOWN:
        lines.append(f"crop: {said['crop'] or 'not known; --crop says it'}")
    return [*lines, subject.note] if subject.note else lines
