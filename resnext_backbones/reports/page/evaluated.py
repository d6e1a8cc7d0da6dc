"""What was evaluated last is shown by class and by image, as far as its files are there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from resnext_backbones.errors import InputError
from resnext_backbones.reports.page.facts import Run
from resnext_backbones.reports.page.figures import class_curves, confusion_figure, precision_figure
from resnext_backbones.reports.page.words import KINDS, percent

LARGE = 50_000_000
"""Counting detections of more bytes takes half a minute or more, and is said."""

UNKNOWN = 0.5
"""Detections of this score are compared where no score is better than others."""

LEAST = 0.05
"""Detectors leave out what has less."""

Say = Callable[[str], None]


def evaluation_of(run: Run, say: Say, *, with_pictures: bool) -> dict[str, Any]:
    """Returns precision by class, which class is found as which, and pictures, for the template;
    nothing where no detections were kept.

    Args:
        say: takes what cannot be shown.
    """
    noted = run.evaluation
    files = noted.get("results")
    if not isinstance(files, Mapping) or not noted.get("annotations"):
        return {}
    try:
        from resnext_backbones.reports.page.scores import Evaluated
    except ModuleNotFoundError as error:
        say(f"precision of classes, and pictures, are left out: {error.name} is not installed")
        return {}
    results = {kind: run.work_dir / name for kind, name in files.items() if kind in KINDS}
    annotations = Path(noted["annotations"])
    if absent := [path for path in (annotations, *results.values()) if not path.is_file()]:
        say(f"precision of classes, and pictures, are left out: {absent[0]} is not there any more")
        return {}
    if sum(path.stat().st_size for path in set(results.values())) > LARGE:
        say("detections are counted by class, which takes half a minute or more")
    try:
        evaluated = Evaluated(
            annotations, results, noted.get("image_ids"), noted.get("category_ids")
        )
    except InputError as error:
        say(f"precision of classes, and pictures, are left out: {error}")
        return {}
    found = {kind: evaluated.precision(kind) for kind in results}
    known = {kind: each for kind, each in found.items() if each is not None}
    if not known:
        say("precision of classes is left out: nothing was found in any image")
        return {}
    main = known.get("bbox") or next(iter(known.values()))
    score = UNKNOWN if math.isnan(main.score) else max(LEAST, main.score)
    matrix, scores = evaluated.compare(score)
    figure, shown = confusion_figure(matrix, evaluated.names)
    objects = evaluated.objects()
    classes = [
        {
            "name": name,
            "number": number,
            "objects": int(objects[number]),
            "values": [
                percent(float(value[number]))
                for each in known.values()
                for value in (each.ap, each.ap50)
            ],
        }
        for number, name in enumerate(evaluated.names)
    ]
    return {
        "kinds": [KINDS[kind] for kind in known],
        "classes": classes,
        "figures": {"precision": precision_figure(main), "confusion": figure},
        "curves": class_curves(main, evaluated.names),
        "least_score": f"{score:.2f}",
        "shown_classes": shown if shown < len(classes) else None,
        "pictures": _pictures(run, evaluated, scores, score, say) if with_pictures else [],
    }


def _pictures(
    run: Run, evaluated: Any, scores: Any, least_score: float, say: Say
) -> list[dict[str, Any]]:
    """Returns the best and the worst images, for the template."""
    root = Path(run.evaluation.get("images") or "")
    if not run.evaluation.get("images") or not root.is_dir():
        say(f"pictures are left out: there is no folder of images {root}")
        return []
    try:
        from resnext_backbones.reports.page.pictures import Picture, best_and_worst, pictures
    except ModuleNotFoundError as error:
        say(f"pictures are left out: {error.name}, which draws them, is not installed")
        return []
    groups = []
    for title, chosen in zip(("Best", "Worst"), best_and_worst(scores), strict=True):
        shown = []
        for each in pictures(evaluated, root, chosen, least_score):
            if isinstance(each, Picture):
                shown.append(each)
            else:
                say(f"a picture is left out: {each}")
        if shown:
            groups.append({"title": title, "pictures": shown})
    return groups
