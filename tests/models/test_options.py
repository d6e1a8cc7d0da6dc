"""Wrong arguments and images, by name."""

from __future__ import annotations

import re

import pytest
import torch
from helpers import drawn, small

GN = {"base_channels": 64, "norm": "GN"}


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"blocks": 18}, ["depth", "18", "50"]),
        ({"blocks": (3, 0)}, ["blocks", "(3, 0)"]),
        ({"blocks": (1, 1, 1, 1, 1)}, ["blocks", "4"]),
        ({"cardinality": 0}, ["cardinality", "0"]),
        ({"cardinality": 2.5}, ["cardinality", "2.5"]),
        ({"base_width": -4}, ["base_width", "-4"]),
        ({"strides": (1, 2)}, ["strides", "(1, 2)"]),
        ({"dilations": (1, 1, 1, 0)}, ["dilations"]),
        ({"dilations": (1, 1, (1, 2, 4), 1)}, ["layer3: dilations", "2 blocks", "(1, 2, 4)"]),
        ({"dilations": (1, 1, (1, 0), 1)}, ["layer3: dilations", "(1, 0)"]),
        (
            {"stage": "csp", "dilations": (1, 1, (1, 2), 1)},
            ["dilations", "one for each stage of blocks that do not stride", "(1, 2)"],
        ),
        ({"out_indices": (0, 4)}, ["out_indices", "(0, 4)", "3"]),
        ({"out_indices": ()}, ["out_indices"]),
        ({"out_indices": (2, 1)}, ["out_indices", "(2, 1)"]),
        ({"frozen_stages": 5}, ["frozen_stages", "5"]),
        ({"cardinality": (8, 8)}, ["cardinality", "(8, 8)"]),
        ({"blocks": None}, ["blocks", "None"]),
        ({"strides": 2}, ["strides", "2"]),
        ({"out_indices": 3}, ["out_indices", "3"]),
        ({"frozen_stages": 1.5}, ["frozen_stages", "1.5"]),
        ({"norm": {"type": "BN"}}, ["norm", "{'type': 'BN'}"]),
        ({"norm": "LayerNorm"}, ["norm", "LayerNorm", "GN"]),
        ({"stem_channels": 12, "norm": "GN"}, ["norm", "12 channels"]),
        ({"stem": "tiered", **GN}, ["the stem 'tiered': norm", "24 channels", "fewer groups"]),
        ({"base_width": 3, **GN}, ["layer1.0: norm", "12 channels"]),
        ({"base_width": 16, "attention": "BAT", **GN}, ["layer1.0: the attention 'BAT' of 256"]),
        ({"drop_path": 1.0}, ["drop_path", "1.0"]),
        ({"drop_path": None}, ["drop_path", "None"]),
        ({"stem": "9x9"}, ["stem", "9x9", "7x7"]),
        ({"shortcut": None}, ["shortcut", "None", "pooled"]),
        ({"attention": "se"}, ["attention", "'se'", "SE"]),
        ({"attention_after": 1}, ["attention_after", "1"]),
    ],
)
def test_wrong_arguments_are_named(options: dict, names: list[str]) -> None:
    with pytest.raises(ValueError, match=re.escape(names[0])) as error:
        drawn(**options)
    for name in names:
        assert name in str(error.value)


@pytest.mark.parametrize(
    ("images", "kind", "message"),
    [
        (torch.zeros(3, 64, 64), ValueError, r"\(N, 3, H, W\).*\(3, 64, 64\)"),
        (torch.zeros(1, 1, 64, 64), ValueError, r"\(1, 1, 64, 64\)"),
        (torch.zeros(1, 3, 31, 64), ValueError, r"at least 32 x 32"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), TypeError, r"uint8"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.float64), TypeError, r"float64.*float32"),
    ],
)
def test_wrong_images_are_named(images: torch.Tensor, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        small()(images)
