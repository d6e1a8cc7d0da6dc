"""Networks of cross stages have names of their own in timm, and others in MMPretrain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnext_backbones.weights.templates import BLOCK, Format, prefixed

if TYPE_CHECKING:
    from resnext_backbones.models.architecture import Architecture


def _cross_stages(_: Architecture) -> dict[str, Any]:
    """Returns what all of them have that no tensor shows; `networks` of `Format`."""
    return {
        "stem": "7x7",
        "stage": "csp",
        "shortcut": "strided",
        "activation": "LeakyReLU",
        "pooling": "max",
        "stride_in_1x1": False,
    }


CROSS_STAGE_FORMATS: dict[str, Format] = {
    "cspnet": Format(
        "timm (CspNet)",
        ("stem.conv1.conv.weight",),
        (
            ("conv1.weight", "stem.conv1.conv.weight"),
            ("bn1.{norm}", "stem.conv1.bn.{norm}"),
            *prefixed(
                BLOCK,
                "stages.{zero}.blocks.{block}.",
                ("conv{i}.weight", "conv{i}.conv.weight"),
                ("bn{i}.{norm}", "conv{i}.bn.{norm}"),
            ),
            ("layer{stage}.conv_{rest}", "stages.{zero}.conv_{rest}"),
            ("fc.{parameter}", "head.fc.{parameter}"),
        ),
        marks=("stages.0.conv_exp.conv.weight",),
        trunk=("stem.", "stages.", "head.fc."),
        networks=_cross_stages,
    ),
    "mmpretrain-csp": Format(
        "MMPretrain (CSPNet)",
        ("backbone.stem.0.conv.weight",),
        (
            ("conv1.weight", "backbone.stem.0.conv.weight"),
            ("bn1.{norm}", "backbone.stem.0.bn.{norm}"),
            *prefixed(
                BLOCK,
                "backbone.stages.{zero}.blocks.{block}.",
                ("conv{i}.weight", "conv{i}.weight"),
                ("bn{i}.{norm}", "bn{i}.{norm}"),
            ),
            *prefixed(
                "layer{stage}.conv_",
                "backbone.stages.{zero}.",
                ("down.{rest}", "downsample_conv.{rest}"),
                ("exp.{rest}", "expand_conv.{rest}"),
                ("transition_b.{rest}", "atfer_blocks_conv.{rest}"),
                ("transition.{rest}", "final_conv.{rest}"),
            ),
            ("fc.{parameter}", "head.fc.{parameter}"),
        ),
        marks=("backbone.stages.0.expand_conv.conv.weight",),
        trunk=("backbone.", "head.fc."),
        networks=_cross_stages,
    ),
}
"""Merged into `formats.FORMATS`; the activation of all is a leaky ReLU."""
