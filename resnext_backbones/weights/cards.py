"""A model card says what a file of weights is, in the Hugging Face Hub's format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from resnext_backbones.weights.publishers import (
    APACHE,
    BSD,
    MIT,
    NONCOMMERCIAL,
    SHARE_ALIKE,
)
from resnext_backbones.weights.sources import row_of

PAPER = "[Aggregated Residual Transformations for Deep Neural Networks](https://arxiv.org/abs/1611.05431)"

HUB_LICENCES = {
    APACHE: "apache-2.0",
    BSD: "bsd-3-clause",
    MIT: "mit",
    NONCOMMERCIAL: "cc-by-nc-4.0",
    SHARE_ALIKE: "cc-by-sa-3.0",
}
"""The Hub's names; another licence is only in the text."""

CLASSIFIES, FEATURES = "image-classification", "image-feature-extraction"


def model_card(
    title: str,
    facts: Mapping[str, str],
    loads: str,
    *,
    classifies: bool,
    licence: str = "",
    data_set: str = "",
    top1: float | None = None,
) -> ModelCard:
    """Returns a card with its metadata.

    Args:
        title: of the card, and the model's name in its result.
        facts: names and values of its table.
        loads: lines of Python that load it.
        classifies: it has a head.
        licence: of the weights, as `publishers` has it.
        data_set: that the result is of.
        top1: the accuracy there, in percent; None where none is known.
    """
    results = None
    if top1 is not None:
        results = [
            EvalResult(
                task_type=CLASSIFIES,
                dataset_type=data_set.lower(),
                dataset_name=data_set,
                metric_type="accuracy",
                metric_name="top-1 accuracy, in percent",
                metric_value=top1,
            )
        ]
    data = ModelCardData(
        library_name="resnext_backbones",
        license=HUB_LICENCES.get(licence),
        pipeline_tag=CLASSIFIES if classifies else FEATURES,
        tags=["resnext", FEATURES, "object-detection"],
        model_name=title if results else None,
        eval_results=results,
    )
    rows = {**facts, "licence of the weights": licence or "not stated"}
    if top1 is not None:
        rows["top-1"] = f"{top1:g}% on {data_set}"
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return ModelCard(
        f"---\n{data.to_yaml()}\n---\n\n# {title}\n\nThe network is of {PAPER}.\n\n"
        f"| | |\n| --- | --- |\n{table}\n\n```python\n{loads}\n```\n"
    )


def card_of_network(
    network: Any, *, weights: str = "", licence: str = "", top1: float | None = None, **facts: str
) -> ModelCard:
    """Returns the card of a network that is saved with its arguments.

    Args:
        weights: an alias of `resnext list`, or a file, whose weights these are: its pixels,
            licence, source and accuracy are said. "" where they are one's own.
        licence, top1: of weights of one's own; on ImageNet-1k.
        facts: more rows of the table, such as `recipe`.

    Raises:
        FileNotFoundError, WeightsError: `weights` is no such file or says no pixels.
    """
    # which are built on the networks
    from resnext_backbones.weights.identify import network_name
    from resnext_backbones.weights.recorded import preprocessing_of

    kind = type(network).__name__
    name = network_name(network.state_dict())
    rows = {"network": name, "parameters": f"{sum(p.numel() for p in network.parameters()):,}"}
    if weights:
        rows |= {"weights": f"`{weights}`", "pixels, 0 to 255": str(preprocessing_of(weights))}
        if row := row_of(weights):
            licence, top1 = row.source.licence, row.top1
            rows["source"] = row.source.reference
            if row.crop:
                rows["top-1 is of"] = f"{row.crop.size} pixels, {row.crop.interpolation}"
    return model_card(
        name,
        rows | facts,
        f"from resnext_backbones import {kind}\n\n"
        f'network = {kind}.from_pretrained("OWNER/NAME")  # or a folder',
        classifies=hasattr(network, "fc"),
        licence=licence,
        data_set="ImageNet-1k",
        top1=top1,
    )
