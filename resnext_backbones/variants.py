"""One table has the named networks."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from resnext_backbones.models.architecture import UNSEEN, Architecture
from resnext_backbones.models.options import DEPTHS


def _row(depth: int, cardinality: int, base_width: int, **more: Any) -> Architecture:
    return Architecture(
        blocks=DEPTHS[depth], cardinality=cardinality, base_width=base_width, **more
    )


D: dict[str, Any] = {"stem": "deep", "shortcut": "pooled"}
T: dict[str, Any] = {"stem": "tiered", "shortcut": "pooled"}
TS: dict[str, Any] = {
    "cardinality": 2,
    "base_width": 32,
    "fixed_width": True,
    "stem": "tiered",
    "activation": "SiLU",
    "attention_after": 2,
}
"""What timm's names say with these letters; its `t` networks pool in their shortcuts as well."""


# Sources: [1] Xie et al. (2017), Tables 1, 3 and 4; [2] Mahajan et al. (2018), arXiv:1805.00932;
# [3] torchvision; [4] Detectron2's model zoo; [5] MMPretrain; [6] He et al. (2016), Table 1;
# [7] Zagoruyko and Komodakis (2016), as torchvision has it: twice the bottleneck width;
# [8] by the rule of [1], with no published weights; [9] timm: He et al. (2019), Figure 2.
VARIANTS: dict[str, Architecture] = {
    "resnext26_32x4d": _row(26, 32, 4),  # [8]
    "resnext50_32x4d": _row(50, 32, 4),  # [1]
    "resnext50d_32x4d": _row(50, 32, 4, stem="deep", shortcut="pooled"),  # [9]
    "resnext50_32x8d": _row(50, 32, 8),  # [8]
    "resnext101_32x4d": _row(101, 32, 4),  # [1]
    "resnext101_32x8d": _row(101, 32, 8),  # [2, 3]
    "resnext101_64x4d": _row(101, 64, 4),  # [1]
    "resnext101_32x16d": _row(101, 32, 16),  # [2]
    "resnext101_32x32d": _row(101, 32, 32),  # [2]
    "resnext101_32x48d": _row(101, 32, 48),  # [2]
    "resnext152_32x4d": _row(152, 32, 4),  # [5]
    "resnext152_64x4d": _row(152, 64, 4),  # [8]
    "resnext152_32x8d": _row(152, 32, 8),  # [4]
    "resnext29_8x64d": _row(29, 8, 64, stem="3x3"),  # [1], section 5.3
    "resnext29_16x64d": _row(29, 16, 64, stem="3x3"),  # [1], section 5.3
    "resnet50": _row(50, 1, 64),  # [6]
    "resnet101": _row(101, 1, 64),  # [6]
    "resnet152": _row(152, 1, 64),  # [6]
    "wide_resnet50_2": _row(50, 1, 128),  # [7]
    "wide_resnet101_2": _row(101, 1, 128),  # [7]
    "resnext26ts": _row(26, **TS),  # [9], this and all below
    "seresnext26ts": _row(26, **TS, attention="SE"),
    "eca_resnext26ts": _row(26, **TS, attention="ECA"),
    "gcresnext26ts": _row(26, **TS, attention="GC"),
    "gcresnext50ts": _row(50, **TS, attention="GC"),
    "bat_resnext26ts": _row(26, **TS, attention="BAT"),
    "seresnext26d_32x4d": _row(26, 32, 4, **D, attention="SE"),
    "seresnext26t_32x4d": _row(26, 32, 4, **T, attention="SE"),
    "seresnext50_32x4d": _row(50, 32, 4, attention="SE"),
    "seresnext101_32x4d": _row(101, 32, 4, attention="SE"),
    "seresnext101_64x4d": _row(101, 64, 4, attention="SE"),
    "seresnext101_32x8d": _row(101, 32, 8, attention="SE"),
    "seresnext101d_32x8d": _row(101, 32, 8, **D, attention="SE"),
    "seresnextaa101d_32x8d": _row(101, 32, 8, **D, pooling="average", attention="SE"),
    "seresnextaa201d_32x8d": _row(
        201, 32, 8, **D, stem_channels=128, pooling="average", attention="SE"
    ),
    "ecaresnext26t_32x4d": _row(26, 32, 4, **T, attention="ECA"),
    "ecaresnext50t_32x4d": _row(50, 32, 4, **T, attention="ECA"),
    "legacy_seresnext26_32x4d": _row(26, 32, 4, pooling="ceil", attention="SE"),
    "legacy_seresnext50_32x4d": _row(50, 32, 4, pooling="ceil", attention="SE"),
    "legacy_seresnext101_32x4d": _row(101, 32, 4, pooling="ceil", attention="SE"),
    "skresnext50_32x4d": _row(50, 32, 4, spatial="SK"),
    "cspresnext50": Architecture(blocks=(3, 3, 5, 2), stage="csp", activation="LeakyReLU"),
    "eca_botnext26ts_256": _row(
        26, **TS | {"cardinality": 4, "base_width": 16}, attention="ECA", spatial="BoT"
    ),
}

SETTLED = {"blocks", "cardinality", "base_width"}
"""A name says these itself, so that nothing else can say them."""


def list_variants() -> list[str]:
    """Returns the names of the table, in the table's order."""
    return list(VARIANTS)


def architecture_of(name: str, **changes: Any) -> Architecture:
    """Returns the architecture of a name, with fields in which it differs, such as `in_channels`.
    Raises ValueError where the name is not in the table or settles one of the fields, or a value is
    out of its range.
    """
    if name not in VARIANTS:
        raise ValueError(f"no variant {name!r}; there are {', '.join(VARIANTS)}")
    if clash := sorted(SETTLED & changes.keys()):
        raise ValueError(f"{', '.join(clash)} cannot be given beside the variant {name!r}")
    return replace(VARIANTS[name], **changes)


def describe(found: Architecture) -> str:
    """Returns the name of an architecture, or how it differs from the nearest row.

    Where the upper stages are not known there may be several names. The channels of the images are
    not looked at, nor what no tensor shows (`UNSEEN`).
    """
    n = len(found.blocks)
    unlike = {
        name: _differences(replace(row, blocks=found.blocks), found)
        for name, row in VARIANTS.items()
        if row.blocks[:n] == found.blocks
    }
    if names := [name for name, values in unlike.items() if not values]:
        return " or ".join(names)
    alike = {n: values for n, values in unlike.items() if not SETTLED & values.keys()}
    if alike:
        name = min(alike, key=lambda n: len(alike[n]))
        return f"{name} with {_listing(alike[name])}"
    blocks = "-".join(map(str, found.blocks))
    plain = Architecture(cardinality=found.cardinality, base_width=found.base_width)
    more = _differences(plain, found)
    network = f"a {found.cardinality}x{found.base_width}d network of {blocks} blocks"
    return f"{network} with {_listing(more)}" if more else network


def _differences(row: Architecture, found: Architecture) -> dict[str, Any]:
    """Returns the fields in which they differ, but for the blocks, with the values of `found`."""
    left_out = {"blocks", "in_channels", *UNSEEN}
    if len(found.blocks) == 1:
        left_out.add("fixed_width")  # which a second stage shows
    names = [field.name for field in fields(Architecture) if field.name not in left_out]
    return {n: getattr(found, n) for n in names if getattr(found, n) != getattr(row, n)}


def _listing(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
