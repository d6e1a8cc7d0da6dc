"""A table says in which way each pass of a convolution is computed, and what that gains."""

from __future__ import annotations

from collections.abc import Sequence

from resnext_backbones.compute.calls import PLAIN
from resnext_backbones.compute.tables import PASSES, UNKNOWN, Table
from resnext_backbones.compute.tuning import Measured
from resnext_backbones.reports.units import columns

HEAD = ("weight", "stride", "groups", "pixels", *(name.replace("_", " ") for name in PASSES))


def ways_table(table: Table, measured: Sequence[Measured] = ()) -> str:
    """Returns a line for each layer and number of pixels, and one of headings above.

    A way that was measured now says in how much less time than the plain one it computes; a pass
    that was not measured has a dash.
    """
    shares = {(each.layer, each.pixels): each.shares for each in measured}
    lines = [HEAD]
    for layer, rows in table.items():
        geometry = layer.geometry
        for pixels, ways in rows.items():
            known = shares.get((layer, pixels))
            cells = [
                _cell(way, (known or {}).get(name)) for name, way in zip(PASSES, ways, strict=True)
            ]
            weight = " x ".join(map(str, layer.weight))
            stride = " x ".join(map(str, geometry.stride))
            lines.append((weight, stride, str(geometry.groups), str(pixels), *cells))
    return "\n".join(columns(lines))


def _cell(way: str, share: float | None) -> str:
    """Returns a way, and its gain where it is known."""
    if way == UNKNOWN:
        return "-"
    if way == PLAIN or share is None:
        return way
    return f"{way} -{1 - share:.0%}"
