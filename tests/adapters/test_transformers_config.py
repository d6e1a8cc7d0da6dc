"""The config of the trunk in transformers: what it holds and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import SMALL
from torch import nn

pytest.importorskip("transformers", reason="transformers is not installed")

import transformers
from transformers_networks import config, images, words_of

from resnext_backbones.adapters.transformers import ResNeXtBackbone, ResNeXtConfig
from resnext_backbones.adapters.transformers_config import OPTIONS
from resnext_backbones.models.architecture import Architecture
from resnext_backbones.models.freezing import RandomStagesWarning

pytestmark = pytest.mark.usefixtures("quiet_transformers")

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a misspelt word": ({"frozen_stage": 1}, "frozen_stage: unknown to ResNeXtConfig"),
    "a word of the file's name": ({"variant": "x"}, "variant: unknown"),
    "a network": ({"network": "resnext51"}, "no variant 'resnext51'"),
    "a norm that JSON does not hold": ({"norm": nn.BatchNorm2d}, "norm must be one of"),
    "a stage": ({"out_features": ["stage5"]}, "out_features must be a subset"),
    "two stages": (
        {"out_features": ["stage1"], "out_indices": [2]},
        r"out_indices must be those of stage1",
    ),
    "a stage by its number": (
        {"out_features": ["stage4"], "out_indices": [9]},
        r"out_indices must be those of stage4",
    ),
    "two networks": (
        {"architecture": SMALL.to_dict(), "blocks": (1, 1)},
        "blocks must be left out beside architecture",
    ),
    "the stem alone": ({"out_features": ["stem"]}, "out_features must be at least one of stage1"),
    "frozen": ({"frozen_stages": 9}, "frozen_stages must be an integer from -1 to 4, got 9"),
    "recompute": ({"recompute": "all"}, "recompute must be one of"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_is_refused(what: str) -> None:
    words, message = WRONG[what]
    with pytest.raises(ValueError, match=message):
        ResNeXtBackbone(ResNeXtConfig(**words))


def test_a_config_holds_what_it_was_given(tmp_path: Path) -> None:
    words = {"frozen_stages": 1, "recompute": "block", "strides": (1, 2, 2, 1), "drop_path": 0.1}
    first = config(**words, dilations=(1, 1, 1, 2), out_features=["stem", "stage4"])
    first.save_pretrained(tmp_path)
    second = transformers.AutoConfig.from_pretrained(tmp_path)
    assert words_of(second) == words_of(first)
    assert second.to_json_string() == first.to_json_string()
    assert Architecture.of(second.architecture) == SMALL
    assert config(**words) == config(**words) != config(**{**words, "strides": None})
    assert {**words, "strides": [1, 2, 2, 1]}.items() <= json.loads(second.to_json_string()).items()
    with pytest.warns(RandomStagesWarning):
        backbone = transformers.AutoBackbone.from_config(second)
    assert [m.shape[1:] for m in backbone(images()).feature_maps] == [(16, 16, 24), (512, 4, 6)]
    states = backbone(images(), output_hidden_states=True).hidden_states
    assert [s.shape[1] for s in states] == backbone.num_features == [16, 64, 128, 256, 512]
    assert ResNeXtConfig().depths == [3, 4, 6, 3]
    assert ResNeXtConfig(network="resnext101_32x8d", in_channels=4).num_channels == 4
    assert OPTIONS.keys() >= {"frozen_stages", "norm_eval", "recompute", "fold_norm"}
