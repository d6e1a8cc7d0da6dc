"""The command `resnext`: its help, its commands and its completion."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
import torch
from tooling import ROOT, TOOLS
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from resnext_backbones import cli
from resnext_backbones.extras import EXTRAS, MODULES
from resnext_backbones.weights.registry import REGISTRY

RESNEXT = [sys.executable, "-m", "resnext_backbones"]
HEAVY = {"torch", "torchvision", "numpy", "mmengine", "mmdet", "timm", "transformers", "cv2"}


def examples(name: str) -> list[list[str]]:
    """The command lines in a command's help that are whole, each from its name on."""
    text = cli.command_parser(name, f"resnext {name}").format_help().replace("\\\n", " ")
    lines = re.findall(rf"^.*\b(?:resnext|-m resnext_backbones) {name}( .*)?$", text, re.M)
    # The first one may be argparse's own.
    return [
        shlex.split(line, comments=True) for line in lines if "[" not in line and "..." not in line
    ]


def test_the_help_is_one_screen_with_every_command(capsys) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    for name in cli.COMMANDS:
        assert any(re.match(rf"  {name} +\w.*\.$", line) for line in lines), name


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_examples_that_it_takes(name: str) -> None:
    found = examples(name)
    assert found
    for arguments in found:
        assert cli.command_parser(name).parse_intermixed_args(arguments)


def test_the_scripts_are_the_commands() -> None:
    started = [
        (path.name, name)
        for path in TOOLS.glob("*.py")
        for name in re.findall(r"(?:run_script|command_parser)\(\"(.+)\"\)", path.read_text())
    ]
    assert sorted(name for _, name in started) == sorted(cli.COMMANDS)
    done = subprocess.run(
        [sys.executable, TOOLS / "list_weights.py", "wsl"], capture_output=True, text=True
    )
    _, *lines = done.stdout.partition("\n\n")[0].splitlines()
    assert len(lines) == sum("wsl" in alias for alias in REGISTRY)


def test_help_list_and_completion_do_without_pytorch(tmp_path: Path) -> None:
    code = (
        "import sys; from resnext_backbones import cli; cli.parser(); cli.main(['list', '101']); "
        "cli.main(['list', '--configs']); cli.main(['list', '--memory', '8GB']); "
        "cli.main(['list', '--networks', '--sort', 'memory']); "
        f"sys.exit(str({HEAVY} & sys.modules.keys() or ''))"
    )
    measured = {**os.environ, "TORCH_HOME": str(tmp_path)}  # nothing was
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=measured
    )
    assert done.stderr.strip() == ""
    assert "fair/resnext101_32x8d.wsl" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "error: trian: no such command; try train, pretrain"),
        (["list", "vgg"], "error: vgg: no alias has this in it; `resnext list` has all"),
        (["list", "vgg", "--memory", "8GB"], "error: vgg: no alias has this in it"),
        (["list", "vgg", "--networks"], "no network has this in it; `resnext list --networks`"),
        (["list", "--memory", "8"], "8: use a number above zero and KB or MB or GB"),
        (["list", "--latency", "0ms"], "0ms: use a number above zero and ms or s"),
        (["list", "--memory", "1MB"], "the smallest is torchvision/regnet_x_400mf.v1, 416 MB"),
        (["list", "--memory", "8GB", "--networks"], "error: --networks: --latency and --memory"),
        (["list", "--configs", "--size", "64x64"], "error: --size: configs have none"),
        (["list", "--networks", "--licence", "free"], "error: --licence: weights have one"),
        (["publish", "none.pth"], "error: checkpoint none.pth: there is no such file"),
        (["predict", "c", "w", "i", "--batch-size", "0"], "0: use a whole number above zero"),
        ([], "commands:"),
    ],
)
def test_what_is_wrong_ends_with_one_message(arguments: list[str], message: str, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


RUN_ALL = """
import contextlib, io, sys
from resnext_backbones import cli
for line in sys.argv[1:]:
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.suppress(SystemExit):
        cli.main(line.split())
    print(said.getvalue().strip())
"""


@pytest.fixture
def plain(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that sees what `pip install` brings without an extra."""
    hidden = {*MODULES} - {"PIL"}  # which torchvision brings
    packages = packages_distributions()
    names = {name.replace("-", "_") for module in hidden for name in packages.get(module, ())}
    (site := tmp_path / "site").mkdir()
    for folder in (Path(path) for path in sys.path if path.endswith("site-packages")):
        for entry in folder.iterdir():
            if {entry.name, entry.name.partition("-")[0]}.isdisjoint(hidden | names):
                with contextlib.suppress(FileExistsError):  # the first one counts
                    (site / entry.name).symlink_to(entry)
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{site}"}


def test_without_its_extra_a_command_says_how_to_install_it(plain, tmp_path: Path) -> None:
    arguments = {
        "train": "demo_coco",
        "test": "demo_coco epoch_1.pth",
        "predict": "demo_coco epoch_1.pth street.jpg --out found",
        "verify": "torchvision/resnext50_32x4d.v2 --data-root data",
        "pretrain": "imagenet/paper",
        "publish": "epoch_1.pth",
        "export": "resnext26_32x4d --weights none",
        "plan": "imagenet/paper",
        "check-data": "annotations.json",
        "report": "work",
        "demo": "",
    }
    assert arguments.keys() == EXTRAS.keys()
    lines = [*map(" ".join, arguments.items()), "verify mask-rcnn_x101-32x4d_fpn_1x_coco"]
    (work := tmp_path / "work").mkdir()
    done = subprocess.run(
        [sys.executable, "-S", "-c", RUN_ALL, *lines],
        capture_output=True,
        text=True,
        cwd=work,
        env=plain,
    )
    assert done.returncode == 0, done.stderr
    *said, zoo = done.stdout.splitlines()
    for line, (name, extras) in zip(said, EXTRAS.items(), strict=True):
        install = " or ".join(f'pip install "resnext_backbones[{extra}]"' for extra in extras)
        wanted = rf"error: {name}: needs \w+, which is not installed: {re.escape(install)}"
        assert re.fullmatch(wanted, line), line
    assert zoo.endswith('is not installed: pip install "resnext_backbones[mmdet]"')
    assert not list(work.iterdir())


def test_the_modules_of_the_extras_are_known() -> None:
    """Of what is installed; an extra's distribution brings a module of another name."""
    packages = packages_distributions()
    brought = {
        name: {module for module, found in packages.items() if name in map(str.lower, found)}
        for line in requires("resnext_backbones") or ()
        if any(f'"{extra}"' in line for extras in EXTRAS.values() for extra in extras)
        for name in re.findall(r"^[\w.-]+", line.lower())
    }
    assert len(brought) > 8
    assert all(modules & {*MODULES} for modules in brought.values() if modules), brought


def test_a_command_leaves_the_processes_that_it_joined(monkeypatch) -> None:
    """With the group's threads: one that lives on can abort the process while it ends."""

    def join(_: object) -> None:
        distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
        runner = [DistributedDataParallel(torch.nn.Linear(2, 2))]
        runner.append(runner)  # as a runner and its hooks hold each other

    def gloo_threads() -> set[Path]:
        threads = Path("/proc/self/task").glob("*/comm")  # older versions of PyTorch name none
        return {path for path in threads if "gloo" in path.read_text()}

    before = gloo_threads()  # FSDP2's meshes keep those of other tests
    monkeypatch.setattr("resnext_backbones.commands.list.run", join)
    cli.main(["list"])
    assert not distributed.is_initialized()
    assert gloo_threads() <= before


def test_a_reader_may_stop_early() -> None:
    command = f"{shlex.join(RESNEXT)} list | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.count("\n") == 1
    assert not done.stderr


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("resnext tr", ["train", "train-detectron2"]),
        ("resnext train mask_rcnn_x50_32x4d_fpn_c", ["mask_rcnn_x50_32x4d_fpn_coco"]),
        ("resnext pretrain c --variant resnext101_32x3", ["resnext101_32x32d"]),
        ("resnext pretrain cifar/cifar10_quick --variant resnext29_1x2", ["resnext29_1x23d"]),
        ("resnext convert torchvision/resnext101_64", ["torchvision/resnext101_64x4d.v1"]),
        ("resnext convert a b --to mm", ["mmdet", "mmpretrain"]),
        ("resnext train c --weights fair/resnext101_64", ["fair/resnext101_64x4d.torch7"]),
        ("resnext test cli_te", ["cli_test.py"]),
        ("resnext check-data --from la", ["labelme"]),
    ],
)
def test_bash_completes(line: str, offered: list[str], tmp_path: Path) -> None:
    pytest.importorskip("argcomplete", reason="argcomplete is not installed")
    register = Path(sys.executable).with_name("register-python-argcomplete")
    (tmp_path / "cli_test.py").touch()
    (bin_ := tmp_path / "bin").mkdir()
    (bin_ / "resnext").write_text(f'#!/bin/sh\nexec {shlex.join(RESNEXT)} "$@"\n')
    (bin_ / "resnext").chmod(0o755)
    script = f"""
eval "$({shlex.quote(str(register))} resnext)"
COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)} COMP_TYPE=9
COMP_WORDS=({line}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_python_argcomplete resnext "${{COMP_WORDS[COMP_CWORD]}}" ""
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    env = {**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [shutil.which("bash") or "bash", "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=env,
    )
    found = [word.strip() for word in done.stdout.splitlines() if word.strip()]
    assert found == offered, done.stderr
