"""The best checkpoint stays until a better one is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process

ONE, EACH = "best_ckpt_path", "best_ckpt_path_dict"
"""MMEngine's hook has the path of the best one by these: of its metric, or by metrics."""


@contextmanager
def kept_until_written(hook: Any, runner: Any) -> Iterator[None]:
    """Hides from MMEngine's `CheckpointHook`, which writes the best checkpoints meanwhile, those
    that it would remove first, and removes them afterwards. Where one cannot be written, that is
    logged, and all is as before.
    """
    told = runner.message_hub.runtime_info
    known = {name: value for name, value in told.items() if name.startswith("best_")}
    before = {None: getattr(hook, ONE, None), **getattr(hook, EACH, {})}
    _set(hook, dict.fromkeys(before))
    try:
        yield
    except OSError as error:
        runner.logger.error(
            f"the best checkpoint: not written: {error}; the one before stays, and training goes on"
        )
        for name in [name for name in told if name.startswith("best_")]:
            del told[name]
        told.update(known)
        _set(hook, before)
        return
    found = {None: getattr(hook, ONE), **getattr(hook, EACH)}
    for metric, path in before.items():
        # Of two that share a name the new one has replaced the other.
        if path and found[metric] and path not in found.values() and is_main_process():
            Path(path).unlink(missing_ok=True)
    _set(hook, {metric: path or before[metric] for metric, path in found.items()})


def _set(hook: Any, paths: dict[str | None, str | None]) -> None:
    setattr(hook, ONE, paths[None])
    setattr(hook, EACH, {metric: path for metric, path in paths.items() if metric is not None})
