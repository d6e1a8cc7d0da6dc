"""What a checkpoint was evaluated to, in files and on the screen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnext_backbones.io import atomic_write_text


def write_metrics(out: Path, checkpoint: str, metrics: Mapping[str, Any], table: str) -> None:
    """Writes metrics as JSON and their table as text beside it, and prints the table."""
    content = {"checkpoint": str(checkpoint), **metrics}
    atomic_write_text(out, json.dumps(content, indent=2) + "\n")
    atomic_write_text(out.with_suffix(".txt"), table)
    print(table)
