"""Each service has its own ways, which are translated here; MMEngine's backends do the logging.

Left to themselves they would change a run, or send more than it: ClearML seeds PyTorch and patches
`torch.save`, W&B copies all Python files below the folder that a run starts in and counts calls
where steps are meant, and MLflow refuses the folder of files that MMEngine gives it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from resnext_backbones.io import json_text

PROJECT = "resnext_backbones"
"""Runs are in a project or experiment of this name, where the service's variable names no other."""

FINISH_SECONDS = 60
"""A run that has ended waits so long for a service to take the rest."""

MLFLOW_LENGTH = 500
"""MLflow keeps parameters up to this length in all of its versions."""


@dataclass(frozen=True)
class Run:
    """Says which run is logged.

    Attributes:
        work_dir: absolute.
        folder: of this start of the run, for files of the logger's own.
        pretty_text: the whole config, by the name by which MMEngine's backends read it.
        values: the same, as plain values.
        known_as: the service's name for the run that this one goes on with; "" where it is new.
    """

    work_dir: Path
    folder: Path
    pretty_text: str
    values: Mapping[str, Any]
    known_as: str = ""

    def to_dict(self) -> Mapping[str, Any]:
        """Returns the values as backends read them of MMEngine's config."""
        return self.values


@dataclass(frozen=True)
class Service:
    """Says how a service is used.

    Attributes:
        start: starts a run with its config, and returns the backend and the service's name for it.
        tell: hands what a run began with, as plain values, to a backend.
        steps: it is given the step as one of the scalars.
        break_off: closes a backend as of a run that did not come to its end.
    """

    start: Callable[[Run], tuple[Any, str]]
    tell: Callable[[Any, Mapping[str, Any]], None]
    steps: bool = False
    break_off: Callable[[Any], None] = lambda backend: backend.close()


def _tensorboard(run: Run) -> tuple[Any, str]:
    from mmengine.visualization import TensorboardVisBackend

    backend = TensorboardVisBackend(str(run.folder))
    backend.add_config(run)
    return backend, ""


QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    "WANDB_ERROR_REPORTING": "false",
}
"""Where nobody set these otherwise, services tell their makers nothing of a run, and MLflow draws
no number from Python's generator when a server does not answer."""


def _be_quiet() -> None:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


def _wandb(run: Run) -> tuple[Any, str]:
    _be_quiet()
    import wandb
    from mmengine.visualization import WandbVisBackend

    known_as = run.known_as or uuid4().hex[:8]
    backend = WandbVisBackend(
        str(run.work_dir),
        init_kwargs={
            "project": os.environ.get("WANDB_PROJECT", PROJECT),
            "name": run.work_dir.name,
            "id": known_as,
            "resume": "allow",
            "settings": wandb.Settings(finish_timeout=FINISH_SECONDS, console="off"),
        },
        define_metric_cfg=[{"name": "*", "step_metric": "step"}],
    )
    # Not by `add_config`, which copies code.
    backend.experiment.config.update(run.values, allow_val_change=True)
    return backend, known_as


def _mlflow(run: Run) -> tuple[Any, str]:
    _be_quiet()
    import mlflow
    from mmengine.visualization import MLflowVisBackend

    given = os.environ.get("MLFLOW_TRACKING_URI")  # which MLflow sets as well, from here on
    uri = given or f"sqlite:///{run.work_dir / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    if run.known_as:
        mlflow.start_run(run_id=run.known_as)
    backend = MLflowVisBackend(
        str(run.work_dir),
        exp_name=os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT),
        run_name=run.work_dir.name,
        tracking_uri=uri,
        artifact_suffix=(),  # the work directory's files stay there
        tracked_config_keys={},
        artifact_location=(run.work_dir / "mlflow").as_uri() if not given else None,
    )
    backend.add_config(run)  # the text; parameters cannot change, and those of a resumed run do
    if not run.known_as:
        flat = backend._flatten(run.values).items()
        mlflow.log_params({key: str(value)[:MLFLOW_LENGTH] for key, value in flat})
    return backend, mlflow.active_run().info.run_id


def _clearml(run: Run) -> tuple[Any, str]:
    from clearml import Task
    from mmengine.visualization import ClearMLVisBackend

    Task.set_random_seed(None)  # which else sets Python's, NumPy's and PyTorch's
    known_as = "" if Task.is_offline() else run.known_as
    backend = ClearMLVisBackend(
        init_kwargs={
            "project_name": os.environ.get("CLEARML_PROJECT", PROJECT),
            "task_name": run.work_dir.name,
            # 0, since steps count on by themselves; ClearML would add the last one to each.
            "continue_last_task": 0 if known_as else False,
            "reuse_last_task_id": known_as or False,
            # The repository is in the record, and to look for it can take minutes at the end.
            "auto_connect_frameworks": dict.fromkeys(CLEARML_PATCHES, False),
            "auto_connect_arg_parser": False,
            "auto_connect_streams": False,
        },
        artifact_suffix=(),  # nor checkpoints
    )
    backend.add_config(run)
    return backend, backend._task.id


def _break_off_clearml(backend: Any) -> None:
    # `close` asks for a completed task, which the server refuses for one that has failed.
    backend._task.mark_failed(ignore_errors=True, status_reason="broken off")
    backend.close()


CLEARML_PATCHES = (
    "detect_repository", "matplotlib", "tensorflow", "tensorboard", "pytorch", "xgboost", "scikit",
    "fastai", "lightgbm", "hydra", "catboost", "megengine", "jsonargparse", "gradio", "joblib",
)  # fmt: skip

SERVICES: dict[str, Service] = {
    "tensorboard": Service(
        _tensorboard, lambda b, facts: b.experiment.add_text("record", json_text(facts, indent=1))
    ),
    "wandb": Service(
        _wandb,
        lambda b, facts: b.experiment.config.update({"record": facts}, allow_val_change=True),
        steps=True,
        break_off=lambda b: b.experiment.finish(exit_code=1),
    ),
    "mlflow": Service(
        _mlflow,
        lambda b, facts: b.experiment.log_dict(facts, "record.json"),
        break_off=lambda b: b.experiment.end_run("FAILED"),
    ),
    "clearml": Service(
        _clearml,
        lambda b, facts: b._task.connect_configuration(facts, name="record"),
        break_off=_break_off_clearml,
    ),
}
"""The names are those of `LOGGERS`."""
