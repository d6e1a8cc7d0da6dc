"""Imports modules one after another and says how it went: a script that needs no package.

`probing` starts it with one argument of JSON: `path`, `names`, `until` and `answers`, the file to
which it adds a line when a module begins, and one when it has ended. A module that crashes takes
this process alone with it.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path
from threading import Thread
from typing import Any

COLLECT_ENV = "torch.utils.collect_env"
OPERATORS = "resnext_backbones.mmcv_ops"

QUIET = 2.0
"""A module that has used no processor for so many seconds waits for something: those behind it go
on in another thread. It has the whole time still, since a disk may be slow."""


def _torch(torch: Any) -> dict[str, Any]:
    """Returns what torch was built for and can use here; a small product has to be right."""
    if float((torch.ones(2, 2) @ torch.ones(2, 2)).sum()) != 8:
        raise ArithmeticError("the product of two matrices of ones is wrong")
    available = torch.cuda.is_available()
    return {
        "cuda": torch.version.cuda,
        "hip": getattr(torch.version, "hip", None),
        "numpy": _error_of(lambda: torch.ones(2).numpy()),
        "available": available,
        "gpu_error": available
        and _error_of(lambda: (torch.ones(2, device="cuda") * 2).sum().item()),
    }


def _torchvision(torchvision: Any) -> dict[str, Any]:
    """Returns what torchvision was built for; its compiled operators have to compute."""
    torch = import_module("torch")
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2]])
    kept = torchvision.ops.nms(boxes, torch.tensor([0.5, 0.9]), 0.5)
    if kept.tolist() != [1]:
        raise ArithmeticError("torchvision's nms keeps a wrong box")
    built = torch.ops.torchvision._cuda_version()  # 13000 of 13.0
    return {"cuda": f"{built // 1000}.{built % 1000 // 10}" if built > 0 else None}


def _collect_env(_: Any) -> dict[str, Any]:
    """Runs PyTorch's own account, which is to be had where torch itself cannot be imported."""
    folder = Path(str(getattr(find_spec("torch"), "origin", None) or ".")).parent
    run_path(str(folder / "utils" / "collect_env.py"), run_name="__main__")
    return {}


def _error_of(action: Callable[[], Any]) -> str:
    """Returns what is wrong with an action in words; "" where it does what it should."""
    try:
        action()
    except Exception as error:  # whatever a broken build raises
        return f"{type(error).__name__}: {error}"
    return ""


FACTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "torch": _torch,
    "torchvision": _torchvision,
    OPERATORS: lambda package: {"operators": str(package.OPERATORS)},
    COLLECT_ENV: _collect_env,
}


def _try(name: str) -> dict[str, Any]:
    """Returns what is to be known of a module, or how its import failed."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            module = None if name == COLLECT_ENV else import_module(name)
            facts = FACTS.get(name, lambda _: {})(module)
        except BaseException as error:  # SystemExit and KeyboardInterrupt are raised on import, too
            missing = error.name if isinstance(error, ModuleNotFoundError) else None
            return {"error": f"{type(error).__name__}: {error}", "missing": missing or ""}
    return {
        "version": str(getattr(module, "__version__", "")),
        "facts": facts,
        "warnings": [str(each.message) for each in said],
    }


def _written() -> int:
    """Returns how many bytes were written on stdout and stderr, which are one file."""
    sys.stdout.flush()
    return os.fstat(1).st_size


def _work(waiting: deque[str], answers: Path) -> None:
    def say(**what: Any) -> None:
        with answers.open("a", encoding="utf-8") as file:
            print(json.dumps(what), file=file)

    with suppress(IndexError):  # none is left
        while True:
            name, begin = waiting.popleft(), _written()
            say(begun=name)
            say(name=name, **_try(name), said=(begin, _written()))


def _watch(waiting: deque[str], answers: Path) -> None:
    """Lets another thread do the work where nothing happens."""
    used, since = time.process_time(), time.monotonic()
    while waiting:
        time.sleep(QUIET / 20)
        if time.process_time() - used > QUIET / 40:  # its own is less
            used, since = time.process_time(), time.monotonic()
        elif time.monotonic() - since > QUIET:
            since = time.monotonic()
            Thread(target=_work, args=(waiting, answers)).start()


def main() -> None:
    asked = json.loads(sys.argv[1])
    sys.path[:] = asked["path"]
    faulthandler.enable()
    # Of what hangs, where it is; Python itself may have taken a while until here.
    faulthandler.dump_traceback_later(max(asked["until"] - time.monotonic(), 0.05))
    work = deque(asked["names"]), Path(asked["answers"])
    Thread(target=_watch, args=work, daemon=True).start()
    _work(*work)


if __name__ == "__main__":
    main()
