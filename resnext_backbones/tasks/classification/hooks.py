"""A run logs what it trains and its speed, and stops where its images are no good."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_world_size
from mmengine.hooks import Hook

from resnext_backbones.adapters.registry import HOOKS
from resnext_backbones.engine.fit import check_classes, check_seen_classes
from resnext_backbones.engine.hooks import note_begin
from resnext_backbones.engine.peak import process_peak
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.classification.data import count_images
from resnext_backbones.tasks.classification.publish import class_names
from resnext_backbones.tasks.classification.shards import ShardedImages
from resnext_backbones.weights.identify import network_name

SUBSTITUTES = {"train": "another one is taken", "val": "a black one is evaluated"}


@HOOKS.register_module()
class BrokenImagesHook(Hook):
    """Names images that could not be read by any process, and stops where there are too many.

    Args:
        limit: share of the images to train on, and of those to evaluate with, that may be broken;
            where more are, an InputError says so.
        interval: steps after which the processes tell one another what they found.
    """

    def __init__(self, limit: float = 0.001, interval: int = 50) -> None:
        self.limit, self.interval = limit, interval
        self.found: dict[str, set[str]] = defaultdict(set)  # by part: train or val
        self._new: dict[str, set[str]] = defaultdict(set)

    def _after_iter(
        self, runner: Any, batch_idx: int, data_batch: Any, outputs: Any, mode: str = "train"
    ) -> None:
        lines = {line for text in data_batch.get("broken", ()) for line in text.split("\n") if line}
        self._new[mode] |= lines - self.found[mode]
        if mode == "train" and self.every_n_train_iters(runner, self.interval):
            self._report(runner, mode)

    def _after_epoch(self, runner: Any, mode: str = "train") -> None:
        self._report(runner, mode)
        if mode == "train":
            self._log_count(runner, "so far")

    def after_train(self, runner: Any) -> None:
        self._log_count(runner, "in all")

    def _report(self, runner: Any, mode: str) -> None:
        # All processes take part, so all of them end where the limit is passed.
        new = set().union(*all_gather_object(self._new.pop(mode, set()))) - self.found[mode]
        for line in sorted(new):
            runner.logger.warning(f"{line}; {SUBSTITUTES[mode]}")
        self.found[mode] |= new
        broken = len(self.found[mode])
        count = count_images(getattr(runner, f"{mode}_dataloader").dataset)
        if new and broken > self.limit * count:
            raise InputError(
                f"{broken} of {count} images cannot be read, the last one {max(new)}: "
                f"more than {self.limit:.2%}; fix them, or raise the limit of BrokenImagesHook"
            )

    def _log_count(self, runner: Any, when: str) -> None:
        # No warning, of which MMEngine drops those that repeat themselves.
        if count := sum(map(len, self.found.values())):
            runner.logger.info(f"{count} images could not be read {when}")


@HOOKS.register_module()
class SpeedHook(Hook):
    """Logs images a second over all processes, and on a CPU the most memory that one took, in MB;
    the memory of a GPU is logged by MMEngine.
    """

    priority = "NORMAL"  # behind the timer's hook, which is registered before, and before the log

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        hub, window = runner.message_hub, runner.log_processor.window_size  # since the last line
        images = len(data_batch["inputs"]) * get_world_size()
        seconds = hub.get_scalar("train/time").mean(window)
        hub.update_scalar("train/images_per_second", images / seconds)
        if not torch.cuda.is_available():
            hub.update_scalar("train/memory", process_peak() / 2**20)


@HOOKS.register_module()
class PretrainingReportHook(Hook):
    """Logs what is trained, on what, and by which learning rate, once the images fit the head.

    An InputError says where they tell other classes apart, also than the run that goes on did, or a
    loader miscounts its shards.

    Args:
        loaded, left: as of `engine.hooks.ReportHook`.
        meta: of the checkpoint that a run goes on from.
    """

    priority = "VERY_LOW"

    def __init__(
        self, loaded: str = "", left: str = "", meta: Mapping[str, Any] | None = None
    ) -> None:
        self.loaded, self.left, self.meta = loaded, left, meta or {}

    def before_train(self, runner: Any) -> None:
        train, val, ranks = runner.train_dataloader, runner.val_dataloader, get_world_size()
        for loader in (train, val):
            if isinstance(loader.dataset, ShardedImages):
                loader.dataset.check_loader(loader)
        check_classes(train, val, runner.cfg.model.num_classes)
        seen = (self.meta.get("dataset_meta") or {}).get("classes", ())
        classes = train.dataset.metainfo["classes"]
        if class_names(seen) and class_names(classes):  # shards may do without names
            check_seen_classes(str(runner.cfg.load_from), self.meta, classes)
        model = getattr(runner.model, "module", runner.model)
        batch = train.batch_sampler.batch_size
        parameters = sum(parameter.numel() for parameter in model.parameters())
        groups = runner.optim_wrapper.param_groups  # warm-up has begun in `lr`
        rates = sorted({group.get("initial_lr", group["lr"]) for group in groups})
        images = (count_images(loader.dataset) for loader in (train, val))
        facts = [
            ("network", network_name(model.network.state_dict())),
            ("parameters", f"{parameters / 1e6:.2f} M"),
            ("classes", str(len(classes))),
            ("images", "{} to train on, {} to evaluate with".format(*images)),
            ("batch", f"{batch * ranks}: {batch} in each of {ranks} processes"),
            ("learning rate", ", ".join(f"{rate:.4g}" for rate in rates)),
        ]
        for name, value in facts:
            runner.logger.info(f"{name}: {value}")
        note_begin(runner, facts, str(runner._load_from or ""))
        if self.loaded:
            runner.logger.info(f"weights: {self.loaded}")
        if self.left:
            runner.logger.warning(f"weights: not all of it: {self.left}")
