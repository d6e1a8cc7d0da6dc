"""Training can go on from the middle of an epoch as if it had never stopped."""

from __future__ import annotations

from typing import Any

from mmengine.dist import get_rank, get_world_size
from mmengine.runner import EpochBasedTrainLoop as MMEngineEpochBasedTrainLoop

from resnext_backbones.adapters.registry import LOOPS
from resnext_backbones.engine.processes import share_batches_by_name
from resnext_backbones.engine.seeds import Batches, reproducible, seed_everything, seed_of
from resnext_backbones.errors import InputError

EPOCH_LENGTH = "batches_in_an_epoch"
"""Under this name a checkpoint says how many there were."""

KEPT_SCALARS = 10_000
"""MMEngine keeps so many of each value that is logged at every step. It copies all that it keeps,
by default a million, at each of them."""


@LOOPS.register_module()
class EpochBasedTrainLoop(MMEngineEpochBasedTrainLoop):
    """Runs MMEngine's loop with random numbers that depend on the place alone (see `seeds`)."""

    dataloader: Any
    _iter: int

    def __init__(self, runner: Any, dataloader: Any, max_epochs: int, **options: Any) -> None:
        super().__init__(runner, dataloader, max_epochs, **options)
        if not len(self.dataloader):
            each, images = self.dataloader.batch_sampler.batch_size, len(self.dataloader.dataset)
            raise InputError(
                f"train_dataloader.batch_size {each}: a step takes {each * get_world_size()} "
                f"images, and there are {images} to train with"
            )
        share_batches_by_name()
        self.dataloader = reproducible(self.dataloader, runner.seed)

    def run(self) -> Any:
        """Trains, with the seed of the run that goes on, if one does."""
        info = self.runner.message_hub.runtime_info  # as it was when the checkpoint was written
        if info.get(EPOCH_LENGTH, len(self.dataloader)) != len(self.dataloader):
            self._begin_anew(f"had {info[EPOCH_LENGTH]} before")
        self.runner.message_hub.update_info(EPOCH_LENGTH, len(self.dataloader))
        batches = self.dataloader.batch_sampler
        if isinstance(batches, Batches):
            batches.seed = self.runner.seed
            if hasattr(batches.sampler, "seed"):  # it was built before the checkpoint was read
                batches.sampler.seed = self.runner.seed
        return super().run()

    def run_epoch(self) -> None:
        """Trains for one epoch, or what is left of it."""
        first = self._iter - self._epoch * len(self.dataloader)
        if not 0 <= first <= len(self.dataloader):  # of a checkpoint that does not say its length
            first = self._begin_anew("had another number before")
        for history in self.runner.message_hub.log_scalars.values():
            history.max_length = KEPT_SCALARS
        if isinstance(self.dataloader.batch_sampler, Batches):
            self.dataloader.batch_sampler.first = first
        elif hasattr(self.dataloader.dataset, "start"):  # a stream that can begin in its middle
            self.dataloader.dataset.start(self.runner.seed, self._epoch, first)
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        for number, batch in enumerate(self.dataloader, first):
            self.run_iter(number, batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1

    def _begin_anew(self, before: str) -> int:
        """Goes to the beginning of an epoch that has another number of batches than it had."""
        self.runner.logger.warning(
            f"an epoch has {len(self.dataloader)} batches, and {before} (another batch size, or "
            f"other images): epoch {self._epoch + 1} begins anew"
        )
        self._iter = self._epoch * len(self.dataloader)
        # It has counted from the step that was left: its last gradients would be of the wrong size.
        runner = self.runner
        runner.optim_wrapper.initialize_count_status(runner.model, self._iter, self._max_iters)
        return 0

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Takes one step, with generators that its number seeds."""
        seed_everything(seed_of(self.runner.seed, self._iter, get_rank()))
        super().run_iter(idx, data_batch)
