"""A run of Detectron2's keeps what its page is made of, and writes it at its end."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage, has_event_storage

from resnext_backbones.data.annotations import Annotations
from resnext_backbones.engine import record
from resnext_backbones.engine.memory import peak_bytes
from resnext_backbones.engine.scalars import measured
from resnext_backbones.reports.page.unasked import write_page
from resnext_backbones.tasks.detectron2.experiments import Experiment

logger = logging.getLogger(__name__)

FOUND = "coco_instances_results.json"
"""COCO's evaluator of Detectron2 writes this, of boxes and masks, in COCO's format."""

INFERENCE = "inference"
"""The folder of a work directory that it is written to."""

Found = Mapping[str, Sequence[Annotations]]
"""What was found in annotation files, by split."""


def note_begin(
    experiment: Experiment, facts: Sequence[tuple[str, str]], weights: str, found: Found
) -> None:
    """Keeps what a run begins with; arguments as of `engine.hooks.note_begin`."""
    if comm.is_main_process():
        with record.harmless(logger.warning, record.RECORD):
            record.begin(
                Path(experiment.work_dir),
                facts=facts,
                weights=record.weights_of(weights),
                data=record.data_of(found),
            )


def note_first_step(experiment: Experiment, step: int) -> None:
    """Keeps which step a run goes on from; 0 is its first."""
    if comm.is_main_process():
        with record.harmless(logger.warning, record.RECORD):
            record.note(Path(experiment.work_dir), from_step=step)


def note_evaluation(folder: Path, dataset: str, results: Mapping[str, Any]) -> None:
    """Keeps what was evaluated, and where the detections are.

    Args:
        folder: the work directory.
        dataset: its name in Detectron2's catalogues.
        results: of its evaluators: metrics in percent, by kind.
    """
    if not comm.is_main_process():
        return
    with record.harmless(logger.warning, record.EVALUATION):
        known = MetadataCatalog.get(dataset)
        named = ((f"{k}/{n}", v) for k, own in results.items() for n, v in dict(own).items())
        found = Path(INFERENCE) / FOUND
        kinds = [kind for kind in ("bbox", "segm") if kind in results]
        kept = {}
        if kinds and (folder / found).is_file() and "json_file" in known.as_dict():
            annotations = record.absolute(known.json_file)
            kept = {"results": dict.fromkeys(kinds, str(found)), "annotations": annotations}
        record.note_evaluation(
            folder,
            split="val" if has_event_storage() else "test",
            step=_steps_done(),
            metrics=dict(measured(named)),
            images=record.absolute(known.get("image_root", "")),
            **kept,
        )


def _steps_done() -> int | None:
    """Returns how many steps a training has done; None where there is none."""
    if not has_event_storage():
        return None
    storage = get_event_storage()
    # Detectron2 counts from 0, and once more when it has trained.
    in_step = storage.latest().get("total_loss", (0, -1))[1] == storage.iter
    return storage.iter + in_step


def end_run(folder: Path, step: int | None = None) -> None:
    """Writes the page of a run that has ended well, of a training after so many steps."""
    if not comm.is_main_process():
        return
    if step is not None:
        with record.harmless(logger.warning, record.RECORD):
            record.note_end(folder, step, peak_bytes())
    write_page(folder, logger.info, logger.warning)
