"""timm, and all that takes its models, gets the networks here.

Importing this module registers `resnext_backbones_VARIANT` for every name of `list_variants()`:
`timm.create_model("resnext_backbones_resnext50_32x4d", pretrained=True)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._features import FeatureGetterNet
from torch import Tensor, nn

from resnext_backbones.adapters.timm_network import READ, TimmResNeXt, checked
from resnext_backbones.adapters.timm_weights import PREFIX, pretrained_cfgs
from resnext_backbones.models.architecture import FIELDS
from resnext_backbones.variants import VARIANTS, architecture_of
from resnext_backbones.weights.checkpoint import Checkpoint
from resnext_backbones.weights.inputs import FIRST, REPEAT, adapted


class TimmFeatures(FeatureGetterNet):
    """Gives the maps of `out_indices` as a list, by the network's `forward_intermediates`.

    Attributes:
        return_layers: which maps are returned, by the modules in `feature_info`, as transformers
            sets it on timm's feature networks; None is those of `out_indices`.
    """

    return_layers: Mapping[str, str] | None = None

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps (N, in_chans, H, W) to a list of (N, num_chs, ceil(H / reduction), ...)."""
        indices = self.out_indices
        if self.return_layers is not None:
            built = self.feature_info.info[: max(indices) + 1]
            indices = [i for i, map_ in enumerate(built) if map_["module"] in self.return_layers]
        return self.model.forward_intermediates(x, indices, intermediates_only=True)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Chooses what the network's own does."""
        self.model.set_grad_checkpointing(enable)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Loads the state dict of these features, or of the network, with its head or without."""
        if strict:
            return self.model.load_state_dict(state_dict, assign=assign)
        return super().load_state_dict(state_dict, strict=False, assign=assign)


def create(variant: str, pretrained: bool = False, **options: Any) -> nn.Module:
    """Returns a network as `timm.create_model` does, with `features_only=True` its `TimmFeatures`.

    Args:
        variant: of `list_variants()`.
        options: of timm's `build_model_with_cfg` and of `TimmResNeXt`, and fields of `Architecture`
            in which the network differs.

    Raises:
        ValueError: an argument is out of its range; the message names it.
        FileNotFoundError, WeightsError: as `TimmResNeXt.load_pretrained`.
    """
    getter = options.pop("feature_cls", None) in (None, "getter", FeatureGetterNet, TimmFeatures)
    if not getter:
        raise ValueError("feature_cls must be 'getter' or left out: others take the network apart")
    # Not `in_channels`, for which timm has a word that it sets itself.
    fields = {name: options.pop(name) for name in FIELDS - {"in_channels"} & options.keys()}
    architecture = architecture_of(variant, **fields)
    overlay = dict(options.pop("pretrained_cfg_overlay", None) or {})
    if overlay.get("file"):  # any source of `load_weights`
        overlay.setdefault("custom_load", True)
    elif overlay.get("hf_hub_id") or overlay.get("url"):  # timm would take a tag's file before them
        overlay["file"] = None
    everything = tuple(range(len(architecture.blocks) + 1))
    if options.get("features_only"):
        options["num_classes"] = 0  # also for weights without a head
    return build_model_with_cfg(
        partial(TimmResNeXt, architecture),
        PREFIX + variant,
        pretrained,
        pretrained_cfg_overlay=overlay,
        feature_cfg={"feature_cls": TimmFeatures, "out_indices": everything},
        pretrained_filter_fn=_adaptable,
        **options,
    )


def _adaptable(state_dict: Mapping[str, Any], network: TimmResNeXt) -> Mapping[str, Any]:
    """Returns what timm has read, checked, for timm to fit to the channels of images and to drop
    the classifier of other classes.
    """
    held = Checkpoint.of(state_dict, source=READ)
    fitted = adapted(held.state, network.architecture, REPEAT, READ)
    head = network.num_classes == network.pretrained_cfg.get("num_classes")
    found = dict(checked(fitted, network, head=head))
    return {**found, **{name: held.state[name] for name in FIRST if name in found}}


default_cfgs = generate_default_cfgs(pretrained_cfgs())


def _register(variant: str) -> None:
    def entry(pretrained: bool = False, **options: Any) -> nn.Module:
        return create(variant, pretrained, **options)

    entry.__name__ = entry.__qualname__ = PREFIX + variant
    entry.__doc__ = f"Returns what `create` does of {variant}."
    globals()[entry.__name__] = register_model(entry)  # which names it in `__all__`


for name in VARIANTS:
    _register(name)
