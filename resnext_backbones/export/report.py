"""Says what was written, and how it compares with PyTorch."""

from __future__ import annotations

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
    return [f"{written.path}: {size}", *columns([head, *rows], right=(1, 2, 3))]
