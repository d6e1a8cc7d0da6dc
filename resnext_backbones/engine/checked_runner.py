"""MMEngine's runner names what it cannot build, and goes on with the settings of its config."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner

from resnext_backbones.engine.resumed import ResumedSettings
from resnext_backbones.engine.seeds import be_deterministic
from resnext_backbones.errors import BUILD_ERRORS, InputError


@contextmanager
def build_errors_named(cfg: Any) -> Iterator[None]:
    """Raises InputError, which names the config, of an argument that is wrong in it."""
    try:
        yield
    except BUILD_ERRORS as error:
        raise InputError(f"config {cfg.filename}: {error}") from error


class CheckedRunner(Runner):
    """MMEngine's runner raises InputError where an optimiser, a schedule or an argument of them is
    wrong, and where the state of a checkpoint does not fit them.
    """

    resumed_settings: ResumedSettings | None = None

    def build_optim_wrapper(self, *args: Any) -> Any:
        with build_errors_named(self.cfg):
            return super().build_optim_wrapper(*args)

    def build_param_scheduler(self, *args: Any) -> Any:
        with build_errors_named(self.cfg):
            return super().build_param_scheduler(*args)

    def resume(self, *args: Any, **options: Any) -> None:
        # Several optimisers are as MMEngine resumes them.
        if not isinstance(self.optim_wrapper, OptimWrapperDict):
            self.resumed_settings = ResumedSettings(self)
        super().resume(*args, **options)

    def load_checkpoint(self, *args: Any, **options: Any) -> Any:
        checkpoint = super().load_checkpoint(*args, **options)
        if self.resumed_settings is not None:
            self.resumed_settings.check(self, checkpoint)
        return checkpoint

    def set_randomness(
        self, seed: int | None, diff_rank_seed: bool = False, deterministic: bool = False
    ) -> None:
        super().set_randomness(seed, diff_rank_seed, deterministic)
        if deterministic:
            be_deterministic()  # where PyTorch has no such way, MMEngine's would end the run
