"""A run is logged by services for experiments as well, which can neither end nor change it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from resnext_backbones.errors import InputError
from resnext_backbones.extras import installation

LOGGERS: dict[str, tuple[str, ...]] = {
    "tensorboard": ("tensorboard",),
    "wandb": ("wandb", "mmengine"),
    "mlflow": ("mlflow", "sqlalchemy", "alembic", "mmengine"),
    "clearml": ("clearml", "mmengine"),
}
"""`--loggers` takes these; each needs its modules. Detectron2's engine has TensorBoard itself."""


def check_loggers(names: Sequence[str]) -> None:
    """Raises InputError where a logger's package is not installed."""
    for name in names:
        absent = [module for module in LOGGERS[name] if find_spec(module) is None]
        if absent:
            raise InputError(
                f"--loggers {name}: needs {', '.join(absent)}, which is not installed: "
                f"{installation('loggers')}"
            )
