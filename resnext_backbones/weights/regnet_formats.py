"""RegNets have names of their own in each library, but in MMDetection, where they are ResNets'."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnext_backbones.weights.templates import BLOCK, Format, prefixed

if TYPE_CHECKING:
    from resnext_backbones.models.architecture import Architecture


def _regnets(_: Architecture) -> dict[str, Any]:
    """Returns what all RegNets have that no tensor shows; `networks` of `Format`."""
    return {"stem": "3x3/2", "activation": "ReLU", "pooling": "max", "stride_in_1x1": False}


STAGES = tuple(f"s{stage}." for stage in (1, 2, 3, 4))

REGNET_FORMATS: dict[str, Format] = {
    "torchvision-regnet": Format(
        "torchvision (RegNet)",
        ("stem.0.weight",),
        (
            ("conv1.weight", "stem.0.weight"),
            ("{kind}1.{norm}", "stem.1.{norm}"),
            *prefixed(
                BLOCK,
                "trunk_output.block{stage}.block{stage}-{block}.",
                ("conv{i}.weight", "f.{branch}.0.weight"),
                ("{kind}{i}.{norm}", "f.{branch}.1.{norm}"),
                ("attn.{rest}", "f.se.{rest}"),
                ("downsample.0.weight", "proj.0.weight"),
                ("downsample.1.{norm}", "proj.1.{norm}"),
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
            *prefixed(
                BLOCK,
                "s{stage}.b{nth}.",
                ("conv{i}.weight", "conv{i}.conv.weight"),
                ("{kind}{i}.{norm}", "conv{i}.bn.{norm}"),
                ("attn.{rest}", "se.{rest}"),
                ("downsample.0.weight", "downsample.conv.weight"),
                ("downsample.1.{norm}", "downsample.bn.{norm}"),
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
            *prefixed(
                BLOCK,
                "s{stage}.b{nth}.",
                ("conv{i}.weight", "f.{branch}.weight"),
                ("{kind}{i}.{norm}", "f.{branch}_bn.{norm}"),
                ("attn.fc{fc}.{parameter}", "f.se.f_ex.{module}.{parameter}"),
                ("downsample.0.weight", "proj.weight"),
                ("downsample.1.{norm}", "bn.{norm}"),
            ),
            ("fc.{parameter}", "head.fc.{parameter}"),
        ),
        trunk=("stem.", *STAGES, "head."),
        networks=_regnets,
    ),
}
