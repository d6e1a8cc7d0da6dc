"""One ResNeXt trunk, with one state dict, serves every framework of detection."""

from typing import TYPE_CHECKING

from resnext_backbones.on_demand import names_on_demand

if TYPE_CHECKING:
    from resnext_backbones import models, variants, weights
    from resnext_backbones.build import build_backbone, build_classifier
    from resnext_backbones.models import Architecture, ResNeXt, ResNeXtClassifier
    from resnext_backbones.variants import list_variants
    from resnext_backbones.weights import load_weights, preprocessing_of

__version__ = "1.0.0rc1"

__all__ = [
    "Architecture",
    "ResNeXt",
    "ResNeXtClassifier",
    "build_backbone",
    "build_classifier",
    "list_variants",
    "load_weights",
    "models",
    "preprocessing_of",
    "variants",
    "weights",
]

__getattr__ = names_on_demand(
    __name__,
    {
        "Architecture": "models",
        "ResNeXt": "models",
        "ResNeXtClassifier": "models",
        "build_backbone": "build",
        "build_classifier": "build",
        "list_variants": "variants",
        "load_weights": "weights",
        "models": "models",
        "preprocessing_of": "weights",
        "variants": "variants",
        "weights": "weights",
    },
)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
