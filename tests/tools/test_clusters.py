"""The templates for clusters: their commands, their schemas, and runs that they start here.

No scheduler is here. What one sets in the environment of each node, a test sets, and every node
is this machine: so the rendezvous, the training and what a signal does are real.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tooling import QUICK, TOOLS, a_port

from resnext_backbones.cli import command_parser
from resnext_backbones.engine.catalogue import find_config
from resnext_backbones.engine.signals import REQUESTS, TERMINATED

JOB = yaml.safe_load((TOOLS / "kubernetes" / "pytorchjob.yaml").read_text())
TASK = yaml.safe_load((TOOLS / "skypilot" / "train.yaml").read_text())
POD = JOB["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]
(CONTAINER,) = POD["containers"]


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yields what each template has `resnext` do, by its comments or in its body."""
    for path in sorted(TOOLS.glob("slurm/*.sbatch")):
        for words in re.findall(rf"^# +sbatch \S*{path.name} (.*)", path.read_text(), re.M):
            yield path.name, ["train", *shlex.split(words)]
    own = CONTAINER["command"]
    yield "pytorchjob.yaml", own[own.index("resnext_backbones") + 1 :]
    (words,) = re.findall(r"-m resnext_backbones (.*)", TASK["run"].replace("\\\n", " "))
    yield "train.yaml", shlex.split(words.replace("$RUN", TASK["envs"]["RUN"]))
    text = (TOOLS / "submitit" / "submit.py").read_text().replace("\\\n", " ")
    for words in re.findall(r"^python tools/submitit.* -- +(.*)", text, re.M):
        yield "submit.py", shlex.split(words)


COMMANDS = list(commands())


def test_every_template_has_a_command() -> None:
    files = {path.name for path in TOOLS.glob("*/*") if path.suffix in {".sbatch", ".yaml", ".py"}}
    assert {name for name, _ in COMMANDS} == files


@pytest.mark.parametrize(("template", "words"), COMMANDS)
def test_the_command_of_a_template_is_one(template: str, words: list[str]) -> None:
    if "/" not in words[1]:
        assert find_config(words[1]).is_file(), template
    args = command_parser(words[0]).parse_args(words[1:])
    if template in {"pytorchjob.yaml", "train.yaml"}:
        assert args.resume == "auto", "what is started again goes on"


def test_the_page_on_clusters_names_every_template() -> None:
    page = (TOOLS.parent / "docs" / "clusters.md").read_text()
    named = set(re.findall(r"\b(?:tools|docker)/[\w/]+\.\w+", page))
    assert all((TOOLS.parent / name).is_file() for name in named)
    assert {Path(name).name for name in named} >= {name for name, _ in COMMANDS}


def unknown(value: Any, kind: str, models: list[Any], place: str) -> Iterator[str]:
    """Yields what a document has that the typed models of a client do not, or as another type."""
    if inner := re.fullmatch(r"list\[(.*)\]", kind):
        assert isinstance(value, list), f"{place}: {value!r} is no list"
        for i, each in enumerate(value):
            yield from unknown(each, inner[1], models, f"{place}[{i}]")
    elif inner := re.fullmatch(r"dict\(str, (.*)\)", kind):
        for name, each in value.items():
            yield from unknown(each, inner[1], models, f"{place}.{name}")
    elif model := next((m for package in models if (m := getattr(package, kind, None))), None):
        fields = {json: name for name, json in model.attribute_map.items()}
        yield from (f"{place}.{name}" for name in value.keys() - fields.keys())
        known = {fields[name]: each for name, each in value.items() if name in fields}
        for name, each in known.items():
            yield from unknown(
                each, model.openapi_types[name], models, f"{place}.{model.attribute_map[name]}"
            )
        model(**known)  # which looks for what is required
    elif (wanted := {"str": str, "int": int, "bool": bool}.get(kind)) and type(value) is not wanted:
        yield f"{place}: {value!r} is no {kind}"


def test_kubeflows_client_knows_every_field_of_the_job() -> None:
    kubernetes = pytest.importorskip("kubernetes.client", reason="kubeflow-training is missing")
    from kubeflow.training import models

    def faults(job: dict[str, Any]) -> list[str]:
        return list(unknown(job, "KubeflowOrgV1PyTorchJob", [models, kubernetes], "job"))

    assert faults(JOB) == []
    broken = yaml.safe_load(yaml.safe_dump(JOB).replace("mountPath: /runs", "mountpath: /runs"))
    with pytest.raises(ValueError, match="mount_path"):
        faults(broken)
    broken = yaml.safe_load(yaml.safe_dump(JOB))
    broken["spec"]["elasticPolicy"]["minReplicas"] = "2"
    broken["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["volume"] = []
    assert sorted(faults(broken)) == [
        "job.spec.elasticPolicy.minReplicas: '2' is no int",
        "job.spec.pytorchReplicaSpecs.Worker.template.spec.volume",
    ]


def test_a_pod_has_time_to_save_and_room_for_what_it_reads() -> None:
    env = {each["name"]: each["value"] for each in CONTAINER["env"]}
    assert POD["terminationGracePeriodSeconds"] > int(env["PET_SHUTDOWN_TIMEOUT"]) > 30
    mounts = {each["name"]: each["mountPath"] for each in CONTAINER["volumeMounts"]}
    assert mounts.keys() == {each["name"] for each in POD["volumes"]}
    assert "/dev/shm" in mounts.values()
    work_dir = CONTAINER["command"][CONTAINER["command"].index("--work-dir") + 1]
    assert Path(work_dir).is_relative_to(mounts["runs"])
    assert Path(env["COCO_ROOT"]).is_relative_to(mounts["data"])
    policy = JOB["spec"]["elasticPolicy"]
    replicas = JOB["spec"]["pytorchReplicaSpecs"]["Worker"]["replicas"]
    assert policy["minReplicas"] <= replicas == policy["maxReplicas"]
    assert str(CONTAINER["resources"]["limits"]["nvidia.com/gpu"]) == JOB["spec"]["nprocPerNode"]


def test_skypilot_takes_the_task(tmp_path: Path) -> None:
    """SkyPilot's packages clash with others: it is the one of an environment of its own."""
    python = os.environ.get("SKYPILOT_PYTHON")
    if not python:
        pytest.skip("SKYPILOT_PYTHON names no Python that has skypilot")
    code = (
        "import sys, sky; task = sky.Task.from_yaml(sys.argv[1])\n"
        "print(task.num_nodes, sorted(task.storage_mounts), {r.use_spot for r in task.resources})"
    )
    for path, status in ((TOOLS / "skypilot" / "train.yaml", 0), (tmp_path / "wrong.yaml", 1)):
        if status:
            text = (TOOLS / "skypilot" / "train.yaml").read_text()
            path.write_text(text.replace("use_spot", "use_spots"))
        done = subprocess.run(
            [python, "-c", code, str(path)], capture_output=True, text=True, check=False,
            timeout=300, env={**os.environ, "HOME": str(tmp_path), "PYTHONPATH": ""},
        )  # fmt: skip
        assert done.returncode == status, done.stderr[-3000:]
    else:
        assert "use_spots" in done.stderr


# Runs that the templates start.


def the_operators(port: int) -> dict[str, str]:
    """What the Training Operator 1.9 sets in a pod of an elastic job."""
    policy = JOB["spec"]["elasticPolicy"]
    return {
        "PET_NPROC_PER_NODE": "1",  # in place of nprocPerNode
        "PET_RDZV_ENDPOINT": f"localhost:{port}",
        "PET_RDZV_BACKEND": policy["rdzvBackend"],
        "PET_NNODES": f"{policy['minReplicas']}:{policy['maxReplicas']}",
        "PET_MAX_RESTARTS": str(policy["maxRestarts"]),
        "PYTHONUNBUFFERED": "1",
    } | {each["name"]: each["value"] for each in CONTAINER["env"]}


def skypilots(port: int) -> dict[str, str]:
    """What SkyPilot sets for the commands of a task, of which this machine is both nodes."""
    return {
        "SKYPILOT_NODE_IPS": "localhost\nlocalhost",
        "SKYPILOT_NUM_NODES": str(TASK["num_nodes"]),
        "SKYPILOT_NUM_GPUS_PER_NODE": "1",
        "SKYPILOT_TASK_ID": f"task-{port}",
        "RUN": "demo_shapes",
    }


def started_by(template: str, port: int, runs: Path, root: Path) -> tuple[list[str], dict]:
    """Returns the command of one node and its variables, on the demo's images and this disk."""
    options = [*QUICK, "train_cfg.max_epochs=1"]
    if template == "kubernetes":
        words = [word.replace("/runs", str(runs)) for word in CONTAINER["command"]]
        words[words.index("train") + 1] = "demo_shapes"
        words[0] = str(Path(sys.executable).with_name(words[0]))
        words += options
        env = the_operators(port)
    else:
        script = TASK["run"].replace("/runs", str(runs)).replace("29500", str(port))
        script = script.replace("/data/coco", str(root)).replace(".venv/bin/python", sys.executable)
        words = ["bash", "-euc", f"{script.rstrip()} {shlex.join(options)}"]
        env = skypilots(port)
    return words, {**os.environ, **env, "COCO_ROOT": str(root), "OMP_NUM_THREADS": "1"}


@pytest.mark.whole
@pytest.mark.parametrize("template", ["kubernetes", "skypilot"])
def test_two_nodes_of_a_template_train(template: str, shapes_root: Path, tmp_path: Path) -> None:
    pytest.importorskip("mmdet", reason="MMDetection is not installed")
    words, env = started_by(template, a_port(), tmp_path / "runs", shapes_root)
    nodes = [
        subprocess.Popen(words, env=env, stdout=log.open("w"), stderr=subprocess.STDOUT)
        for log in (tmp_path / "0.log", tmp_path / "1.log")
    ]
    try:
        for node in nodes:
            node.wait(timeout=300)
    finally:
        for node in nodes:
            node.kill()
    said = "".join((tmp_path / f"{i}.log").read_text() for i in range(2))
    assert [node.returncode for node in nodes] == [0, 0], said[-3000:]
    assert "current batch size is 8" in said, "of both"
    assert list(tmp_path.glob("runs/*/epoch_1.pth"))


def children(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for(text: str, logs: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not any(text in log.read_text() for log in logs.glob("*.out")):
        assert process.poll() is None, "ended"
        assert time.monotonic() < deadline, text
        time.sleep(0.05)


@pytest.mark.whole
def test_submitit_sends_a_run_again_that_saved(shapes_root: Path, tmp_path: Path) -> None:
    """Two tasks of its local executor get the signal that Slurm sends before the time is over."""
    pytest.importorskip("submitit", reason="submitit is not installed")
    pytest.importorskip("mmdet", reason="MMDetection is not installed")
    logs, runs = tmp_path / "logs", tmp_path / "run"
    process = subprocess.Popen(
        [
            sys.executable, TOOLS / "submitit" / "submit.py", "--local", "--gpus", "2",
            "--hours", "0.2", "--folder", logs, "--", "train", "demo_shapes", "--work-dir", runs,
            "--cfg-options", *QUICK,
        ],
        env={**os.environ, "COCO_ROOT": str(shapes_root), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        job = int(re.match(r"job (\d+): ", process.stdout.readline())[1])
        wait_for("Epoch(train)", logs, process)
        for task in children(job):
            for each in (*children(task), task):  # as Slurm does
                os.kill(each, signal.SIGUSR2)
        assert process.wait(timeout=300) == 0
    finally:
        process.kill()
    said = "".join(log.read_text() for log in sorted(logs.glob("*_log.*")))
    assert "Requeued job" in said
    assert re.search(r"resumed from \S*iter_\d.pth", said)
    assert said.count("Job completed successfully") == 3, "the second task twice"
    assert (runs / "epoch_2.pth").is_file()


def test_submitit_asks_slurm_for_what_was_given(tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed")
    for name, text in {"srun": "", "sbatch": f'cp "$1" {tmp_path}/sent; echo batch job 7'}.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        [
            sys.executable, TOOLS / "submitit" / "submit.py", "--nodes", "2", "--hours", "1.5",
            "--partition", "gpu", "--folder", tmp_path / "logs", "--", "train", "demo_shapes",
        ],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("job 7: ")
    asked = set(re.findall(r"^#SBATCH --(\S+)", (tmp_path / "sent").read_text(), re.M))
    assert asked >= {
        "nodes=2", "gpus-per-node=8", "ntasks-per-node=8", "cpus-per-task=8", "time=90",
        "partition=gpu", "signal=USR2@180",
    }  # fmt: skip


def test_submitits_signal_and_status_are_the_packages() -> None:
    source = (TOOLS / "submitit" / "submit.py").read_text()
    assert "SAVED = 128 + signal.SIGTERM" in source
    assert TERMINATED == 128 + signal.SIGTERM
    assert signal.SIGUSR2 in REQUESTS, "the one that submitit asks Slurm for"
