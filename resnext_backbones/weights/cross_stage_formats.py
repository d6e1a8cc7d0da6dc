"""Networks of cross stages have names of their own in timm, and others in MMPretrain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnext_backbones.weights.templates import Format

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
            (
                "layer{stage}.{block}.conv{i}.weight",
                "stages.{zero}.blocks.{block}.conv{i}.conv.weight",
            ),
            (
                "layer{stage}.{block}.bn{i}.{norm}",
                "stages.{zero}.blocks.{block}.conv{i}.bn.{norm}",
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
            (
                "layer{stage}.{block}.conv{i}.weight",
                "backbone.stages.{zero}.blocks.{block}.conv{i}.weight",
            ),
            (
                "layer{stage}.{block}.bn{i}.{norm}",
                "backbone.stages.{zero}.blocks.{block}.bn{i}.{norm}",
            ),
            ("layer{stage}.conv_down.{rest}", "backbone.stages.{zero}.downsample_conv.{rest}"),
            ("layer{stage}.conv_exp.{rest}", "backbone.stages.{zero}.expand_conv.{rest}"),
            (
                "layer{stage}.conv_transition_b.{rest}",
                "backbone.stages.{zero}.atfer_blocks_conv.{rest}",
            ),
            ("layer{stage}.conv_transition.{rest}", "backbone.stages.{zero}.final_conv.{rest}"),
            ("fc.{parameter}", "head.fc.{parameter}"),
        ),
        marks=("backbone.stages.0.expand_conv.conv.weight",),
        trunk=("backbone.", "head.fc."),
        networks=_cross_stages,
    ),
}
"""Merged into `formats.FORMATS`; the activation of all is a leaky ReLU."""
