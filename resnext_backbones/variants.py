"""One table has the named networks."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from resnext_backbones.models.architecture import Architecture, unseen_differences
from resnext_backbones.models.options import DEPTHS
from resnext_backbones.models.regnet import nine_tenths, regnet


def _row(depth: int, cardinality: int, base_width: int, **more: Any) -> Architecture:
    return Architecture(
        blocks=DEPTHS[depth], cardinality=cardinality, base_width=base_width, **more
    )


D: dict[str, Any] = {"stem": "deep", "shortcut": "pooled"}
T: dict[str, Any] = {"stem": "tiered", "shortcut": "pooled"}
TS: dict[str, Any] = {
    "cardinality": 2,
    "base_width": 32,
    "stage_groups": (2, 4, 8, 16),
    "stem": "tiered",
    "activation": "SiLU",
    "attention_after": 2,
}
BOT = TS | {"cardinality": 4, "base_width": 16, "stage_groups": (4, 8, 16, 32)}
"""timm's names say these with letters; its `t` networks pool in their shortcuts as well."""


def _regnet(
    depth: int, w_0: int, w_a: float, w_m: float, group_width: int, **more: Any
) -> Architecture:
    return regnet(depth=depth, w_0=w_0, w_a=w_a, w_m=w_m, group_width=group_width, **more)


Y: dict[str, Any] = {"attention": "SE4"}
TV: dict[str, Any] = {"fit": nine_tenths}
"""RegNets with attention, and those that torchvision rounds to other widths than all others."""


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
    "eca_botnext26ts_256": _row(26, **BOT, attention="ECA", spatial="BoT"),
    "regnetx_002": _regnet(13, 24, 36.44, 2.49, 8),  # [10], this and all below
    "regnetx_004": _regnet(22, 24, 24.48, 2.54, 16),
    "regnetx_004_tv": _regnet(22, 24, 24.48, 2.54, 16, **TV),  # [3]
    "regnetx_006": _regnet(16, 48, 36.97, 2.24, 24),
    "regnetx_008": _regnet(16, 56, 35.73, 2.28, 16),
    "regnetx_016": _regnet(18, 80, 34.01, 2.25, 24),
    "regnetx_032": _regnet(25, 88, 26.31, 2.25, 48),
    "regnetx_040": _regnet(23, 96, 38.65, 2.43, 40),
    "regnetx_064": _regnet(17, 184, 60.83, 2.07, 56),
    "regnetx_080": _regnet(23, 80, 49.56, 2.88, 120),
    "regnetx_120": _regnet(19, 168, 73.36, 2.37, 112),
    "regnetx_160": _regnet(22, 216, 55.59, 2.1, 128),
    "regnetx_320": _regnet(23, 320, 69.86, 2.0, 168),
    "regnety_002": _regnet(13, 24, 36.44, 2.49, 8, **Y),
    "regnety_004": _regnet(16, 48, 27.89, 2.09, 8, **Y),
    "regnety_006": _regnet(15, 48, 32.54, 2.32, 16, **Y),
    "regnety_008": _regnet(14, 56, 38.84, 2.4, 16, **Y),
    "regnety_008_tv": _regnet(14, 56, 38.84, 2.4, 16, **Y, **TV),  # [3]
    "regnety_016": _regnet(27, 48, 20.71, 2.65, 24, **Y),
    "regnety_032": _regnet(21, 80, 42.63, 2.66, 24, **Y),
    "regnety_040": _regnet(22, 96, 31.41, 2.24, 64, **Y),
    "regnety_064": _regnet(25, 112, 33.22, 2.27, 72, **Y),
    "regnety_080": _regnet(17, 192, 76.82, 2.19, 56, **Y),
    "regnety_080_tv": _regnet(17, 192, 76.82, 2.19, 56, **Y, **TV),  # [3]
    "regnety_120": _regnet(19, 168, 73.36, 2.37, 112, **Y),
    "regnety_160": _regnet(18, 200, 106.23, 2.48, 112, **Y),
    "regnety_320": _regnet(20, 232, 115.89, 2.53, 232, **Y),
    "regnety_1280": _regnet(27, 456, 160.83, 2.52, 264, **Y),  # [3]
}

SETTLED = {"blocks", "cardinality", "base_width", "stage_groups", "stage_channels"}
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


def names_of(found: Architecture) -> list[str]:
    """Returns the names of an architecture; there may be several where the upper stages are not
    known, and of networks that differ in what no tensor shows (`UNSEEN`), which is not looked at,
    nor are the channels of the images.
    """
    return [name for name, values in _unlike(found).items() if not values]


def describe(found: Architecture) -> str:
    """Returns the names of an architecture, or how it differs from the nearest row."""
    if names := names_of(found):
        return " or ".join(names)
    unlike = _unlike(found)
    alike = {n: values for n, values in unlike.items() if not SETTLED & values.keys()}
    if alike:
        name = min(alike, key=lambda n: len(alike[n]))
        return f"{name} with {_listing(alike[name])}"
    blocks = "-".join(map(str, found.blocks))
    plain = Architecture(cardinality=found.cardinality, base_width=found.base_width)
    more = _differences(plain, found)
    network = f"a {found.cardinality}x{found.base_width}d network of {blocks} blocks"
    return f"{network} with {_listing(more)}" if more else network


def _unlike(found: Architecture) -> dict[str, dict[str, Any]]:
    """Returns in what an architecture differs from each row whose stages have as many blocks."""
    n = len(found.blocks)
    rows = {name: row for name, row in VARIANTS.items() if row.blocks[:n] == found.blocks}
    return {name: _differences(row.of_stages(n), found) for name, row in rows.items()}


def _differences(row: Architecture, found: Architecture) -> dict[str, Any]:
    """Returns the fields in which they differ, but for the blocks, with the values of `found`."""
    left_out = {"blocks", "in_channels", *unseen_differences(row, found)}
    names = [field.name for field in fields(Architecture) if field.name not in left_out]
    return {n: getattr(found, n) for n in names if getattr(found, n) != getattr(row, n)}


def _listing(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
