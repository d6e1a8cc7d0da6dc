"""A package that a setting needs is missed before the run begins."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from resnext_backbones.errors import InputError

PANOPTIC = "git+https://github.com/cocodataset/panopticapi.git"

PACKAGES: dict[str, tuple[str, str]] = {
    "Adafactor": ("transformers", "transformers"),
    "AimVisBackend": ("aim", "aim"),
    "Albu": ("albumentations", "albumentations"),
    "CityScapesMetric": ("cityscapesscripts", "cityscapesscripts"),
    "ClearMLVisBackend": ("clearml", "clearml"),
    "CocoPanopticMetric": ("panopticapi", f"'{PANOPTIC}'"),
    "Corrupt": ("imagecorruptions", "imagecorruptions"),
    "DAdaptAdaGrad": ("dadaptation", "dadaptation"),
    "DAdaptAdam": ("dadaptation", "dadaptation"),
    "DAdaptSGD": ("dadaptation", "dadaptation"),
    "DVCLiveVisBackend": ("dvclive", "dvclive"),
    "InstaBoost": ("instaboostfast", "instaboostfast"),
    "LVISDataset": ("lvis", "lvis"),
    "LVISFixedAPMetric": ("lvis", "lvis"),
    "LVISMetric": ("lvis", "lvis"),
    "LVISV05Dataset": ("lvis", "lvis"),
    "LVISV1Dataset": ("lvis", "lvis"),
    "Lion": ("lion_pytorch", "lion-pytorch"),
    "MLflowVisBackend": ("mlflow", "mlflow"),
    "MOTChallengeMetric": ("trackeval", "trackeval"),
    "NeptuneVisBackend": ("neptune", "neptune"),
    "Sophia": ("Sophia", "Sophia-Optimizer"),
    "TensorboardVisBackend": ("tensorboard", "tensorboard"),
    "WandbVisBackend": ("wandb", "wandb"),
}
"""What is built of these types imports a module, which pip installs by another name at times; and
MMEngine registers these optimisers where their package is installed."""


def check_packages(cfg: Any, built: Mapping[str, Any]) -> None:
    """Raises InputError where a type in what is built needs a package that is not installed."""
    for place, kind in built.items():
        if not place.endswith(".type") or not isinstance(kind, str):
            continue
        name = kind.rpartition(".")[2]
        module, package = PACKAGES.get(name, ("", ""))
        if module and find_spec(module) is None:
            raise InputError(
                f"config {cfg.filename}: {place.partition('.')[0]} has a {name}, which needs the "
                f"package {module}, which is not installed: pip install {package}"
            )
