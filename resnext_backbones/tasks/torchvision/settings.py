"""What a run is told, and what each model is trained with where it is not told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resnext_backbones.engine.fit import NONE
from resnext_backbones.errors import InputError
from resnext_backbones.variants import list_variants

OUTPUT_STRIDE = 8
"""Of segmentation networks, where nothing else is said."""

IGNORED = 255
"""Of a mask: pixels without a class."""


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: https://github.com/pytorch/vision/tree/main/references.

    Attributes:
        detects: instances are found; otherwise every pixel gets a class.
        epochs: how many.
        lr: learning rate for `base_batch` images a step.
        base_batch: that number.
        warmup: steps of linear warm-up, of the first epoch at most.
        trainable_layers: where there are weights; all are where there are none.
        norm: of the trunk where there are weights; `BN` where there are none.
        min_size: of the shorter side of an image.
    """

    detects: bool
    epochs: int
    lr: float
    base_batch: int
    warmup: int
    trainable_layers: int
    norm: str
    min_size: int


DETECTION = Recipe(True, 12, 0.02, 16, 1000, 3, "FrozenBN", 800)
SEGMENTATION = Recipe(False, 30, 0.02, 32, 0, 5, "BN", 520)

RECIPES = {
    "faster_rcnn": DETECTION,
    "mask_rcnn": DETECTION,
    "deeplabv3": SEGMENTATION,
    "fcn": SEGMENTATION,
}
"""By the name of the model."""

STEPS = {12: (8, 11), 26: (16, 22)}
"""The epochs after which a detector's learning rate falls to a tenth, by their number."""

EVERYTHING = 5
"""Trainable layers: the stem and four stages."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One run.

    Attributes:
        model: of `RECIPES`.
        backbone: of `list_variants()`.
        work_dir: for all output.
        coco_root: a folder with annotations/, train2017/ and val2017/.
        voc_root: a folder with VOCdevkit/VOC2012/, for segmentation.
        mask_root: a folder with train2017/ and val2017/ of PNGs, whose pixels are classes and 255
            for none, named as the images in `coco_root`; for segmentation.
        num_classes: that the pixels of `mask_root` tell apart.
        weights: of the backbone, a source of `load_weights`; None, or "none" as it is on a command
            line, trains from random values.
        norm, trainable_layers: of the backbone; None is the recipe's.
        output_stride: of segmentation networks; None is 8.
        epochs, lr: None is the recipe's.
        lr_steps: epochs after which a detector's learning rate falls; None is those of `STEPS`.
        batch_size: images a process.
        amp: `bf16`, or `fp16` on GPUs.
        min_size: of the shorter side; of several, each step of a detector's training draws one.
        max_size: of the longer side, for detectors.
        workers: processes that load images, for each process that trains.
        limit_images: the first so many images of each split only.
        seed: of all that is drawn at random.
        eval_every: epochs from one evaluation to the next; the last one is always evaluated.
        log_every: steps from one line of the log to the next.
        checkpoint_minutes: between checkpoints within an epoch; 0 is none.
        keep: checkpoints that stay.
        resume: `auto` for the newest checkpoint of the work directory, or a path; None begins.
        model_options: further arguments of the detector's constructor.

    Raises:
        InputError: a value is out of its range, or does not go with the model.
    """

    model: str
    backbone: str
    work_dir: Path
    coco_root: Path | None = None
    voc_root: Path | None = None
    mask_root: Path | None = None
    num_classes: int | None = None
    weights: str | None = None
    norm: str | None = None
    trainable_layers: int | None = None
    output_stride: int | None = None
    epochs: int | None = None
    lr: float | None = None
    lr_steps: tuple[int, ...] | None = None
    batch_size: int = 2
    amp: str | None = None
    min_size: tuple[int, ...] = ()
    max_size: int = 1333
    workers: int = 2
    limit_images: int | None = None
    seed: int = 0
    eval_every: int = 1
    log_every: int = 20
    checkpoint_minutes: float = 0
    keep: int = 3
    resume: str | None = None
    model_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for option, value, names in (
            ("--model", self.model, list(RECIPES)),
            ("--backbone", self.backbone, list_variants()),
        ):
            if value not in names:
                raise InputError(f"{option} {value}: unknown; choose from {', '.join(names)}")
        if not self.recipe.detects and self.batch_size == 1:
            raise InputError("--batch-size 1: must be at least 2, since norms follow a batch")
        for option, number, least in (
            ("--epochs", self.epochs, 1),
            ("--batch-size", self.batch_size, 1),
            ("--limit-images", self.limit_images, 1),
            ("--workers", self.workers, 0),
            ("--eval-every", self.eval_every, 1),
            ("--num-classes", self.num_classes, 2),
            ("--seed", self.seed, 0),
            ("--log-every", self.log_every, 1),
            ("--keep", self.keep, 1),
            ("--max-size", self.max_size, 32),
            ("--checkpoint-minutes", self.checkpoint_minutes, 0),
            *(("--min-size", size, 32) for size in self.min_size),
        ):
            if number is not None and number < least:
                raise InputError(f"{option} {number}: must be at least {least}")
        if max(self.sizes) > self.max_size:
            raise InputError(
                f"--min-size {max(self.sizes)}: is more than --max-size, which is {self.max_size}"
            )
        falls = self.lr_steps or ()
        if list(falls) != sorted(set(falls)) or any(fall < 1 for fall in falls):
            raise InputError(f"--lr-steps {' '.join(map(str, falls))}: must be increasing epochs")
        if self.lr is not None and not self.lr > 0:
            raise InputError(f"--lr {self.lr}: must be more than 0")
        layers = self.trainable_layers
        if layers is not None and not 0 <= layers <= EVERYTHING:
            raise InputError(f"--trainable-layers {layers}: must be from 0 to {EVERYTHING}")
        self._check_data()

    def _check_data(self) -> None:
        if self.recipe.detects and (self.voc_root or self.mask_root):
            raise InputError(f"--model {self.model}: takes --coco-root, not masks of classes")
        if (self.coco_root is None) == (self.voc_root is None):
            raise InputError("give --coco-root or --voc-root, one of them")
        if self.mask_root and (self.num_classes is None or self.coco_root is None):
            raise InputError("--mask-root: needs --num-classes, and --coco-root for the images")
        if self.num_classes and self.num_classes > IGNORED:
            raise InputError(
                f"--num-classes {self.num_classes}: at most {IGNORED}, which stands for none"
            )
        if self.num_classes and not self.mask_root:
            raise InputError("--num-classes: goes with --mask-root; the data say it otherwise")

    @property
    def recipe(self) -> Recipe:
        """The model's."""
        return RECIPES[self.model]

    @property
    def source(self) -> str | None:
        """Returns the source of the weights; None where the backbone starts from random values."""
        return None if self.weights == NONE else self.weights

    @property
    def total_epochs(self) -> int:
        """How many epochs there are."""
        return self.epochs or self.recipe.epochs

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of the shorter side; the last is the one for evaluation."""
        return self.min_size or (self.recipe.min_size,)

    def lr_at(self, step: int, steps: int, batch: int) -> float:
        """The learning rate of a step.

        Args:
            step: from 0 on, over all epochs.
            steps: of an epoch.
            batch: images a step, over all processes.
        """
        recipe, epoch = self.recipe, step // steps
        lr = self.base_lr(batch)
        if not recipe.detects:
            return lr * (1 - step / (steps * self.total_epochs)) ** 0.9
        epochs = self.total_epochs
        falls = self.lr_steps or STEPS.get(epochs, (round(epochs * 2 / 3), round(epochs * 11 / 12)))
        warmup = min(recipe.warmup, steps)
        warm = min(1.0, (step + 1) / warmup)
        return lr * warm * 0.1 ** sum(epoch >= fall for fall in falls)

    def base_lr(self, batch: int) -> float:
        """The learning rate for that many images a step."""
        return (self.lr or self.recipe.lr) * batch / self.recipe.base_batch
