"""timm knows published weights as tags behind the name of a network."""

from __future__ import annotations

from typing import Any

from resnext_backbones.models.parts.stems import SHARES, first_stride
from resnext_backbones.variants import VARIANTS
from resnext_backbones.weights.publishers import TRAINED, Crop
from resnext_backbones.weights.registry import REGISTRY, Published

PREFIX = "resnext_backbones_"
"""timm's names of these networks begin so: it takes neither a `/`, nor a `.` but before a tag."""

SMALL = 32
"""Pixels of an image of CIFAR."""


def tag_of(alias: str, variant: str) -> str:
    """Returns timm's own tag of what it publishes, and of all else the family and what tells it
    apart: `torchvision_v2`, `fair_swsl`, `mmpretrain`.
    """
    *family, name = alias.split("/")
    parts = [*family, *name.removeprefix(variant).split(".")[1:]]
    return "_".join(parts[1:] if family == ["timm"] else parts)


def pretrained_cfgs() -> dict[str, dict[str, Any]]:
    """Returns timm's `pretrained_cfg` of every network, and of all weights that it can be given:
    those for RGB pixels, which timm reads, and batch norms.
    """
    found: dict[str, dict[str, Any]] = {}
    for variant in VARIANTS:
        rows = {tag_of(a, variant): r for a, r in REGISTRY.items() if r.variant == variant}
        rows = {t: r for t, r in rows.items() if fits(r)}
        for tag, row in rows.items():
            found[f"{PREFIX}{variant}.{tag}"] = _cfg(variant, row)
        if not rows:
            found[f"{PREFIX}{variant}"] = _cfg(variant)
    return found


def fits(row: Published) -> bool:
    """Returns whether timm's pixels and these networks' norms are those of the weights."""
    return row.source.preprocessing.order == "RGB" and row.source.norms == TRAINED


def _cfg(variant: str, row: Published | None = None) -> dict[str, Any]:
    architecture = VARIANTS[variant]
    stage = first_stride(architecture.stem)
    crop = row.crop if row and row.crop else Crop() if stage > 1 else Crop(SMALL, SMALL)
    last = stage * 2 ** (len(architecture.blocks) - 1)
    cfg: dict[str, Any] = {
        "input_size": (architecture.in_channels, crop.size, crop.size),
        "pool_size": (-(-crop.size // last),) * 2,
        "crop_pct": crop.size / crop.resize,
        "interpolation": crop.interpolation,
        "first_conv": "stem.0" if architecture.stem in SHARES else "conv1",
        "classifier": "fc",
    }
    if row is None:
        return cfg
    mean, std = row.source.preprocessing.unit()
    return cfg | {
        "file": row.alias,
        "custom_load": True,  # by `load_pretrained` of the network
        "mean": tuple(mean),
        "std": tuple(std),
        "num_classes": row.source.classes,
        "license": row.source.licence,
        "origin_url": row.source.reference,
    }
