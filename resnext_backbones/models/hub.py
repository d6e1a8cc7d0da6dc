"""Networks are saved, and shared on the Hub, with what their tensors do not show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import PyTorchModelHubMixin
from huggingface_hub.constants import SAFETENSORS_SINGLE_FILE
from safetensors.torch import save_file
from torch import nn

USUAL_EPS = 1e-5
"""Norms that are built by a name have this one."""


def say_architecture(module: Any, _: Any, __: str, said: dict[str, Any]) -> None:
    """Writes the architecture beside the version that PyTorch keeps of a module in a state dict: in
    its `_metadata`, by what stands in front of the module's names. Tensors and keys stay as they
    are.
    """
    said.update(module.architecture.to_metadata())


def _check_json(network: Any) -> None:
    """Raises ValueError where a network has layers that its arguments, as JSON, do not build."""
    own = network._own_layers()
    eps = {getattr(layer, "eps", USUAL_EPS) for layer in own}
    convs = {type(m) for m in own if isinstance(m, nn.Conv2d)} - {nn.Conv2d}
    odd = [each.__name__ for each in convs] + [f"eps={each}" for each in eps - {USUAL_EPS}]
    if odd:
        raise ValueError(
            f"save_pretrained: config.json cannot hold what built {', '.join(odd)}, and another "
            "network would be loaded; save its state_dict() with torch.save, or build it from names"
        )


class HubMixin(
    PyTorchModelHubMixin,
    library_name="resnext_backbones",
    tags=["image-feature-extraction", "resnext"],
):
    """Adds huggingface_hub's `from_pretrained`, `save_pretrained` and `push_to_hub`.

    Arguments are saved as JSON, weights as safetensors.
    """

    def _save_pretrained(self: Any, save_directory: Path) -> None:
        _check_json(self)
        state = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        metadata = {"format": "pt", **self.architecture.to_metadata()}
        save_file(state, Path(save_directory) / SAFETENSORS_SINGLE_FILE, metadata=metadata)

    @classmethod
    def _load_as_safetensor(cls, model: Any, model_file: str, map_location: str, *_: bool) -> Any:
        # As strict as any door, where huggingface_hub would keep random values.
        from resnext_backbones.weights import load_weights  # which is built on this package

        load_weights(model, model_file)
        return model.to(map_location).eval()

    _load_as_pickle = _load_as_safetensor  # type: ignore[assignment]
