"""A run of Detectron2's that is asked to end saves first."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from detectron2.engine import HookBase
from detectron2.utils import comm
from torch import distributed, multiprocessing, nn

from resnext_backbones.engine.failures import last_checkpoint_said
from resnext_backbones.engine.signals import REQUESTS, TERMINATED, requests
from resnext_backbones.tasks.detectron2.checkpoints import Checkpointer


class RequestsHook(HookBase):
    """Saves after the step in which any process was asked to end, and ends all of them.

    A process that evaluates alone ends between two images. Of several, which wait for one another
    there, the first saves at once, and all end when that is over.

    Args:
        checkpointer: saves.
        evaluated: the model that evaluations call, which may have averaged weights.
    """

    def __init__(self, checkpointer: Checkpointer, evaluated: nn.Module) -> None:
        self.checkpointer, self._evaluated = checkpointer, evaluated
        self._finished: int | None = None  # the last step that was
        self._saved: int | None = None
        self._group: Any = None

    def before_train(self) -> None:
        requests.noted_only = True
        if distributed.is_initialized():
            self._group = distributed.new_group(backend="gloo")
        self._evaluated.register_forward_pre_hook(self._look)

    def after_step(self) -> None:
        self._finished = self.trainer.iter
        asked = torch.tensor([requests.asked is not None], dtype=torch.int32)
        if self._group is not None:
            distributed.all_reduce(asked, distributed.ReduceOp.MAX, self._group)
        if asked.item():
            self._end()

    def after_train(self) -> None:
        requests.noted_only = False

    def _look(self, model: nn.Module, _: Any) -> None:
        if requests.asked and not model.training:
            self._save()
            if comm.get_world_size() == 1:
                self._end()

    def _save(self) -> None:
        if self._finished not in (None, self._saved) and comm.is_main_process():
            self.checkpointer.save(f"model_{self._finished:07d}", iteration=self._finished)
        self._saved = self._finished

    def _end(self) -> None:
        self._save()
        if self._group is not None:  # the others would be ended while the first one saves
            distributed.barrier(self._group)
        by = requests.asked.name if requests.asked else "another process"
        said = last_checkpoint_said(self.checkpointer.save_dir)
        logging.getLogger("resnext_backbones").warning(f"asked to end by {by}; {said}")
        raise SystemExit(TERMINATED)


@contextmanager
def handed_on() -> Iterator[None]:
    """Hands requests on to the processes that Detectron2 starts in the block, and ends as they do,
    once they have saved.
    """

    def hand_on(number: int, _: object) -> None:
        for process in multiprocessing.active_children():
            if process.pid:
                os.kill(process.pid, number)

    before = {number: signal.signal(number, hand_on) for number in REQUESTS}
    try:
        yield
    except multiprocessing.ProcessExitedException as error:
        if error.exit_code != TERMINATED:
            raise
        raise SystemExit(TERMINATED) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
