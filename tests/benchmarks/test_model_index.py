"""What `mim` reads of this package is current, and true of its configs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

pytest.importorskip("mmengine", reason="MMEngine is not installed")
pytest.importorskip("mmdet", reason="MMDetection is not installed")

from benchmarks.model_index import INDEX, text
from resnext_backbones.engine.catalogue import find_config, published_results
from resnext_backbones.engine.config import read_config
from resnext_backbones.weights.registry import REGISTRY

MODELS = {model["Name"]: model for model in yaml.safe_load(text())["Models"]}


def test_the_file_is_current() -> None:
    assert INDEX.read_text(encoding="utf-8") == text(), "python -m benchmarks.model_index"


def test_it_has_every_detector_of_the_zoo_and_its_result() -> None:
    rows = [row for row in published_results() if "/" not in row.config]
    assert len(rows) >= 20
    for row in rows:
        model = MODELS[row.config]
        metrics = {k: v for result in model["Results"] for k, v in result["Metrics"].items()}
        assert metrics == row.metrics
        name = Path(model["Weights"]).name.lower().replace("-", "_")
        assert name.startswith(row.config.partition("_fpn")[0]), "another network's"
        assert ("3x" in name) == ("3x" in row.config), "another schedule's"


def test_a_recipe_has_the_network_of_its_weights() -> None:
    rows = [row for row in published_results() if row.weights]
    recipes = ("a1", "a2", "a3", "paper", "v2")
    assert [row.config for row in rows] == [f"imagenet/{name}" for name in recipes]
    for row in rows:
        published = REGISTRY[row.weights]
        assert read_config(row.config).model.network.variant == row.network == published.variant
        reached = row.metrics.get("top-1") or 100 - row.metrics["top-1 error"]
        assert published.top1 == pytest.approx(reached, abs=0.06)
        model = next(m for m in MODELS.values() if m["Config"] == f"configs/{row.config}.py")
        assert model["Weights"] == published.urls[0]
        assert model["Results"][0]["Metrics"] == {"top-1": published.top1}


def test_every_config_is_there_and_no_name_twice() -> None:
    models = yaml.safe_load(text())["Models"]
    assert len(models) == len(MODELS)
    for model in models:
        assert find_config(model["Config"].removeprefix("configs/").removesuffix(".py"))
        assert model["Weights"].startswith("https://")
