"""Configs of Detectron2's that cannot be read are named."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("detectron2", reason="Detectron2 is not installed")

from detectron2.config import LazyConfig

from resnext_backbones.errors import InputError
from resnext_backbones.tasks.detectron2.experiments import read_experiment

LAZY = "mask_rcnn_fpn_1x"
YAML = "COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml"


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("mask_rcnn_x50_32x4d_fpn_1x", (), "try mask_rcnn_fpn_1x, "),
        ("COCO-Detection/absent.yaml", (), "none in Detectron2's zoo"),
        (LAZY, ("train.max_iter",), "config .*"),
        (LAZY, ("network.variant=resnext101_32x8",), "variant .*_32x8: .*try resnext101_32x8d"),
        (YAML, ("MODEL.DEPTH", "5"), "Non-existent key: MODEL.DEPTH"),
        (YAML, ("MODEL.DEPTH",), "pairs KEY VALUE"),
    ],
)
def test_configs_that_cannot_be_read(name: str, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_experiment(name, overrides)


def test_the_copy_of_a_lazyconfig_is_named(tmp_path: Path) -> None:
    """As a run leaves it in its work directory."""
    LazyConfig.save(read_experiment(LAZY).cfg, str(path := tmp_path / "config.yaml"))
    with pytest.raises(InputError, match=r"config.yaml: is the copy of a LazyConfig, .*made from"):
        read_experiment(str(path))


def test_a_yaml_file_takes_no_other_network() -> None:
    with pytest.raises(InputError, match=r"--variant resnext50_32x4d: a YAML file says .*RESNETS"):
        read_experiment(YAML, variant="resnext50_32x4d")
