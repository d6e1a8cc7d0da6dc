"""Faults of a detector of Detectron2's are found before it is built."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import (
    COCOEvaluator,
    COCOPanopticEvaluator,
    LVISEvaluator,
    SemSegEvaluator,
)
from detectron2.utils.file_io import PathManager
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from resnext_backbones.engine.checks.packages import PACKAGES
from resnext_backbones.engine.fit import NONE, WeightsUse, given_by_option, stop_at
from resnext_backbones.errors import InputError, some
from resnext_backbones.tasks.detectron2.annotations import check_annotations
from resnext_backbones.tasks.detectron2.checkpoints import SafeCheckpointer
from resnext_backbones.tasks.detectron2.experiments import Experiment
from resnext_backbones.tasks.detectron2.zoo import Expected, expected_by
from resnext_backbones.weights import Preprocessing
from resnext_backbones.weights.checkpoint import Checkpoint
from resnext_backbones.weights.compare import COUNTER
from resnext_backbones.weights.files import read_file
from resnext_backbones.weights.load import check_fit, misfit
from resnext_backbones.weights.preprocessing import SEEN

TRUNK = ("trunk.", "stem.", "res2.", "res3.", "res4.", "res5.")
BUFFERS = ("pixel_mean", "pixel_std", "cell_anchors", COUNTER)
DATASETS = "DETECTRON2_DATASETS"
"""Environment variable: the folder that holds coco/, as Detectron2 has it."""

EVALUATORS: dict[str, tuple[Callable[..., Any], ...]] = {
    "coco": (COCOEvaluator,),
    "lvis": (LVISEvaluator,),
    "sem_seg": (SemSegEvaluator,),
    "coco_panoptic_seg": (SemSegEvaluator, COCOEvaluator, COCOPanopticEvaluator),
}
"""Detectron2's own, by what its data sets say of themselves."""

NEEDED = {"lvis": PACKAGES["LVISMetric"], "coco_panoptic_seg": PACKAGES["CocoPanopticMetric"]}
"""Packages that these evaluators import when the training is over, and what pip calls them."""

logger = logging.getLogger(__name__)


def check_devices(num_gpus: int, num_machines: int, machine_rank: int, dist_url: str) -> None:
    """Checks that each process has a GPU, and machines an address to meet at; else InputError."""
    count = torch.cuda.device_count()
    if num_gpus < 1 or num_machines < 1:
        raise InputError("--num-gpus and --num-machines: at least 1; without a GPU, 1 is the CPU")
    if not 0 <= machine_rank < num_machines:
        raise InputError(
            f"--machine-rank {machine_rank}: must be from 0 to {num_machines - 1}, another one on "
            "each machine"
        )
    if num_gpus > max(count, 1) or (num_machines > 1 and not count):
        raise InputError(f"--num-gpus {num_gpus}: this machine has {count} CUDA devices")
    if num_machines > 1 and dist_url == "auto":
        raise InputError("--dist-url: give tcp://HOST:PORT of the first machine, on all of them")


def check_batch(experiment: Experiment, processes: int) -> None:
    """Checks that the processes can share out the images of a step, or raises InputError."""
    if experiment.batch % processes:
        raise InputError(
            f"{experiment.keys['batch']} {experiment.batch}: must be a multiple of the {processes} "
            "processes"
        )


def evaluators_of(name: str) -> tuple[Callable[..., Any], ...]:
    """Returns a data set's evaluators; InputError: it has none here, or their package is absent."""
    kind = MetadataCatalog.get(name).get("evaluator_type", "")
    if kind not in EVALUATORS:
        raise InputError(
            f"data set {name}: its evaluator {kind!r} is none of {', '.join(EVALUATORS)}"
        )
    package, source = NEEDED.get(kind, ("detectron2", ""))
    if find_spec(package) is None:
        raise InputError(
            f"data set {name}: is evaluated with the package {package}: pip install {source}"
        )
    return EVALUATORS[kind]


def check_data(experiment: Experiment, *, train: bool) -> None:
    """Checks that data sets are known and can be evaluated, COCO's files there, and their
    annotations right, or raises InputError.
    """
    names = experiment.datasets(train=False)
    for name in [*names, *(experiment.datasets(train=True) if train else ())]:
        if name not in DatasetCatalog.list():
            raise InputError(f"data set {name}: is not registered in Detectron2's DatasetCatalog")
        if name in names and not experiment.has_evaluators:
            evaluators_of(name)
        for what, key in (("annotation file", "json_file"), ("image folder", "image_root")):
            path = MetadataCatalog.get(name).get(key)
            if path and "://" not in path and not Path(path).exists():
                raise InputError(
                    f"{what} {path}: is not there; set {DATASETS} to the folder that holds coco/, "
                    "with annotations/, train2017/ and val2017/ in it"
                )
    check_annotations(experiment, train=train, say=logger.info, warn=logger.warning)


def check_weights(
    experiment: Experiment,
    *,
    evaluate: bool = False,
    resume: bool = False,
    allow_mismatch: bool = False,
) -> None:
    """Checks that the detector fits the weights that it starts from.

    Args:
        evaluate, resume: they must be those of a whole detector.
        allow_mismatch: log what does not fit as a warning, and go on.

    Raises:
        InputError: an argument of the backbone is out of its range, or something does not fit.
        WeightsError: the weights cannot be had or read, or are no weights of this backbone.
    """
    backbone, keys = experiment.backbone(), experiment.keys
    source, checkpoint = experiment.weights, experiment.checkpoint
    if evaluate and not checkpoint:
        raise InputError(
            "--eval-only: nothing to evaluate; add --resume for the last checkpoint of the work "
            f"directory, or name one: {keys['checkpoint']}"
        )
    if backbone is None:
        if source or experiment.changed:
            raise InputError(
                f"--weights {source or NONE}: the config's backbone is not this package's; set "
                "MODEL.BACKBONE.NAME to build_resnext_fpn_backbone"
            )
        return
    path = _local(checkpoint) if checkpoint else ""
    content = read_file(path) if checkpoint else {}
    held = Checkpoint.of(content, source=checkpoint) if checkpoint else None
    if source:
        with given_by_option():
            check_fit(backbone.trunk, source, adapt_input=backbone.adapt_input)
    name = checkpoint or source or ""
    expected = expected_by(name) if name else Expected()
    frozen = backbone.trunk.frozen_stages + 1
    wanted = Preprocessing.from_metadata(content.get(SEEN, {})) or expected.pixels
    if source and wanted and len(wanted.mean) != len(experiment.pixels.mean):
        wanted = None  # of other channels, to which `adapt_input` fits them
    use = WeightsUse(
        source=name or None,
        wanted=wanted,
        given=experiment.pixels,
        giver="config",
        frozen=f"freeze_at={frozen}" if frozen else "",
        unfreeze=f"{keys['freeze_at']} to 0",
        norms_move=any(isinstance(m, _BatchNorm) and m.training for m in backbone.modules()),
        still_norms=f"{keys['norm']} to FrozenBN",
        fused=lambda: (held or Checkpoint.of(read_file(_local(source)))).fused,
    )
    # What Detectron2's checkpointer would warn of, and leave at random values.
    unfit = misfit(backbone.trunk, held, name) if held else ""
    problems = [unfit] if unfit else []
    given = backbone.trunk.architecture.stride_in_1x1
    if expected.stride_in_1x1 not in (None, given):
        problems.append(
            f"weights {name} were trained with stride_in_1x1={expected.stride_in_1x1}, and the "
            f"config has {given}: the same shapes, and another network"
        )
    if held and (evaluate or resume):
        _check_detector(experiment, held, checkpoint)
    if held and not unfit:
        problems += _not_taken(experiment, checkpoint, path, whole=evaluate or resume)
    stop_at(chain(problems, use.problems()), allow_mismatch=allow_mismatch, warn=logger.warning)


def _check_detector(experiment: Experiment, held: Checkpoint, name: str) -> None:
    """Checks that a file has a whole detector. Detectron2 alone matches Caffe2's names: of such a
    file only their number is known.
    """
    own = experiment.detector().state_dict()
    heads = {key for key in own if not any(part in key for part in TRUNK)}
    parameters = {key for key in heads if not key.endswith(BUFFERS)}
    given = set(held.outside)
    missing = sorted(parameters - given) if given & parameters else []
    if len(given) < len(parameters) or missing:
        what = f"{some(missing)} of the detector are missing" if missing else "no detector"
        raise InputError(
            f"weights {name}: hold a backbone and {len(given)} other tensors, {what}; the config's "
            f"detector has {len(parameters)}"
        )


def _not_taken(experiment: Experiment, name: str, path: str, *, whole: bool) -> Iterator[str]:
    """Yields what Detectron2's checkpointer would leave at random values of the backbone, or raises
    InputError where a `whole` detector is wanted, or a value is NaN: it is asked, on a detector
    without memory.
    """
    checkpointer = SafeCheckpointer(experiment.detector())
    checkpointer._parsed_url_during_load = urlparse(name)
    with quiet():
        content = checkpointer._load_file(path)
        tensors = {k: v for k, v in content["model"].items() if isinstance(v, Tensor)}
        broken = [k for k, v in tensors.items() if v.is_floating_point() and not v.isfinite().all()]
        if broken:
            raise InputError(f"weights {name}: {len(broken)} with NaN or infinity: {some(broken)}")
        found = checkpointer._load_model(content)
    shapes = {
        key: f"{key} {tuple(theirs)} for {tuple(ours)}"
        for key, theirs, ours in found.incorrect_shapes
    }
    left = {**{key: f"{key} missing" for key in found.missing_keys}, **shapes}
    lost = [
        text
        for key, text in sorted(left.items())
        if "offset" not in key and not key.endswith(BUFFERS)
    ]
    trunk = [text for text in lost if any(part in text for part in TRUNK)]
    message = (
        f"weights {name}: Detectron2's checkpointer, which goes by its own names, would leave "
        f"{{}} at random values; give a backbone by {experiment.keys['weights']} or --weights"
    )
    if whole and lost:
        raise InputError(message.format(some(lost)))
    if trunk:
        yield message.format(some(trunk))


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps from logs and warnings what is only tried."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _local(name: str) -> str:
    try:
        path = PathManager.get_local_path(name)
    except (OSError, RuntimeError, KeyError) as error:
        raise InputError(f"weights {name}: {error}") from error
    if not Path(path).is_file():
        raise InputError(f"weights {name}: there is no such file")
    return path
