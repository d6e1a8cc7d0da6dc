"""Entry points of torch.hub: one for each variant.

torch.hub.load("OWNER/resnext_backbones", "resnext50_32x4d", weights="open-mmlab/resnext50_32x4d")
"""

from typing import Any

from resnext_backbones import ResNeXt, build_backbone, build_classifier, list_variants
from resnext_backbones.weights import download

dependencies = ["torch", "torchvision", "numpy", "safetensors", "huggingface_hub", "filelock"]


def _entry(name: str) -> Any:
    def build(
        *,
        weights: str | None = None,
        progress: bool = True,
        classifier: bool = False,
        **options: Any,
    ) -> ResNeXt:
        with download.progress(progress):
            return (build_classifier if classifier else build_backbone)(
                name, weights=weights, **options
            )

    build.__name__ = name
    build.__doc__ = f"""{name}: feature maps of four stages, or logits.

    Args:
        weights: a path, an address or an alias of docs/weights.md; None draws random ones.
        progress: show a bar of the download.
        classifier: with the classification head, whose `num_classes` is an option.
        options: of `ResNeXt`.
    """
    return build


globals().update({name: _entry(name) for name in list_variants()})
