"""Imports modules one after another and says how it went: a script that needs no package.

`probing` starts it, with one argument of JSON: `path`, `names`, `seconds` and `answers`, the file
to which it adds a line when a module begins, and one when it has ended. A module that crashes or
hangs takes this process alone with it, and the last line says which one it was.
"""

from __future__ import annotations

import faulthandler
import json
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path
from typing import Any

COLLECT_ENV = "torch.utils.collect_env"


def _torch(torch: Any) -> dict[str, Any]:
    """Returns what torch was built for and what it finds here; a small product has to be right."""
    facts: dict[str, Any] = {
        "cuda": torch.version.cuda,
        "hip": getattr(torch.version, "hip", None),
        "cudnn": torch.backends.cudnn.version() if torch.version.cuda else None,
        "threads": torch.get_num_threads(),
        "cxx11_abi": torch.compiled_with_cxx11_abi(),
        "numpy": _error_of(lambda: torch.ones(2).numpy()),
    }
    if float((torch.ones(2, 2) @ torch.ones(2, 2)).sum()) != 8:
        raise ArithmeticError("the product of two matrices of ones is wrong")
    available = torch.cuda.is_available()
    facts["devices"] = [_device(torch, index) for index in range(torch.cuda.device_count())]
    facts["available"] = available
    if available:
        facts["architectures"] = torch.cuda.get_arch_list()
        facts["gpu_error"] = _error_of(lambda: (torch.ones(2, device="cuda") * 2).sum().item())
    return facts


def _device(torch: Any, index: int) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(index)
    return {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "gigabytes": round(properties.total_memory / 2**30, 1),
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


def _operators(package: Any) -> dict[str, Any]:
    chosen = package.OPERATORS
    return {"operators": str(chosen), "compiled": chosen.compiled}


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
    "resnext_backbones.mmcv_ops": _operators,
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
            kind = type(error).__name__
            missing = error.name if isinstance(error, ModuleNotFoundError) else None
            return {"error": f"{kind}: {error}", "missing": missing}
    return {
        "version": str(getattr(module, "__version__", "")),
        "facts": facts,
        "warnings": [str(each.message) for each in said],
    }


def main() -> None:
    asked = json.loads(sys.argv[1])
    sys.path[:] = asked["path"]
    faulthandler.enable()
    faulthandler.dump_traceback_later(asked["seconds"])
    with Path(asked["answers"]).open("a", encoding="utf-8") as answers:
        for name in asked["names"]:
            print(json.dumps({"begun": name}), file=answers, flush=True)
            print(json.dumps({"name": name, **_try(name)}), file=answers, flush=True)


if __name__ == "__main__":
    main()
