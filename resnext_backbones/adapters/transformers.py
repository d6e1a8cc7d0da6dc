"""transformers' detectors and segmentation networks get the trunk here.

Importing this module registers `ResNeXtConfig` with AutoConfig and `ResNeXtBackbone` with
AutoBackbone: whatever takes a `backbone_config` is built on it.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoBackbone, AutoConfig, PreTrainedModel, ViTImageProcessor
from transformers.modeling_outputs import BackboneOutput
from transformers.modeling_utils import is_fsdp_enabled, is_local_dist_rank_0
from transformers.utils import SAFE_WEIGHTS_NAME, WEIGHTS_NAME, cached_file

from resnext_backbones.adapters.transformers_config import MODEL_TYPE, STEM, ResNeXtConfig

try:
    from transformers.backbone_utils import BackboneMixin
except ImportError:  # before 5
    from transformers.utils.backbone_utils import BackboneMixin

from resnext_backbones.models.architecture import Architecture
from resnext_backbones.models.freezing import freeze, warn_of_random_stages
from resnext_backbones.weights import LoadedWeights, WeightsError, load_weights, preprocessing_of
from resnext_backbones.weights.load import check_fit

HUB = (
    "cache_dir",
    "force_download",
    "local_files_only",
    "proxies",
    "revision",
    "subfolder",
    "token",
)
"""These arguments say which file of the Hub is meant."""


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
        if any(p.is_meta for p in self.trunk.parameters()):
            # `from_pretrained` builds it so, and puts a file's tensors in these places.
            self._awaits_values = True
            self._init_weights(self.trunk)
        elif config.weights is not None:
            self._load()
        else:
            warn_of_random_stages(self.trunk, "train all (frozen_stages=-1)")
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
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        states = {}
        returned = [self.stage_names[i + 1] for i in self.trunk.out_indices]
        if not output_hidden_states and set(self.out_features) <= set(returned):
            states = dict(zip(returned, self.trunk(pixel_values), strict=True))
        else:
            states[STEM] = x = self.trunk.forward_stem(pixel_values)
            for name, stage in zip(self.stage_names[1:], self.trunk.stages, strict=False):
                states[name] = x = stage(x)
        if unbuilt := [name for name in self.out_features if name not in states]:
            raise ValueError(
                f"out_features: {', '.join(unbuilt)} is above the last stage that was built; give "
                "it to the config, before the backbone is built"
            )
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
            if not _are_given():
                self._check_values()
        return super().train(mode)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Clears what a file had no values for, where transformers would draw some."""
        absent = self._awaits_values and not _are_given()
        for part in module.modules() if absent else ():
            for tensor in (*part._parameters.values(), *part._buffers.values()):
                if tensor is None or tensor.is_meta:
                    continue
                if not getattr(tensor, "_is_hf_initialized", False):
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
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path | None, *args: Any, **kwargs: Any
    ) -> Any:
        """Returns what `save_pretrained` wrote, in eval mode: arguments are transformers'.

        Raises:
            WeightsError: a file does not fit, as of `load_weights`.
        """
        source = pretrained_model_name_or_path
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
        self.config.architecture = self.trunk.presupposed().to_dict()
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


def _are_given() -> bool:
    """Returns whether FSDP gives this process the values that the first one loads."""
    return is_fsdp_enabled() and not is_local_dist_rank_0()


def _is_own_folder(source: object) -> bool:
    config = Path(str(source), "config.json")
    if not config.is_file():
        return False
    with suppress(ValueError):
        content = json.loads(config.read_text(encoding="utf-8"))
        return isinstance(content, dict) and content.get("model_type") == MODEL_TYPE
    return False


def _from_pretrained(
    cls: Any, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any
) -> Any:
    """Returns a backbone as AutoBackbone does, which takes every folder for a name of timm's."""
    source = pretrained_model_name_or_path
    if _is_own_folder(source):
        kwargs.pop("use_timm_backbone", None)
        return ResNeXtBackbone.from_pretrained(source, *args, **kwargs)
    return _of_transformers(cls, source, *args, **kwargs)


_of_transformers = AutoBackbone.from_pretrained.__func__
AutoBackbone.from_pretrained = classmethod(_from_pretrained)
AutoConfig.register(MODEL_TYPE, ResNeXtConfig, exist_ok=True)
AutoBackbone.register(ResNeXtConfig, ResNeXtBackbone, exist_ok=True)
