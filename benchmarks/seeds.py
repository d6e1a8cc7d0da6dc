"""Train what is compared with several seeds, and show what was reached, with error bars.

python -m benchmarks.seeds cardinality --data-root data/cifar10 --minutes 60
python -m benchmarks.seeds transfer

Each training is the tool's own, in a folder below --work-dir and with one thread, so that what it
learns does not depend on how many run at once. What has ended is not run again, and what was cut
off, after --minutes or by a signal, is resumed by the same command.
"""

from __future__ import annotations

import argparse
import math
import os
import shlex
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Timer
from typing import Any, NamedTuple

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from benchmarks.provenance import provenance, save
from resnext_backbones.cli import run_tool
from resnext_backbones.datasets import SHAPES, generate_shapes, object_crops
from resnext_backbones.engine.checkpoints import newest_checkpoint, read_journal
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.demo import on_few

SEEDS = (0, 1, 2)
GROUPS = ("1x23d", "4x9d", "16x3d")
"""These networks of configs/cifar/cifar10_quick.py have equal multiply-adds, within 1%."""

PRETRAINING = {"none": 0, "2 epochs": 2, "10 epochs": 10}
"""A trunk sees the crops of 600 images so many times; the demo's does twice."""

IMAGES = (10, 30, 100)
EVALUATED = 100
STEPS = 200
"""A detector takes so many, however many images it is trained on."""


class Training(NamedTuple):
    """One call of `pretrain` or `train`, without its work directory."""

    name: str
    arguments: tuple[str, ...]
    coco_root: Path | None = None
    weights: str = ""
    """It takes its weights from the training of this name."""
    row: dict[str, Any] | None = None
    """The result says this of it; None: others only start from it."""


class Study(NamedTuple):
    """Says what is compared: series over some axis, by metrics of the last evaluation."""

    trainings: Callable[[argparse.Namespace], Iterator[Training]]
    metrics: dict[str, str]
    series: str
    axis: str
    label: str


def cardinality(args: argparse.Namespace) -> Iterator[Training]:
    """Yields the trainings of a small ResNeXt-29 with 1, 4 and 16 groups (the paper's Table 3)."""
    if args.data_root is None:
        raise InputError("cardinality: needs --data-root, CIFAR-10 as folders of images")
    for seed in SEEDS:
        for network in GROUPS:
            yield Training(
                f"{network}_{seed}",
                (
                    "pretrain", "cifar/cifar10_quick", "--variant", f"resnext29_{network}",
                    "--data-root", str(args.data_root), "--amp", "bf16", "--no-tune",
                    "--cfg-options", f"randomness.seed={seed}",
                    "train_dataloader.num_workers=0", "train_dataloader.persistent_workers=False",
                    "val_dataloader.num_workers=0", "val_dataloader.persistent_workers=False",
                ),
                row={"network": network, "groups": int(network.split("x")[0]), "seed": seed},
            )  # fmt: skip


def transfer(args: argparse.Namespace) -> Iterator[Training]:
    """Yields the trainings of the demo's detector on few images, from random values and from a
    trunk that was pretrained on crops of other images.
    """
    for seed in SEEDS:
        others, crops = (args.work_dir / f"{name}_{seed}" for name in ("others", "crops"))
        if not others.exists():
            generate_shapes(others, num_train=600, num_val=EVALUATED, seed=1000 + seed)
        if not crops.exists():
            object_crops(others, crops)
        for epochs in filter(None, PRETRAINING.values()):
            yield Training(
                f"trunk_{epochs}_{seed}",
                (
                    "pretrain", "demo_crops", "--no-tune", "--data-root", str(crops),
                    "--cfg-options", f"model.num_classes={len(SHAPES)}",
                    f"model.data_preprocessor.num_classes={len(SHAPES)}",
                    f"randomness.seed={seed}", f"train_cfg.max_epochs={epochs}",
                ),
            )  # fmt: skip
        for images in IMAGES:
            root = args.work_dir / f"images_{images}_{seed}"
            if not root.exists():
                generate_shapes(root, num_train=images, num_val=EVALUATED, seed=seed)
            settings = on_few(images, STEPS)
            for pretraining, epochs in PRETRAINING.items():
                yield Training(
                    f"{epochs}_{images}_{seed}",
                    (
                        "train", "demo_shapes", "--no-tune", "--cfg-options",
                        f"randomness.seed={seed}", *settings,
                    ),
                    coco_root=root,
                    weights=f"trunk_{epochs}_{seed}" if epochs else "",
                    row={"pretraining": pretraining, "images": images, "seed": seed},
                )  # fmt: skip


STUDIES = {
    "cardinality": Study(
        cardinality, {"top1": "accuracy/top1"}, "network", "groups", "top-1 accuracy on CIFAR-10"
    ),
    "transfer": Study(
        transfer,
        {"box_ap50": "coco/bbox_mAP_50", "mask_ap50": "coco/segm_mAP_50"},
        "pretraining",
        "images",
        "box AP50 on other images",
    ),
}


def train(training: Training, folder: Path, stop: Event) -> None:
    """Runs one training, or what is left of it, until it ends or all are to stop."""
    work_dir = folder / training.name
    done, said = work_dir / "ended", shlex.join(training.arguments)
    if done.exists() and done.read_text(encoding="utf-8") != said:
        stop.set()
        raise InputError(f"{work_dir}: is of another training; give another --work-dir")
    if done.exists() or stop.is_set():
        return
    weights = list((folder / training.weights).glob("*.safetensors")) if training.weights else []
    if training.weights and not weights:
        return  # its trunk has no time to end
    command = [sys.executable, "-m", "resnext_backbones", *training.arguments[:2]]
    command += ["--work-dir", str(work_dir)]
    command += ["--resume"] * (newest_checkpoint(work_dir) is not None)
    command += [part for path in weights for part in ("--weights", str(path))]
    environment = {**os.environ, "RESNEXT_BACKBONES_NO_REPORT": "1", "OMP_NUM_THREADS": "1"}
    if training.coco_root is not None:
        environment["COCO_ROOT"] = str(training.coco_root)
    work_dir.mkdir(parents=True, exist_ok=True)
    with (folder / f"{training.name}.log").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            [*command, *training.arguments[2:]],
            env=environment,
            stdout=log,
            stderr=log,
        )
        while process.poll() is None:
            if stop.wait(1):
                process.terminate()  # it writes a checkpoint, and is resumed by the next call
                process.wait()
                return
    if status := process.returncode:
        stop.set()
        raise InputError(f"{training.name}: ended with status {status}; see {log.name}")
    done.write_text(said, encoding="utf-8")


def rows(study: Study, trainings: Sequence[Training], folder: Path) -> list[dict[str, Any]]:
    """Returns what ended, each with the metrics of its last evaluation."""
    found = []
    for training in trainings:
        if training.row is None or not (folder / training.name / "ended").exists():
            continue
        # A detector's evaluation has no numbers at all where nothing was found.
        nothing = dict.fromkeys(study.metrics.values(), 0.0) if training.coco_root else {}
        metrics = read_journal(folder / training.name)[-1].metrics or nothing
        found.append({**training.row, **{k: metrics[key] for k, key in study.metrics.items()}})
    return found


def summary(study: Study, found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns mean and standard deviation of each metric over the seeds."""
    keys = list(dict.fromkeys((row[study.series], row[study.axis]) for row in found))
    means = []
    for series, at in keys:
        of = [row for row in found if (row[study.series], row[study.axis]) == (series, at)]
        mean = {study.series: series, study.axis: at, "seeds": len(of)}
        for metric in study.metrics:
            values = [row[metric] for row in of]
            mean[f"{metric}_mean"] = statistics.mean(values)
            mean[f"{metric}_std"] = statistics.stdev(values) if len(values) > 1 else None
        means.append(mean)
    return means


def draw(study: Study, means: Sequence[dict[str, Any]], path: Path) -> None:
    """Draws the first metric's means, with bars of one standard deviation."""
    metric = next(iter(study.metrics))
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for series in dict.fromkeys(mean[study.series] for mean in means):
        of = [mean for mean in means if mean[study.series] == series]
        axes.errorbar(
            [mean[study.axis] for mean in of],
            [100 * mean[f"{metric}_mean"] for mean in of],
            yerr=[100 * (mean[f"{metric}_std"] or math.nan) for mean in of],
            marker="o",
            capsize=4,
            label=series,
        )
    ticks = sorted({mean[study.axis] for mean in means})
    axes.set(xscale="log", xlabel=study.axis, ylabel=f"{study.label}, %")
    axes.set_xticks(ticks, map(str, ticks))
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(title=study.series)
    FigureCanvasAgg(figure).print_png(str(path))


def table(study: Study, means: Sequence[dict[str, Any]]) -> Table:
    """Returns means and standard deviations in percent, for a terminal or a document."""
    shown = Table(study.series, study.axis, "seeds", *study.metrics, box=MARKDOWN)
    for mean in means:
        cells = [
            " ± ".join(
                f"{100 * mean[f'{metric}_{kind}']:.1f}"
                for kind in ("mean", "std")
                if mean[f"{metric}_{kind}"] is not None
            )
            for metric in study.metrics
        ]
        shown.add_row(*(str(mean[key]) for key in (study.series, study.axis, "seeds")), *cells)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.seeds", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--data-root", type=Path, help="of CIFAR-10, as folders of images")
    parser.add_argument("--work-dir", type=Path, help="default: work_dirs/STUDY")
    parser.add_argument("--jobs", type=int, choices=range(1, 129), metavar="NUMBER", default=2)
    parser.add_argument("--minutes", type=float, help="default: to the end")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/benchmark"))
    args = parser.parse_args()
    args.work_dir = args.work_dir or Path("work_dirs") / args.study
    study, stop = STUDIES[args.study], Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    if args.minutes is not None:
        clock = Timer(60 * args.minutes, stop.set)
        clock.daemon = True
        clock.start()
    torch.set_num_threads(1)  # as the trainings have: what the result says of the hardware
    trainings = list(study.trainings(args))
    # Those that others start from come first.
    for of_first in (True, False):
        batch = [each for each in trainings if (each.row is None) == of_first]
        with ThreadPoolExecutor(args.jobs) as pool:
            list(pool.map(lambda each: train(each, args.work_dir, stop), batch))
    found = rows(study, trainings, args.work_dir)
    if not found:
        raise InputError(f"{args.work_dir}: no training has ended yet; call it again")
    means = summary(study, found)
    command = shlex.join(["python", "-m", "benchmarks.seeds", *sys.argv[1:]])
    result = {"study": args.study, "means": means, "runs": found, "command": command}
    path = save({**result, **provenance("cpu")}, args.out, args.study)
    draw(study, means, path.with_suffix(".png"))
    console = Console()
    console.print(table(study, means))
    console.print(path, soft_wrap=True)


if __name__ == "__main__":
    run_tool(main)
