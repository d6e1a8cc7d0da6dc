"""Every command line of the documents: run in its small form, or listed with the reason."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from documents import PAGES, ROOT, Command, blocks, commands
from forked import DETECTORS, run_forked
from small_forms import CONFIG, FORMS, Form, form_of, small_words
from small_world import make_world

from resnext_backbones import cli

LISTED = re.findall(
    r"^\| `(.+?)` \| .+ \|$", (ROOT / "docs/not_run.md").read_text(encoding="utf-8"), re.M
)
SCRIPTS = {
    name: path.name
    for path in (ROOT / "tools").glob("*.py")
    for name in re.findall(r'(?:run_script|command_parser)\("(.+)"\)', path.read_text())
}
RUNNER = str(ROOT / "tests" / "one_block.py")
WEIGHTS = (
    "open-mmlab/resnext101_32x4d",
    "open-mmlab/resnext50_32x4d",
    "torchvision/resnext50_32x4d.v2",
    "torchvision/resnext101_64x4d.v1",
)
"""What the commands would download."""


def bare(line: str) -> str:
    """A line without the variables that it sets, in whose place the tests have their own."""
    return re.sub(r"^(?:(?!TIMM)[A-Z_]+=\S+ )+", "", line)


def listed(line: str) -> str | None:
    return next((each for each in LISTED if line.startswith(each)), None)


ALL = [Command(bare(each.line), each.place) for each in commands()]
TO_RUN = [each for each in ALL if not listed(each.line)]
ONCE = list({each.line.replace("CONFIG", CONFIG): each for each in TO_RUN}.values())


SHOWN = {"docs/annotations.md": "test_the_message_about_annotations_is_the_one_shown"}
"""What a terminal shows, by the page: the test that compares it."""


def test_every_block_has_a_language() -> None:
    for block in blocks():
        assert block.language in ("python", "sh", "text"), f"{block.place} has no language"
        assert block.language != "text" or block.page in SHOWN, f"{block.place}: who compares it?"


def test_every_command_is_run_or_listed() -> None:
    for each in TO_RUN:
        assert form_of(each.line), f"{each.place}: {each.line} is neither run nor listed"
    assert {form_of(each.line) for each in TO_RUN} == set(FORMS), "a form that no page has"
    assert {listed(each.line) for each in ALL} >= set(LISTED), "a line of the list is on no page"


def arguments_of(line: str) -> tuple[str, list[str]] | None:
    """The command of this package that a line starts, and its arguments."""
    words = [word for word in shlex.split(line) if word not in ("python", "-m")]
    if words[0] == "torchrun":
        first = next(n for n, word in enumerate(words) if word.startswith(("tools/", "resnext")))
        words = words[first:]
    by_script = {f"tools/{script}": name for name, script in SCRIPTS.items()}
    if words[0] in by_script:
        return by_script[words[0]], words[1:]
    return (words[1], words[2:]) if words[0] in ("resnext", "resnext_backbones") else None


def test_the_commands_take_the_arguments_that_are_shown() -> None:
    for each in ALL:
        if found := arguments_of(each.line.partition(" > ")[0]):
            name, arguments = found
            numbers = {"RANK": "1", "NODE": "1"}
            cli.command_parser(name).parse_intermixed_args(
                [numbers.get(word, word) for word in arguments]
            )


def test_options_in_the_text_are_there() -> None:
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for line in re.findall(r"`((?:resnext|python tools/)[^`\n]+)`", text):
            name = re.sub(r"^(resnext |python )", "", line).split()[0]
            name = next((n for n, script in SCRIPTS.items() if name == f"tools/{script}"), name)
            if name in cli.COMMANDS:
                known = cli.command_parser(name)._option_string_actions
                for option in re.findall(r"(?<=\s)--[a-z][a-z-]*", line):
                    assert option in known, f"{page}: {line}"


@pytest.mark.whole
def test_the_commands_run_in_their_small_form(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("mmdet", reason="MMDetection is not installed")
    world = make_world(tmp_path / "world")
    monkeypatch.chdir(world)
    monkeypatch.setenv("TORCH_HOME", str(world / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(world / "cache"))
    monkeypatch.setenv("COCO_ROOT", "data/coco")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_published()
    for block in blocks():
        if found := re.match(r"# (configs/\w+\.py)\n", block.text):
            Path(found[1]).write_text(block.text)
    failed = []
    for each in ONCE:
        form, begun = form_of(each.line), time.perf_counter()
        done = start(each.line, form)
        print(f"{time.perf_counter() - begun:.1f} s: {each.line}", file=sys.stderr)
        missing = [name for name in form.leaves if not (world / name).is_file()]
        if done.returncode not in form.statuses or missing:
            said = (done.stdout + done.stderr)[-3000:]
            failed.append(f"{each.place}: {each.line}\n{done.returncode} {missing}\n{said}")
        for pattern, name in form.copies:
            for found in world.glob(pattern):
                Path(name).hardlink_to(found)
        shutil.rmtree(world / "work_dirs" / "elsewhere", ignore_errors=True)
    assert not failed, "\n\n".join(failed)


def write_published() -> None:
    """Puts files of random weights where those of the registry would be downloaded to."""
    code = (
        "import torch; from one_block import shrink; shrink()\n"
        "from resnext_backbones import build_backbone\n"
        "from resnext_backbones.weights.registry import REGISTRY\n"
        "from resnext_backbones.weights.download import path_of\n"
        f"for alias in {WEIGHTS}:\n"
        "    path = path_of(REGISTRY[alias].file)\n"
        "    path.parent.mkdir(parents=True, exist_ok=True)\n"
        "    state = build_backbone(REGISTRY[alias].variant).state_dict()\n"
        "    torch.save(state, path)\n"
        "part = lambda n: {f'backbone.{k}': v + n for k, v in state.items()}\n"
        "torch.save({'student': part(0), 'teacher': part(1)}, 'dino.pth')\n"
    )
    env = {**os.environ, "PYTHONPATH": f"{ROOT}/tests:{ROOT}"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)


def start(line: str, form: Form) -> subprocess.CompletedProcess[str]:
    """Runs a line in its small form to its end."""
    if not (found := arguments_of(line.partition(" > ")[0])):
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-ec", line], capture_output=True, text=True, env={**os.environ, "PATH": path}
        )
    name, _ = found
    _, arguments = arguments_of(shlex.join(small_words(line.partition(" > ")[0], form)))
    program = [RUNNER, str(ROOT / "tools" / SCRIPTS[name]), *arguments]
    if form.torchrun:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        done = subprocess.run(
            [*torchrun, "--nproc_per_node", "2", *program],
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
    else:
        done = run_forked(program, dict(os.environ), DETECTORS, timeout=300)
    if " > " in line:
        Path(line.partition(" > ")[2]).write_text(done.stdout)
    return done
