"""Tables of ways as plain values."""

from __future__ import annotations

import json

import pytest
import torch

from resnext_backbones.compute.calls import MERGED, ONEDNN, PLAIN, PRODUCT, Layer
from resnext_backbones.compute.geometry import Geometry
from resnext_backbones.compute.tables import ALL_PLAIN, UNKNOWN, Ways, from_rows, to_rows

LAST, ROWS = (
    Layer("cpu", torch.float32, last, (8, 12, 1, 1), Geometry((1, 1), (0, 0), (1, 1), 1))
    for last in (True, False)
)
GROUPS = Layer("cpu", torch.float32, True, (128, 4, 3, 3), Geometry((1, 1), (1, 1), (1, 1), 32))


def test_a_table_as_plain_values(monkeypatch) -> None:
    chosen = {
        LAST: {100: Ways(PRODUCT), 10_000: ALL_PLAIN},
        GROUPS: {
            100: Ways(PLAIN, "4 groups as one", UNKNOWN),
            200: Ways(*list(MERGED)[-3:]),
        },
        ROWS: {100: Ways(ONEDNN, ONEDNN, ONEDNN)},
    }
    rows = json.loads(json.dumps(to_rows(chosen)))
    assert from_rows("cpu", rows) == (chosen, [])
    rows[2]["ways"]["forward"] = "a way of tomorrow"
    rows[3]["ways"]["forward"] = PRODUCT  # which is one of other layers
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    changed, unknown = from_rows("cpu", rows)
    assert unknown == ["a way of tomorrow", PRODUCT, *[ONEDNN] * 3]
    grouped, pointwise = list(chosen)[1:]
    assert changed[grouped] == {
        100: Ways(PLAIN, "4 groups as one", UNKNOWN),
        200: Ways(PLAIN, *list(MERGED)[-2:]),
    }
    assert changed[pointwise] == {100: ALL_PLAIN}


@pytest.mark.parametrize(
    "rows",
    [[{}], [3], 3, [{"dtype": "nothing"}], [{"stride": 1}], [{"weight": None}]],
    ids=str,
)
def test_what_is_no_table_is_refused(rows: object) -> None:
    full = to_rows({LAST: {100: ALL_PLAIN}})[0]
    if isinstance(rows, list):
        rows = [{**full, **row} if row and isinstance(row, dict) else row for row in rows]
    with pytest.raises(ValueError, match="no table of ways"):
        from_rows("cpu", rows)  # type: ignore[arg-type]
