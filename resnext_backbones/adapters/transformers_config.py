"""A config of transformers says which trunk its networks are built on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnext_backbones.extras import installation

try:
    from transformers import PretrainedConfig
except ImportError as error:
    raise ImportError(
        f"transformers cannot be imported ({error}): {installation('transformers')}"
    ) from error

try:
    from transformers.backbone_utils import BackboneConfigMixin
except ImportError:  # before 5
    from transformers.utils.backbone_utils import BackboneConfigMixin

from resnext_backbones.build import architecture_and_options
from resnext_backbones.models import ResNeXt
from resnext_backbones.models.architecture import FIELDS, Architecture
from resnext_backbones.models.options import check_one_of, require
from resnext_backbones.models.parts.norms import NORMS

MODEL_TYPE = "resnext_backbones"
"""transformers knows the network by this name; one with "resnet" in it DETR would freeze by its own
names of stages."""

STEM = "stem"
NETWORK = "resnext50_32x4d"
FROZEN = "FrozenBN"

OPTIONS: dict[str, Any] = {
    name: default
    for name, default in (ResNeXt.__init__.__kwdefaults__ or {}).items()
    if name not in ("out_indices", "conv", "conv3x3", "plugins")  # theirs; and no JSON
}
"""Options of the trunk that a config holds, and their defaults."""

DEFAULTS = PretrainedConfig().to_dict()
"""Words of every config of transformers."""

OF_TRANSFORMERS = {
    *DEFAULTS,
    *("architectures", "attn_implementation", "dtype", "model_type", "name_or_path", "num_labels"),
    *("output_attentions", "torch_dtype"),
}
"""All that may stand in a config beside its own words, and so may what begins with "_"."""


class ResNeXtConfig(BackboneConfigMixin, PretrainedConfig):
    """Says which trunk a `ResNeXtBackbone` is, in values that JSON holds.

    Args:
        network: a name of `list_variants()`; None is resnext50_32x4d, or what `blocks` describe.
        architecture: all fields of an `Architecture`, in place of a name; so config.json has it.
        weights: any source of `load_weights`, which the trunk starts from; it then takes RGB
            pixels, also with weights for BGR. A checkpoint that is loaded counts alone.
        out_features, out_indices: of `stage_names`, so 0 is the stem and 1 the first stage;
            without both it is the last stage. Stages above the last one are not built.
        words: options of `ResNeXt` by its names (`OPTIONS`), of which `norm` is a name, and by
            default FrozenBN, or GN where the architecture has group norms; fields of `Architecture`
            in which the network differs; and words of every config of transformers.

    Attributes:
        architecture: whole, as `Architecture.to_dict` gives it.

    Raises:
        ValueError: a word is unknown, or a value out of its range.
    """

    model_type = MODEL_TYPE

    def __init__(
        self,
        *,
        network: str | None = None,
        architecture: Mapping[str, Any] | None = None,
        weights: str | Path | None = None,
        out_features: list[str] | None = None,
        out_indices: list[int] | None = None,
        **words: Any,
    ) -> None:
        fields = {name: words.pop(name) for name in list(words) if name in FIELDS}
        options = {name: words.pop(name, default) for name, default in OPTIONS.items()}
        unknown = [w for w in words if w not in OF_TRANSFORMERS and not w.startswith("_")]
        if unknown:
            raise ValueError(
                f"{', '.join(unknown)}: unknown to ResNeXtConfig, which takes network, "
                f"architecture, weights, out_features, out_indices, {', '.join(OPTIONS)}, and of "
                f"an architecture {', '.join(sorted(FIELDS))}"
            )
        super().__init__(**words)
        given = {"network": network, **fields}
        if architecture is not None:
            both = [name for name, value in given.items() if value is not None]
            require(not both, ", ".join(both), "left out beside architecture", given)
            settled = Architecture.of(architecture)
        else:
            name = NETWORK if network is None and "blocks" not in fields else network
            settled, _ = architecture_and_options(name, fields)
        self.architecture = settled.to_dict()
        self.weights = None if weights is None else str(weights)
        if options["norm"] is None:
            options["norm"] = FROZEN if settled.norm_kind == "batch" else "GN"
        check_one_of("norm", options["norm"], NORMS)
        for name, value in options.items():
            setattr(self, name, list(value) if isinstance(value, tuple) else value)
        self._select(out_features, out_indices)

    def _select(self, features: list[str] | None, indices: list[int] | None) -> None:
        if features is None:
            self.out_indices = indices
            return
        self.out_features = list(features)
        if indices is not None:
            fits = [self.stage_names[i] for i in indices] == self.out_features
            require(fits, "out_indices", f"those of {', '.join(features)}, or left out", indices)

    # dataclasses would compare the fields of the base alone.
    __eq__ = PretrainedConfig.__eq__

    @property
    def depths(self) -> list[int]:
        """Counts the blocks of each stage, by transformers' name."""
        return list(self.architecture["blocks"])

    @property
    def stage_names(self) -> list[str]:
        """Lists the stem and all stages, as `out_features` names them."""
        return [STEM, *(f"stage{i}" for i in range(1, len(self.depths) + 1))]

    @property
    def num_channels(self) -> int:
        """Counts the channels of the images, by transformers' name."""
        return int(self.architecture["in_channels"])

    @classmethod
    def get_config_dict(cls, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns what a file holds, as transformers does; ValueError: it is no such config.

        That of `ResNeXt.save_pretrained` counts stages from another one.
        """
        found, rest = super().get_config_dict(*args, **kwargs)
        if (kind := found.get("model_type")) != MODEL_TYPE:
            raise ValueError(
                f"{args[0]}: its config.json is of model_type {kind!r}, not {MODEL_TYPE!r}; what "
                "ResNeXt.save_pretrained wrote is loaded by ResNeXtConfig(architecture=..., "
                "weights=FOLDER), and the trunk of a detector so, too"
            )
        return found, rest

    def to_dict(self) -> dict[str, Any]:
        """Returns its own words, and those of transformers that are not at their defaults: other
        versions have others.
        """
        found = super().to_dict()
        kept = ("model_type", "transformers_version")
        at_default = {k for k, v in DEFAULTS.items() if k not in kept and found.get(k) == v}
        return {key: value for key, value in found.items() if key not in at_default}

    def build(self) -> ResNeXt:
        """Returns the trunk with new weights; ValueError: an option is out of its range."""
        stages = [self.stage_names.index(n) - 1 for n in self.out_features if n != STEM]
        what = f"at least one of {', '.join(self.stage_names[1:])}"
        require(stages, "out_features", what, self.out_features)
        options = {name: getattr(self, name) for name in OPTIONS}
        return ResNeXt(Architecture.of(self.architecture), out_indices=stages, **options)
