"""The named networks: one table, and the functions that build by name."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from resnext_backbones.models import ResNeXt, ResNeXtClassifier
from resnext_backbones.models.options import DEPTHS


@dataclass(frozen=True)
class Variant:
    """What a name stands for: depth, cardinality C, base width d (as in "C x d"), and the stem."""

    depth: int
    cardinality: int
    base_width: int
    small_images: bool = False


# Sources: [1] Xie et al. (2017), Tables 1, 3 and 4; [2] Mahajan et al. (2018), arXiv:1805.00932;
# [3] torchvision; [4] Detectron2's model zoo; [5] MMPretrain; [6] He et al. (2016), Table 1;
# [7] Zagoruyko and Komodakis (2016), as torchvision has it: twice the bottleneck width;
# [8] by the rule of [1], with no published weights.
VARIANTS: dict[str, Variant] = {
    "resnext26_32x4d": Variant(26, 32, 4),  # [8]
    "resnext50_32x4d": Variant(50, 32, 4),  # [1]
    "resnext50_32x8d": Variant(50, 32, 8),  # [8]
    "resnext101_32x4d": Variant(101, 32, 4),  # [1]
    "resnext101_32x8d": Variant(101, 32, 8),  # [2, 3]
    "resnext101_64x4d": Variant(101, 64, 4),  # [1]
    "resnext101_32x16d": Variant(101, 32, 16),  # [2]
    "resnext101_32x32d": Variant(101, 32, 32),  # [2]
    "resnext101_32x48d": Variant(101, 32, 48),  # [2]
    "resnext152_32x4d": Variant(152, 32, 4),  # [5]
    "resnext152_64x4d": Variant(152, 64, 4),  # [8]
    "resnext152_32x8d": Variant(152, 32, 8),  # [4]
    "resnext29_8x64d": Variant(29, 8, 64, small_images=True),  # [1], section 5.3
    "resnext29_16x64d": Variant(29, 16, 64, small_images=True),  # [1], section 5.3
    "resnet50": Variant(50, 1, 64),  # [6]
    "resnet101": Variant(101, 1, 64),  # [6]
    "resnet152": Variant(152, 1, 64),  # [6]
    "wide_resnet50_2": Variant(50, 1, 128),  # [7]
    "wide_resnet101_2": Variant(101, 1, 128),  # [7]
}


def list_variants() -> list[str]:
    """The names that `build_backbone` takes, in the table's order."""
    return list(VARIANTS)


def variant_options(name: str) -> dict[str, Any]:
    """The arguments of `ResNeXt` that a name stands for.

    Raises:
        ValueError: the name is not in the table.
    """
    if name not in VARIANTS:
        raise ValueError(f"no variant {name!r}; there are {', '.join(VARIANTS)}")
    return asdict(VARIANTS[name])


def build_backbone(name: str, **options: Any) -> ResNeXt:
    """The trunk of a variant, with random weights.

    Args:
        name: of `list_variants()`.
        options: further arguments of `ResNeXt`.

    Raises:
        ValueError: the name is unknown, an option is out of its range, or it is one that the
            name settles.
    """
    return ResNeXt(**_merge(name, options))


def build_classifier(name: str, *, num_classes: int = 1000, **options: Any) -> ResNeXtClassifier:
    """The classifier of a variant, with random weights; arguments as `build_backbone`'s."""
    return ResNeXtClassifier(num_classes=num_classes, **_merge(name, options))


def _merge(name: str, options: dict[str, Any]) -> dict[str, Any]:
    settled = variant_options(name)
    if clash := sorted(settled.keys() & options.keys()):
        raise ValueError(f"{', '.join(clash)} cannot be given beside the variant {name!r}")
    return settled | options


def variant_name(depth: tuple[int, ...], cardinality: int, base_width: int) -> str:
    """The name of a network, or a description where the table has none.

    Where the upper stages are not known, there may be several.

    Args:
        depth: blocks of each stage, of as many stages as are known.
    """
    names = [
        name
        for name, v in VARIANTS.items()
        if (DEPTHS[v.depth][: len(depth)], v.cardinality, v.base_width)
        == (depth, cardinality, base_width)
    ]
    blocks = "-".join(map(str, depth))
    return " or ".join(names) or f"a {cardinality}x{base_width}d network of {blocks} blocks"
