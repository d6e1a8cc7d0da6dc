"""Model cards, read as the Hub reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import drawn
from huggingface_hub import ModelCard

from resnext_backbones import ResNeXt, ResNeXtClassifier, build_backbone
from resnext_backbones.weights import WeightsError
from resnext_backbones.weights.cards import HUB_LICENCES, card_of_network
from resnext_backbones.weights.publishers import NOT_STATED
from resnext_backbones.weights.registry import REGISTRY, row_named

ALIAS = "torchvision/resnext50_32x4d.v2"


def test_every_licence_has_the_hubs_name() -> None:
    licences = {row.source.licence for row in REGISTRY.values()}
    assert licences - {NOT_STATED} == set(HUB_LICENCES)


@pytest.mark.parametrize("cls", [ResNeXt, ResNeXtClassifier])
def test_a_saved_network_has_a_card(cls: type[ResNeXt], tmp_path: Path) -> None:
    drawn(cls).save_pretrained(tmp_path)
    card = ModelCard.load(tmp_path / "README.md")
    tasks = {ResNeXt: "image-feature-extraction", ResNeXtClassifier: "image-classification"}
    assert card.data.pipeline_tag == tasks[cls]
    assert card.data.library_name == "resnext_backbones"
    assert card.data.eval_results is None
    assert f'{cls.__name__}.from_pretrained("OWNER/NAME")' in card.text
    assert "| licence of the weights | not stated |" in card.text


def test_it_says_whose_weights_they_are() -> None:
    row = row_named(ALIAS)
    card = ModelCard(
        card_of_network(build_backbone(row.variant), weights=ALIAS, recipe="v2").content
    )
    assert card.data.license == "bsd-3-clause"
    (result,) = card.data.eval_results
    assert (result.metric_value, result.dataset_name) == (row.top1, "ImageNet-1k")
    for said in (
        "# resnext50_32x4d",
        f"| weights | `{ALIAS}` |",
        f"| pixels, 0 to 255 | {row.source.preprocessing} |",
        f"| source | {row.source.reference} |",
        "| top-1 is of | 224 pixels, bilinear |",
        "| recipe | v2 |",
        "| top-1 | 81.198% on ImageNet-1k |",
    ):
        assert said in card.text, said


def test_of_weights_of_ones_own(tmp_path: Path) -> None:
    card = ModelCard(card_of_network(drawn(), licence="MIT", top1=70.5).content)
    assert card.data.license == "mit"
    assert card.data.eval_results[0].metric_value == 70.5
    with pytest.raises((FileNotFoundError, WeightsError)):
        card_of_network(drawn(), weights=str(tmp_path / "absent.pth"))
