"""RegNets have names of their own in each library, but in MMDetection, where they are ResNets'."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnext_backbones.weights.templates import Format

if TYPE_CHECKING:
    from resnext_backbones.models.architecture import Architecture


def _regnets(_: Architecture) -> dict[str, Any]:
    """Returns what all RegNets have that no tensor shows; `networks` of `Format`."""
    return {"stem": "3x3/2", "activation": "ReLU", "pooling": "max", "stride_in_1x1": False}


def _rows(block: str, **names: str) -> tuple[tuple[str, str], ...]:
    """Returns rows whose names in blocks begin alike, on this package's side and the other's."""
    own = {
        "conv": "conv{i}.weight",
        "norm": "{kind}{i}.{norm}",
        "attention": "attn.{rest}",
        "reduction": "attn.fc{fc}.{parameter}",
        "shortcut": "downsample.0.weight",
        "shortcut_norm": "downsample.1.{norm}",
    }
    return tuple(
        (f"layer{{stage}}.{{block}}.{own[part]}", f"{block}.{theirs}")
        for part, theirs in names.items()
    )


STAGES = tuple(f"s{stage}." for stage in (1, 2, 3, 4))

REGNET_FORMATS: dict[str, Format] = {
    "torchvision-regnet": Format(
        "torchvision (RegNet)",
        ("stem.0.weight",),
        (
            ("conv1.weight", "stem.0.weight"),
            ("{kind}1.{norm}", "stem.1.{norm}"),
            *_rows(
                "trunk_output.block{stage}.block{stage}-{block}",
                conv="f.{branch}.0.weight",
                norm="f.{branch}.1.{norm}",
                attention="f.se.{rest}",
                shortcut="proj.0.weight",
                shortcut_norm="proj.1.{norm}",
            ),
            ("fc.{parameter}", "fc.{parameter}"),
        ),
        trunk=("stem.", "trunk_output.", "fc."),
        networks=_regnets,
    ),
    "timm-regnet": Format(
        "timm (RegNet)",
        ("stem.conv.weight",),
        (
            ("conv1.weight", "stem.conv.weight"),
            ("{kind}1.{norm}", "stem.bn.{norm}"),
            *_rows(
                "s{stage}.b{nth}",
                conv="conv{i}.conv.weight",
                norm="conv{i}.bn.{norm}",
                attention="se.{rest}",
                shortcut="downsample.conv.weight",
                shortcut_norm="downsample.bn.{norm}",
            ),
            ("fc.{parameter}", "head.fc.{parameter}"),
        ),
        trunk=("stem.", *STAGES, "head."),
        networks=_regnets,
    ),
    # Detectron2's RegNet has the same names, and no head.
    "pycls": Format(
        "pycls",
        ("stem.conv.weight",),
        (
            ("conv1.weight", "stem.conv.weight"),
            ("{kind}1.{norm}", "stem.bn.{norm}"),
            *_rows(
                "s{stage}.b{nth}",
                conv="f.{branch}.weight",
                norm="f.{branch}_bn.{norm}",
                reduction="f.se.f_ex.{module}.{parameter}",
                shortcut="proj.weight",
                shortcut_norm="bn.{norm}",
            ),
            ("fc.{parameter}", "head.fc.{parameter}"),
        ),
        trunk=("stem.", *STAGES, "head."),
        networks=_regnets,
    ),
}
