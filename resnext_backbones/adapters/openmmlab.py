"""MMDetection, MMSegmentation and all else that is built on MMEngine get the trunk here.

Importing this module registers `resnext_backbones.ResNeXt`, `RegNet`, `SEResNeXt` and `CSPResNeXt`;
a config does it with `custom_imports = dict(imports=["resnext_backbones.adapters.openmmlab"])`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from resnext_backbones.adapters import openmmlab_csp as _registers  # noqa: F401
from resnext_backbones.adapters.backbone import Backbone, gives_last_alone
from resnext_backbones.adapters.registry import MODELS
from resnext_backbones.models import Architecture
from resnext_backbones.models.options import check_one_of, require, stage_blocks
from resnext_backbones.models.regnet import regnet
from resnext_backbones.variants import architecture_of

DEFAULT_BASE_WIDTH = 4
MMPRETRAIN_GROUPS = 32
STEMS = {"deep_stem": "deep", "small_images": "3x3"}
SHORTCUTS = {None: None, False: "strided", True: "pooled"}
STYLES = {"pytorch": False, "caffe": True}
"""Whether the first 1x1 convolution of a block strides, and not the 3x3 one."""


def _strides_in_1x1(style: str | None) -> bool | None:
    if style is None:
        return None
    check_one_of("style", style, STYLES)
    return STYLES[style]


@MODELS.register_module(name="ResNeXt")
class ResNeXt(Backbone):
    """Takes the arguments of MMDetection's `ResNeXt` by their names, and what is named here.

    MMSegmentation has the same names, and MMPretrain others, which come with its defaults.

    Args:
        depth: 26, 29, 50, 101, 152, or the number of blocks of each stage.
        groups, base_width: cardinality, 1 by default (in MMPretrain's configs 32, as there), and
            channels a group in stage 1. With `groups=1` the default width of 4 builds ResNet, as
            any width does in MMDetection.
        width_per_group: MMPretrain's word for `base_width`. Beside it, as there, `groups` is 32,
            `norm_eval` False and `out_indices` the last stage alone, where they are left out.
        variant: a name of `list_variants()`, in place of depth, groups and base_width.
        style: `pytorch` strides in the 3x3 convolution of a block, `caffe` in the first 1x1; None
            is the variant's, and `pytorch` without one.
        small_images: a 3x3 stem that does not stride.
        attention: of `models.parts.attention.ATTENTION`.
        options: of `Backbone`, and of the trunk, by its names.

    Raises:
        ValueError: an argument is out of its range; the message names it.
    """

    def __init__(
        self,
        depth: int | Sequence[int] | None = None,
        groups: int | None = None,
        base_width: int = DEFAULT_BASE_WIDTH,
        *,
        variant: str | None = None,
        width_per_group: int | None = None,
        in_channels: int = 3,
        stem_channels: int | None = None,
        base_channels: int | None = None,
        num_stages: int = 4,
        style: str | None = None,
        deep_stem: bool | None = None,
        small_images: bool | None = None,
        avg_down: bool | None = None,
        attention: str | None = None,
        **options: Any,
    ) -> None:
        if deep_stem and small_images:
            raise ValueError("deep_stem and small_images are two stems: set one of them")
        stems = {"deep_stem": deep_stem, "small_images": small_images}
        fields = {
            "in_channels": in_channels,
            "base_channels": base_channels,
            "stem": next((STEMS[word] for word, wanted in stems.items() if wanted), None),
            "stem_channels": stem_channels,
            "shortcut": SHORTCUTS[avg_down],
            "stride_in_1x1": _strides_in_1x1(style),
            "attention": attention,
        }
        fields = {name: value for name, value in fields.items() if value is not None}
        if width_per_group is not None:
            alone = base_width == DEFAULT_BASE_WIDTH
            require(alone, "base_width", "left out beside width_per_group", base_width)
            base_width = width_per_group
            options = {"norm_eval": False, "out_indices": (num_stages - 1,), **options}
        if groups is None:
            its_scope = variant is None and gives_last_alone()
            groups = MMPRETRAIN_GROUPS if its_scope or width_per_group is not None else 1
        architecture = _architecture(variant, depth, groups, base_width, fields)
        for word, wanted in stems.items():
            if wanted is False and architecture.stem == STEMS[word]:
                raise ValueError(f"{word}=False cannot be given beside the variant {variant!r}")
        super().__init__(architecture.of_stages(num_stages), **options)


@MODELS.register_module(name="SEResNeXt")
class SEResNeXt(ResNeXt):
    """Takes the arguments of MMPretrain's `SEResNeXt` by their names, as `ResNeXt` does.

    Args:
        se_ratio: 16 alone is taken here.

    Raises:
        ValueError: an argument is out of its range; the message names it.
    """

    def __init__(
        self,
        depth: int | Sequence[int] | None = None,
        groups: int | None = None,
        width_per_group: int | None = None,
        *,
        se_ratio: int = 16,
        **options: Any,
    ) -> None:
        require(se_ratio == 16, "se_ratio", "16", se_ratio)
        if width_per_group is None and options.get("variant") is None:
            width_per_group = DEFAULT_BASE_WIDTH
        options |= {"width_per_group": width_per_group, "attention": "SE"}
        super().__init__(depth, groups, **options)


def _architecture(
    variant: str | None,
    depth: int | Sequence[int] | None,
    groups: int,
    base_width: int,
    fields: dict[str, Any],
) -> Architecture:
    if variant is not None:
        if depth is not None or groups != 1 or base_width != DEFAULT_BASE_WIDTH:
            raise ValueError(
                f"variant {variant!r} stands in place of depth, groups and base_width, got depth="
                f"{depth!r}, groups={groups}, base_width={base_width}; where a config inherits "
                "these, and the weights of another backbone, write _delete_=True among the "
                "arguments of the backbone"
            )
        row, usual = architecture_of(variant), Architecture()
        asked = {"style='caffe'": fields.get("stride_in_1x1", False)}
        asked |= {"avg_down=True": fields.get("shortcut") == "pooled"}
        if row.stage == "csp" and any(asked.values()):
            raise ValueError(
                f"variant {variant!r} has blocks that neither stride nor project: leave out "
                f"{' and '.join(word for word, is_asked in asked.items() if is_asked)}"
            )
        for name in ("stem", "stem_channels", "shortcut"):
            own = getattr(row, name)
            if name in fields and own not in (getattr(usual, name), fields[name]):
                raise ValueError(
                    f"variant {variant!r} has {name}={own!r}, and the arguments beside it ask for "
                    f"{fields[name]!r}: leave them out (deep_stem, small_images, stem_channels, "
                    "avg_down), or name another variant"
                )
        return architecture_of(variant, **fields)
    if depth is None:
        raise ValueError("depth or variant must be given")
    if groups == 1 and base_width == DEFAULT_BASE_WIDTH:
        base_width = fields.get("base_channels", Architecture.base_channels)
    return Architecture(
        blocks=stage_blocks(depth), cardinality=groups, base_width=base_width, **fields
    )


ARCHS = {
    "regnetx_400mf": "regnetx_004",
    "regnetx_800mf": "regnetx_008",
    "regnetx_1.6gf": "regnetx_016",
    "regnetx_3.2gf": "regnetx_032",
    "regnetx_4.0gf": "regnetx_040",
    "regnetx_6.4gf": "regnetx_064",
    "regnetx_8.0gf": "regnetx_080",
    "regnetx_12gf": "regnetx_120",
}
"""MMDetection's names of RegNets, and the variants."""

NUMBERS = {
    "depth": "depth",
    "w0": "w_0",
    "wa": "w_a",
    "wm": "w_m",
    "group_w": "group_width",
    "bot_mul": "bottleneck",
}
"""MMDetection's words for the numbers of a RegNet, and those of `models.regnet.regnet`."""


@MODELS.register_module(name="RegNet")
class RegNet(Backbone):
    """Takes the arguments of MMDetection's `RegNet` by their names, and what is named here.

    MMPretrain has the same names. In its configs `out_indices` is the last stage alone where it is
    left out, and `norm_eval` False.

    Args:
        arch: a name of `ARCHS`, or the numbers in `NUMBERS`, all of them.
        variant: a name of `list_variants()` that is a RegNet's, in place of `arch`.
        style, options: as of `ResNeXt`.
        base_channels, deep_stem: MMDetection takes them and does nothing with them; these values
            alone are taken here.

    Raises:
        ValueError: an argument is out of its range; the message names it.
    """

    def __init__(
        self,
        arch: str | Mapping[str, Any] | None = None,
        *,
        variant: str | None = None,
        in_channels: int = 3,
        stem_channels: int | None = None,
        base_channels: int = 32,
        style: str | None = None,
        deep_stem: bool = False,
        avg_down: bool | None = None,
        **options: Any,
    ) -> None:
        without = "left out: a RegNet has no such part, also where MMDetection takes the word"
        require(base_channels == 32, "base_channels", without, base_channels)
        require(not deep_stem, "deep_stem", without, deep_stem)
        fields: dict[str, Any] = {
            "in_channels": in_channels,
            "stem_channels": stem_channels,
            "shortcut": SHORTCUTS[avg_down],
            "stride_in_1x1": _strides_in_1x1(style),
        }
        fields = {name: value for name, value in fields.items() if value is not None}
        architecture = replace(_regnet(variant, arch), **fields)
        if gives_last_alone():
            options.setdefault("out_indices", (len(architecture.blocks) - 1,))
        super().__init__(architecture, **options)


def _regnet(variant: str | None, arch: str | Mapping[str, Any] | None) -> Architecture:
    """Returns what one of the two describes."""
    if (variant is None) == (arch is None):
        raise ValueError(f"arch or variant must be given, got arch={arch!r}, variant={variant!r}")
    if variant is not None:
        found = architecture_of(variant)
        require(found.stage_channels, "variant", "a RegNet's; take ResNeXt for others", variant)
        return found
    if not isinstance(arch, Mapping):
        check_one_of("arch", arch, ARCHS, f"or numbers by the names {', '.join(NUMBERS)}")
        return architecture_of(ARCHS[str(arch)])
    if arch.keys() != NUMBERS.keys():
        raise ValueError(f"arch must have {', '.join(NUMBERS)}, and nothing else, got {dict(arch)}")
    try:
        return regnet(**{NUMBERS[word]: value for word, value in arch.items()})
    except ValueError as error:
        raise ValueError(f"arch {dict(arch)}: {error}") from error
