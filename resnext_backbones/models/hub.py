"""Networks are saved, and shared on the Hub, with what their tensors do not show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin
from huggingface_hub.constants import SAFETENSORS_SINGLE_FILE

from resnext_backbones.models.architecture import unseen_differences

MOST_NAMED = 3
"""A message names so many parts."""


def say_architecture(module: Any, _: Any, __: str, said: dict[str, Any]) -> None:
    """Writes the architecture beside the version that PyTorch keeps of a module in a state dict: in
    its `_metadata`, by what stands in front of the module's names. Tensors and keys stay as they
    are.
    """
    said.update(module.presupposed().to_metadata())


def check_architecture(
    module: Any, _: Any, prefix: str, said: Mapping[str, Any], *__: object
) -> None:
    """Raises WeightsError where a state dict says another architecture, before a tensor of the
    module is changed: PyTorch itself would load it without a word.
    """
    from resnext_backbones.weights.compare import check_said  # which is built on this package

    check_said(f"of {prefix.removesuffix('.') or 'a state dict'}", said, module.presupposed())


def _check_json(network: Any) -> None:
    """Raises ValueError where a network has layers that its arguments, as JSON, do not build."""
    config, own, why = network._hub_mixin_config, network.presupposed(), ""
    if "architecture" in config:
        config["architecture"] = own.to_dict()
    try:
        with torch.device("meta"):
            built = type(network)(**config)
    except ValueError as error:
        why = str(error)
    else:
        unseen = unseen_differences(own, built.presupposed())
        parts = sorted(_parts(network) ^ _parts(built))
        why = ", ".join([f"{n}={getattr(own, n)!r}" for n in unseen] + parts[:MOST_NAMED])
    if why:
        raise ValueError(
            f"save_pretrained: config.json cannot hold what built it ({why}), and another network "
            "would be loaded; save its state_dict() with torch.save, or build it from names"
        )


def _parts(network: Any) -> set[str]:
    """Returns the names of a network's modules, and of its tensors with their shapes."""
    shapes = {f"{name} {tuple(value.shape)}" for name, value in network.state_dict().items()}
    return {name for name, _ in network.named_modules() if name} | shapes


class HubMixin(
    PyTorchModelHubMixin,
    library_name="resnext_backbones",
    tags=["image-feature-extraction", "resnext"],
):
    """Adds huggingface_hub's `from_pretrained`, `save_pretrained` and `push_to_hub`.

    Arguments are saved as JSON, weights as safetensors, and a model card beside them, of which
    `model_card_kwargs` of `save_pretrained` and `push_to_hub` are those of
    `weights.cards.card_of_network`: {"weights": ALIAS} says whose weights these are.
    """

    def generate_model_card(self: Any, **kwargs: Any) -> ModelCard:
        from resnext_backbones.weights.cards import card_of_network  # built on this package

        return card_of_network(self, **kwargs)

    def _save_pretrained(self: Any, save_directory: Path) -> None:
        from resnext_backbones.weights.write import write_safetensors  # built on this package

        _check_json(self)
        state = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        path = Path(save_directory) / SAFETENSORS_SINGLE_FILE
        write_safetensors(state, path, self.presupposed().to_metadata())

    @classmethod
    def _load_as_safetensor(cls, model: Any, model_file: str, map_location: str, *_: bool) -> Any:
        # As strict as any door, where huggingface_hub would keep random values.
        from resnext_backbones.weights import load_weights  # which is built on this package

        load_weights(model, model_file)
        return model.to(map_location).eval()

    _load_as_pickle = _load_as_safetensor  # type: ignore[assignment]
