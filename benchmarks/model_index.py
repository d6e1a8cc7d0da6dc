"""OpenMMLab's `mim` finds this package's configs and published weights in model-index.yml.

python -m benchmarks.model_index

writes it, from configs/results.toml, the registry, and the zoo that MMDetection installs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from resnext_backbones.engine.catalogue import Result, joined, published_results
from resnext_backbones.io import atomic_write_text
from resnext_backbones.tasks.mmdetection.zoo import installed_zoo, zoo_rows
from resnext_backbones.weights.registry import REGISTRY

INDEX = Path(__file__).parents[1] / "model-index.yml"
ZOO = "MMDetection's zoo, "
PAPER = "https://arxiv.org/abs/1611.05431"
TASKS = {
    "box AP": ("Object Detection", "COCO"),
    "mask AP": ("Instance Segmentation", "COCO"),
    "top-1": ("Image Classification", "ImageNet-1k"),
}


def index() -> dict[str, Any]:
    """Returns the content of the file: what mim calls models are configs of this package."""
    root = installed_zoo()
    assert root is not None, "MMDetection, whose zoo has the addresses, is not installed"
    zoo = zoo_rows(root)
    collection = {"Name": "ResNeXt", "Paper": PAPER, "README": "README.md"}
    models = [_model(row, address) for row in published_results() for address in _address(row, zoo)]
    return {"Collections": [collection], "Models": models}


def _address(row: Result, zoo: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yields where the weights are that have a result, if they are published: a detector's, or a
    classifier's.
    """
    name = row.source.removeprefix(ZOO)
    # A zoo's files fit MMDetection's configs alone.
    if "/" not in row.config and name in zoo:
        yield zoo[name]["Weights"]
    elif row.weights:
        yield REGISTRY[row.weights].urls[0]


def _model(row: Result, address: str) -> dict[str, Any]:
    own = {"top-1": REGISTRY[row.weights].top1} if row.weights else row.metrics
    metrics: dict[str, float | None] = {**own}
    # A name is that of the file which `mim download` writes.
    name = joined(row.network, Path(row.config).name) if row.weights else row.config
    return {
        "Name": name,
        "In Collection": "ResNeXt",
        "Metadata": {
            "Architecture": [row.network],
            **({"Training Memory (GB)": row.gigabytes} if row.gigabytes else {}),
        },
        "Config": f"configs/{row.config}.py",
        "Weights": address,
        "Results": [
            {"Task": task, "Dataset": data, "Metrics": {metric: metrics[metric]}}
            for metric, (task, data) in TASKS.items()
            if metric in metrics
        ],
    }


def text() -> str:
    """Returns the file."""
    head = "# Written by `python -m benchmarks.model_index`.\n"
    return head + yaml.safe_dump(index(), sort_keys=False, width=1000, allow_unicode=True)


if __name__ == "__main__":
    atomic_write_text(INDEX, text())
