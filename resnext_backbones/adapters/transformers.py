"""transformers' detectors and segmentation networks get the trunk here.

Importing this module registers `ResNeXtConfig` with AutoConfig and `ResNeXtBackbone` with
AutoBackbone: whatever takes a `backbone_config` is built on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resnext_backbones.extras import installation

try:
    from transformers import (
        AutoBackbone,
        AutoConfig,
        PretrainedConfig,
        PreTrainedModel,
        ViTImageProcessor,
    )
except ImportError as error:
    raise ImportError(
        f"transformers cannot be imported ({error}): {installation('transformers')}"
    ) from error

from transformers.modeling_outputs import BackboneOutput
from transformers.utils import SAFE_WEIGHTS_NAME, WEIGHTS_NAME, cached_file

try:
    from transformers.backbone_utils import BackboneConfigMixin, BackboneMixin
except ImportError:  # before 5
    from transformers.utils.backbone_utils import BackboneConfigMixin, BackboneMixin

from resnext_backbones.build import architecture_and_options
from resnext_backbones.models import ResNeXt
from resnext_backbones.models.architecture import FIELDS, Architecture
from resnext_backbones.models.freezing import freeze
from resnext_backbones.models.options import check_one_of, require
from resnext_backbones.models.parts.norms import NORMS
from resnext_backbones.weights import LoadedWeights, WeightsError, load_weights, preprocessing_of
from resnext_backbones.weights.load import check_fit

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

HUB = (
    "cache_dir",
    "force_download",
    "local_files_only",
    "proxies",
    "revision",
    "subfolder",
    "token",
)
"""What says which file of the Hub is meant."""


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


class ResNeXtBackbone(BackboneMixin, PreTrainedModel):
    """Gives the feature maps of `resnext_backbones.ResNeXt` as transformers' backbones do.

    Frozen stages stay frozen however the weights come in, and a file is loaded whole or not at all.

    Attributes:
        trunk: the network; its keys in a state dict begin so.
        loaded_weights: what `weights` of the config held.

    Raises:
        ValueError: an option is out of its range; the message names it.
        FileNotFoundError, WeightsError: as `load_weights`.
    """

    config_class = ResNeXtConfig
    base_model_prefix = "trunk"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    has_attentions = False
    _no_split_modules = ("Bottleneck", "CrossStage")
    _awaits_values = False

    def __init__(self, config: ResNeXtConfig) -> None:
        super().__init__(config)
        if hasattr(self, "_init_backbone"):  # before 5
            self._init_backbone(config)
        architecture = Architecture.of(config.architecture)
        outputs = [architecture.out_channels(i) for i in range(len(architecture.blocks))]
        self.num_features = [architecture.stem_out_channels, *outputs]
        self.trunk = config.build()
        self.loaded_weights: LoadedWeights | None = None
        # `from_pretrained` builds it without memory, and puts a file's tensors in these places.
        self._awaits_values = any(p.is_meta for p in self.trunk.parameters())
        if self._awaits_values:
            self._clear(self.trunk.modules())
        elif config.weights is not None:
            self._load()
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,  # noqa: ARG002
        return_dict: bool | None = None,
    ) -> BackboneOutput | tuple[Any, ...]:
        """Returns the feature maps of `out_features`, and all up to the last as hidden states.

        Args:
            pixel_values: (N, in_channels, H, W), normalised as `pixel_options` has it.
            output_hidden_states: of the stem and each stage; None is the config's.
            output_attentions: there are none.
            return_dict: False returns a tuple; None is the config's.

        Raises:
            ValueError, TypeError: as `ResNeXt.forward`; or a stage of `out_features` is not built.
        """
        x = self.trunk.forward_stem(pixel_values)
        states = {STEM: x}
        for name, stage in zip(self.stage_names[1:], self.trunk.stages, strict=False):
            states[name] = x = stage(x)
        if unbuilt := [name for name in self.out_features if name not in states]:
            raise ValueError(
                f"out_features: {', '.join(unbuilt)} is above the last stage that was built; give "
                "it to the config, before the backbone is built"
            )
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        output = BackboneOutput(
            feature_maps=tuple(states[name] for name in self.out_features),
            hidden_states=tuple(states.values()) if output_hidden_states else None,
        )
        as_dict = self.config.return_dict if return_dict is None else return_dict
        return output if as_dict else output.to_tuple()

    def train(self, mode: bool = True) -> ResNeXtBackbone:
        """Sets the mode; `from_pretrained` does so as soon as a file is loaded, which is looked at
        then, also where the backbone is a detector's. Raises WeightsError, if it was not whole.
        """
        if self._awaits_values and not any(t.is_meta for t in self.trunk.state_dict().values()):
            self._awaits_values = False
            freeze(self.trunk.frozen_modules())  # parameters of a file take gradients
            self._check_values()
        return super().train(mode)

    def _init_weights(self, module: nn.Module) -> None:
        """Clears what a file had no values for, where transformers would draw some."""
        if self._awaits_values:
            self._clear([module])

    @torch.no_grad()
    def _clear(self, modules: Any) -> None:
        for module in modules:
            for tensor in (*module._parameters.values(), *module._buffers.values()):
                known = tensor is None or tensor.is_meta
                if not known and not getattr(tensor, "_is_hf_initialized", False):
                    tensor.fill_(torch.nan if tensor.is_floating_point() else 0)

    def _check_values(self) -> None:
        state = {k: v for k, v in self.trunk.state_dict().items() if v.is_floating_point()}
        absent = [key for key, value in state.items() if not value.isfinite().all()]
        if len(absent) == len(state) and self.config.weights is not None:
            self._load()
        elif absent:
            name = self.config.name_or_path or "that were loaded"
            raise WeightsError(
                f"weights {name}: {len(absent)} of the trunk's {len(state)} tensors are missing, "
                f"of another shape, or not finite: {', '.join(absent[:5])}"
                + (", ..." if len(absent) > 5 else "")
                + ". A trunk that a file has nothing of starts from `weights` of its config."
            )

    @torch.no_grad()
    def _load(self) -> None:
        self.loaded_weights = load_weights(self.trunk, self.config.weights)
        with suppress(WeightsError):  # which says that its pixels are not known
            if preprocessing_of(self.config.weights).order == "BGR":
                first = next(m for m in self.trunk.modules() if isinstance(m, nn.Conv2d))
                first.weight.copy_(first.weight.flip(1))

    @classmethod
    def from_pretrained(cls, source: str | Path | None, *args: Any, **kwargs: Any) -> Any:
        """Returns what `save_pretrained` wrote, in eval mode: arguments are transformers'.

        Raises:
            WeightsError: a file does not fit, as of `load_weights`.
        """
        if source is not None:
            config = kwargs.get("config")
            if not isinstance(config, ResNeXtConfig):
                words = {key: value for key, value in kwargs.items() if key != "config"}
                config = ResNeXtConfig.from_pretrained(
                    source if config is None else config, return_unused_kwargs=True, **words
                )[0]
            with torch.device("meta"):
                trunk = config.build()
            check_fit(trunk, _file(source, **kwargs))
        return super().from_pretrained(source, *args, **kwargs)

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """Writes config.json and model.safetensors, and where the pixels of its weights are known,
        preprocessor_config.json for AutoImageProcessor.
        """
        if self.loaded_weights is not None and kwargs.get("is_main_process", True):
            with suppress(WeightsError):
                pixels = pixel_options(self.config.weights)
                ViTImageProcessor(do_resize=False, **pixels).save_pretrained(save_directory)
        super().save_pretrained(save_directory, *args, **kwargs)


def pixel_options(source: str | Path) -> dict[str, list[float]]:
    """Returns `image_mean` and `image_std` for transformers' image processors.

    They are in the order RGB, as these processors' images are: where weights expect BGR, `weights`
    of a config turns the trunk's first convolution round.

    Raises:
        FileNotFoundError, WeightsError: as `preprocessing_of`.
    """
    pixels = preprocessing_of(source)
    turn = slice(None, None, -1 if pixels.order == "BGR" else 1)
    mean, std = (values[turn] for values in pixels.unit())
    return {"image_mean": mean, "image_std": std}


def _file(
    source: str | Path,
    *,
    variant: str | None = None,
    use_safetensors: bool | None = None,
    **kw: Any,
) -> Path:
    """Returns the file of weights that transformers takes; WeightsError: there is no single one."""
    places = {key: kw[key] for key in HUB if key in kw}
    names = (SAFE_WEIGHTS_NAME, WEIGHTS_NAME)
    for name in names[use_safetensors is False :]:
        stem, _, end = name.rpartition(".")
        wanted = f"{stem}.{variant}.{end}" if variant else name
        found = cached_file(
            str(source), wanted, _raise_exceptions_for_missing_entries=False, **places
        )
        if found is not None:
            return Path(found)
    raise WeightsError(
        f"weights {source}: has no {' or '.join(names)}; of a trunk in several files save it again "
        "with a larger max_shard_size"
    )


def _is_own_folder(source: object) -> bool:
    config = Path(str(source), "config.json")
    if not config.is_file():
        return False
    with suppress(ValueError):
        content = json.loads(config.read_text(encoding="utf-8"))
        return isinstance(content, dict) and content.get("model_type") == MODEL_TYPE
    return False


def _from_pretrained(cls: Any, source: Any, *args: Any, **kwargs: Any) -> Any:
    """Returns a backbone as AutoBackbone does, which takes every folder for a name of timm's."""
    if _is_own_folder(source):
        kwargs.pop("use_timm_backbone", None)
        return ResNeXtBackbone.from_pretrained(source, *args, **kwargs)
    return _of_transformers(cls, source, *args, **kwargs)


_of_transformers = AutoBackbone.from_pretrained.__func__
AutoBackbone.from_pretrained = classmethod(_from_pretrained)
AutoConfig.register(MODEL_TYPE, ResNeXtConfig)
AutoBackbone.register(ResNeXtConfig, ResNeXtBackbone)
