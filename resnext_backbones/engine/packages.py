"""A package that a setting needs is missed before the run begins."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

from resnext_backbones.engine.config import dicts_with
from resnext_backbones.errors import InputError

PANOPTIC = "git+https://github.com/cocodataset/panopticapi.git"

PACKAGES: dict[str, tuple[str, str]] = {
    "AimVisBackend": ("aim", "aim"),
    "Albu": ("albumentations", "albumentations"),
    "CityScapesMetric": ("cityscapesscripts", "cityscapesscripts"),
    "ClearMLVisBackend": ("clearml", "clearml"),
    "CocoPanopticMetric": ("panopticapi", f"'{PANOPTIC}'"),
    "Corrupt": ("imagecorruptions", "imagecorruptions"),
    "DVCLiveVisBackend": ("dvclive", "dvclive"),
    "InstaBoost": ("instaboostfast", "instaboostfast"),
    "LVISDataset": ("lvis", "lvis"),
    "LVISFixedAPMetric": ("lvis", "lvis"),
    "LVISMetric": ("lvis", "lvis"),
    "LVISV05Dataset": ("lvis", "lvis"),
    "LVISV1Dataset": ("lvis", "lvis"),
    "MLflowVisBackend": ("mlflow", "mlflow"),
    "MOTChallengeMetric": ("trackeval", "trackeval"),
    "NeptuneVisBackend": ("neptune", "neptune"),
    "TensorboardVisBackend": ("tensorboard", "tensorboard"),
    "WandbVisBackend": ("wandb", "wandb"),
}
"""What is built of these types imports a module, which pip installs by another name at times."""

OPTIMIZERS: dict[str, tuple[str, str]] = {
    "Adafactor": ("transformers", "transformers"),
    "DAdaptAdaGrad": ("dadaptation", "dadaptation"),
    "DAdaptAdam": ("dadaptation", "dadaptation"),
    "DAdaptSGD": ("dadaptation", "dadaptation"),
    "Lion": ("lion_pytorch", "lion-pytorch"),
    "Sophia": ("Sophia", "Sophia-Optimizer"),
}
"""MMEngine registers these optimisers where their package is installed."""


def check_packages(cfg: Any, sections: Iterable[str]) -> None:
    """Raises InputError where a type in these sections of a config needs a package that is not
    installed.
    """
    for section in sections:
        known = OPTIMIZERS if section == "optim_wrapper" else PACKAGES
        for node in dicts_with(cfg.get(section), lambda d: isinstance(d.get("type"), str)):
            name = node["type"].rpartition(".")[2]
            module, package = known.get(name, ("", ""))
            if module and find_spec(module) is None:
                raise InputError(
                    f"config {cfg.filename}: {section} has a {name}, which needs the package "
                    f"{module}, which is not installed: pip install {package}"
                )
