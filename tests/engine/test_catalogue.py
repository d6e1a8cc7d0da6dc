"""What the configs should reach: the file, the README's table and `resnext list --configs`."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnext_backbones.cli import main
from resnext_backbones.engine.catalogue import METRICS, config_names, markdown, published_results

README = Path(__file__).parents[2] / "README.md"


def test_every_result_is_of_a_config_and_has_a_source() -> None:
    rows = published_results()
    assert {row.config for row in rows} <= set(config_names())
    assert len({(row.config, row.network) for row in rows}) == len(rows) >= 38
    for row in rows:
        assert row.metrics, row
        assert row.metrics.keys() <= set(METRICS), row
        assert all(0 < value < 100 for value in row.metrics.values()), row
        assert row.source, row


def test_the_readme_has_the_table() -> None:
    assert markdown() in README.read_text(encoding="utf-8")
    assert "| `mask_rcnn_x101_32x8d_fpn_ms_3x_coco` | 44.3 | 39.5 | 10.3 |" in markdown()


def test_the_list_of_configs(capsys: pytest.CaptureFixture[str]) -> None:
    main(["list", "--configs"])
    lines = capsys.readouterr().out.splitlines()
    for name in config_names():
        own = [line for line in lines if line.split()[0] == name]
        rows = [row for row in published_results() if row.config == name]
        assert len(own) == max(len(rows), 1), name
        assert rows or own[0].endswith("no published result")
        for line, row in zip(own, rows, strict=False):
            assert row.network in line
            assert row.words in line
            assert line.endswith(row.source)
    main(["list", "--configs", "resnext101_32x8d"])
    assert len(capsys.readouterr().out.splitlines()) == sum(
        "resnext101_32x8d" in row.network for row in published_results()
    )
