"""COCO's numbers are printed as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the page of a run takes the names alone
    from rich.table import Table

# MMDetection's names of COCO's metrics, and COCO's own.
COLUMNS = {
    "mAP": "AP",
    "mAP_50": "AP50",
    "mAP_75": "AP75",
    "mAP_s": "APs",
    "mAP_m": "APm",
    "mAP_l": "APl",
}

NOTHING = "no metrics: the detections alone were written, as format_only says\n"


def coco_table(metrics: Mapping[str, Any]) -> str:
    """Returns box and mask AP in percent: at all IoUs, at 0.5 and 0.75, and by object size."""
    from rich.table import Table

    table = Table("", *COLUMNS.values(), title="COCO")
    for label, kind in (("box", "bbox"), ("mask", "segm")):
        values = [metrics.get(f"coco/{kind}_{name}") for name in COLUMNS]
        if any(value is not None for value in values):
            # COCO gives -1 where there is no object of a size.
            table.add_row(label, *("-" if v is None or v < 0 else f"{100 * v:.1f}" for v in values))
    return as_text(table) if table.rows else NOTHING


def as_text(table: Table) -> str:
    """Returns a table as lines of at most 80 characters."""
    from rich.console import Console

    console = Console(width=80)
    with console.capture() as capture:
        console.print(table)
    return capture.get()
