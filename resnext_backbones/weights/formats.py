"""One table, read in both directions, has the names of tensors in each family of checkpoints.

The names that all others are translated to are this package's own, which are torchvision's. A row
pairs such a name with the family's; what stands in braces is looked up in `templates.FIELDS`. Names
that no row speaks of are the same on both sides in the families that follow torchvision, and have
no counterpart in the others. The first row that fits is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnext_backbones.weights.cross_stage_formats import CROSS_STAGE_FORMATS
from resnext_backbones.weights.regnet_formats import REGNET_FORMATS
from resnext_backbones.weights.templates import BLOCK, Format, prefixed

if TYPE_CHECKING:
    from resnext_backbones.models.architecture import Architecture


HEADS = (
    r"(?:heads?|mlp|mlp_head|classifier|last_linear|logits|linear|aux|aux_classifier|projection_head"
    r"|projector|projection|proj_head|predictor|prediction_head|prototypes|contrastive_head"
    r"|online_classifier|rot_head|criterion|loss)\..*|(?:head_|queue|center).*"
)
"""What self-supervised and other training puts beside a trunk, behind the same prefix."""

FORMATS: dict[str, Format] = {
    # Also the weights of WSL, SWSL and SSL, those of MMDetection with a plain stem, and timm's.
    # It has no deep stem.
    "torchvision": Format(
        "torchvision", ("conv1.weight",), (("stem.{rest}", ""),), follows=True, heads=HEADS
    ),
    # The last norm of timm's deep stem is that of the plain one.
    "timm": Format(
        "timm (deep stem)",
        ("conv1.0.weight",),
        (
            ("stem.7.{norm}", "bn1.{norm}"),
            ("stem.{conv}.weight", "conv1.{conv}.weight"),
            ("stem.{bn}.{norm}", "conv1.{bn}.{norm}"),
        ),
        follows=True,
        heads=HEADS,
    ),
    # timm's networks with selective kernels, in which a block's pairs have names of their own.
    "sk": Format(
        "timm (SK)",
        ("conv1.weight",),
        (
            ("layer{stage}.{block}.conv1.weight", "layer{stage}.{block}.conv1.conv.weight"),
            ("layer{stage}.{block}.bn1.{norm}", "layer{stage}.{block}.conv1.bn.{norm}"),
            ("layer{stage}.{block}.conv3.weight", "layer{stage}.{block}.conv3.conv.weight"),
            ("layer{stage}.{block}.bn3.{norm}", "layer{stage}.{block}.conv3.bn.{norm}"),
        ),
        marks=("layer1.0.conv1.conv.weight",),
        follows=True,
        heads=HEADS,
        networks=lambda _: {
            "stem": "7x7",
            "spatial": "SK",
            "activation": "ReLU",
            "pooling": "max",
            "stride_in_1x1": False,
        },
    ),
    "mmdet": Format("MMDetection (deep stem)", ("stem.0.weight",), follows=True, heads=HEADS),
    # `nn.Sequential(*model.children())` of torchvision's, as self-supervised training has it.
    "sequential": Format(
        "torchvision's children in sequence",
        ("4.0.conv1.weight",),
        (
            ("conv1.weight", "0.weight"),
            ("bn1.{norm}", "1.{norm}"),
            ("layer{stage}.{rest}", "{sequence}.{rest}"),
            ("fc.{parameter}", "9.{parameter}"),
        ),
        trunk=("0.", "1.", "4.", "5.", "6.", "7."),
    ),
    "mmpretrain": Format(
        "MMPretrain",
        ("backbone.conv1.weight", "backbone.stem.0.conv.weight"),
        (
            ("stem.{conv}.weight", "backbone.stem.{index}.conv.weight"),
            ("stem.{bn}.{norm}", "backbone.stem.{index}.bn.{norm}"),
            ("fc.{parameter}", "head.fc.{parameter}"),
            (
                "layer{stage}.{block}.se.fc{fc}.{parameter}",
                "backbone.layer{stage}.{block}.se_layer.conv{fc}.conv.{parameter}",
            ),
            ("{rest}", "backbone.{rest}"),
        ),
        # What tells it from the others whose trunk is called `backbone`.
        marks=(
            "backbone.stem.0.conv.weight",
            "head.fc.weight",
            "backbone.layer1.0.se_layer.conv1.conv.weight",
        ),
        trunk=("backbone.", "head.fc."),
    ),
    "detectron2": Format(
        "Detectron2",
        ("stem.conv1.weight",),
        (
            ("conv1.weight", "stem.conv1.weight"),
            ("{kind}1.{norm}", "stem.conv1.norm.{norm}"),
            *prefixed(
                BLOCK,
                "res{res}.{block}.",
                ("conv{i}.weight", "conv{i}.weight"),
                ("{kind}{i}.{norm}", "conv{i}.norm.{norm}"),
                ("conv2.conv_offset.{parameter}", "conv2_offset.{parameter}"),
                ("downsample.0.weight", "shortcut.weight"),
                ("downsample.1.{norm}", "shortcut.norm.{norm}"),
                # It has no attention of its own; these are this package's names in its stages.
                ("attn.{rest}", "attn.{rest}"),
                ("se.{rest}", "se.{rest}"),
                ("conv2.paths.{rest}", "conv2.paths.{rest}"),
                ("conv2.attn.{rest}", "conv2.attn.{rest}"),
                ("conv2.qkv.{rest}", "conv2.qkv.{rest}"),
                ("conv2.bn.{norm}", "conv2.bn.{norm}"),
                ("conv2.pos_embed.{rest}", "conv2.pos_embed.{rest}"),
            ),
            ("layer{stage}.conv_{rest}", "res{res}.conv_{rest}"),
            ("fc.{parameter}", "linear.{parameter}"),
            # Its own converter takes torchvision's head for a part of the stem.
            ("fc.{parameter}", "stem.fc.{parameter}"),
        ),
        trunk=("stem.", "res2.", "res3.", "res4.", "res5.", "linear."),
    ),
    "caffe2": Format(
        "Caffe2",
        ("conv1_w",),
        (
            ("conv1.weight", "conv1_w"),
            ("gn1.{parameter}", "conv1_gn_{sb}"),
            ("layer{stage}.{block}.conv{i}.weight", "res{res}_{block}_branch2{branch}_w"),
            ("layer{stage}.{block}.gn{i}.{parameter}", "res{res}_{block}_branch2{branch}_gn_{sb}"),
            ("layer{stage}.{block}.downsample.0.weight", "res{res}_{block}_branch1_w"),
            ("bn1.{norm}", "res_conv1_bn_{blob}"),
            ("layer{stage}.{block}.bn{i}.{norm}", "res{res}_{block}_branch2{branch}_bn_{blob}"),
            ("layer{stage}.{block}.downsample.1.{norm}", "res{res}_{block}_branch1_bn_{blob}"),
            ("layer{stage}.{block}.downsample.1.{parameter}", "res{res}_{block}_branch1_gn_{sb}"),
            ("fc.{parameter}", "pred_{wb}"),
            ("fc.{parameter}", "fc1000_{wb}"),
        ),
        trunk=("conv1_", "res_conv1_", "res2_", "res3_", "res4_", "res5_", "pred_", "fc1000_"),
        junk=r".*_momentum",
        fuses_norms=True,
    ),
    # By the place of a module in the authors' network. In a block, 0.0 is the residual branch and
    # 0.1 the shortcut.
    "torch7": Format(
        "Torch7",
        ("4.0.0.0.0.weight",),
        (
            ("conv1.weight", "0.weight"),
            ("bn1.{norm}", "1.{norm}"),
            ("layer{stage}.{block}.conv{i}.weight", "{sequence}.{block}.0.0.{conv}.weight"),
            ("layer{stage}.{block}.bn{i}.{norm}", "{sequence}.{block}.0.0.{bn}.{norm}"),
            ("layer{stage}.{block}.downsample.0.weight", "{sequence}.{block}.0.1.0.weight"),
            ("layer{stage}.{block}.downsample.1.{norm}", "{sequence}.{block}.0.1.1.{norm}"),
            ("fc.{parameter}", "10.{parameter}"),
        ),
        trunk=("0.", "1.", "4.", "5.", "6.", "7.", "10."),
    ),
    # The `ts` networks, which all have SiLU.
    "byobnet": Format(
        "timm (ByobNet)",
        ("stages.0.0.conv1_1x1.conv.weight",),
        (
            ("stem.{conv}.weight", "stem.conv{i}.conv.weight"),
            ("stem.{bn}.{norm}", "stem.conv{i}.bn.{norm}"),
            *prefixed(
                BLOCK,
                "stages.{zero}.{block}.",
                ("conv{i}.weight", "conv{sized}.conv.weight"),
                ("bn{i}.{norm}", "conv{sized}.bn.{norm}"),
                ("downsample.0.weight", "shortcut.conv.weight"),
                ("downsample.1.{norm}", "shortcut.bn.{norm}"),
                ("attn.{rest}", "attn.{rest}"),
                ("conv2.bn.{norm}", "post_attn.{norm}"),
                ("conv2.{rest}", "self_attn.{rest}"),
            ),
            ("fc.{parameter}", "head.fc.{parameter}"),
        ),
        trunk=("stem.", "stages.", "head.fc."),
        networks=lambda found: {
            "stage_groups": [found.cardinality * 2**i for i in range(len(found.blocks))],
            "stage_channels": None,
            "activation": "SiLU",
            "pooling": "max",
            "stride_in_1x1": False,
        },
    ),
    # SENets as Hu et al. (2018) trained them in Caffe, whose pooling has no padding and counts up;
    # without groups they stride in the 1x1 convolution too.
    "legacy": Format(
        "timm (legacy SENets)",
        ("layer0.conv1.weight",),
        (
            ("conv1.weight", "layer0.conv1.weight"),
            ("bn1.{norm}", "layer0.bn1.{norm}"),
            ("layer{stage}.{block}.se.{rest}", "layer{stage}.{block}.se_module.{rest}"),
            ("layer{stage}.{rest}", "layer{stage}.{rest}"),
            ("fc.{parameter}", "last_linear.{parameter}"),
        ),
        trunk=("layer0.", "layer1.", "layer2.", "layer3.", "layer4.", "last_linear."),
        networks=lambda found: {
            "attention": "SE",
            "activation": "ReLU",
            "pooling": "ceil",
            "stride_in_1x1": found.cardinality == 1,
        },
    ),
    # Its norms were `bn` in all places, and later `norm` in some.
    "glasses": Format(
        "glasses",
        ("encoder.stem.0.conv.weight",),
        (
            ("conv1.weight", "encoder.stem.0.conv.weight"),
            ("bn1.{norm}", "encoder.stem.0.bn.{norm}"),
            ("bn1.{norm}", "encoder.stem.0.norm.{norm}"),
            *prefixed(
                BLOCK,
                "encoder.layers.{zero}.{block}.",
                ("conv{i}.weight", "block.{index}.conv.weight"),
                ("bn{i}.{norm}", "block.{index}.bn.{norm}"),
                ("bn{i}.{norm}", "block.{index}.norm.{norm}"),
                ("downsample.0.weight", "shortcut.conv.weight"),
                ("downsample.1.{norm}", "shortcut.bn.{norm}"),
            ),
            ("fc.{parameter}", "head.fc.{parameter}"),
        ),
        trunk=("encoder.", "head.fc."),
    ),
    **CROSS_STAGE_FORMATS,
    **REGNET_FORMATS,
}
"""These families are recognised."""

TARGETS: dict[str, tuple[str, ...]] = {
    "torchvision": ("torchvision-regnet", "torchvision"),
    "timm": ("byobnet", "cspnet", "legacy", "sk", "timm-regnet", "timm"),
    "mmdet": ("mmdet",),
    "mmpretrain": ("mmpretrain-csp", "mmpretrain"),
    "detectron2": ("pycls", "detectron2"),
    "safetensors": ("mmdet",),
}
"""Weights are written for these targets, with the names of the first family that has such networks
(`Format.networks`), or of the last one. A safetensors file has this package's own, which are
MMDetection's for all networks."""


def family_for(to: str, network: Architecture) -> str:
    """Returns the family whose names a network's weights have in a target of `TARGETS`."""
    families = TARGETS[to]
    return next((f for f in families if FORMATS[f].presupposes(network) == network), families[-1])
