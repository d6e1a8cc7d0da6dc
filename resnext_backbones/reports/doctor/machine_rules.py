"""Rules say what of a machine keeps a run from working well."""

from __future__ import annotations

from collections.abc import Iterator

from resnext_backbones.reports.doctor.failures import pip
from resnext_backbones.reports.doctor.setup import Finding, SetUp

GIB = 2**30
LEAST_SHM, LEAST_HANDLES, LEAST_DISK, LOW_DISK = GIB, 1024, GIB, 10 * GIB


def gpus(setup: SetUp) -> Iterator[Finding]:
    """An NVIDIA GPU is there, and PyTorch cannot use it."""
    gpus, torch = setup.facts.get("gpus"), setup.probes.get("torch")
    if gpus is None or not gpus.cards:
        return
    if gpus.error:
        mend = "sudo reboot" if "mismatch" in gpus.error else ""
        yield Finding(f"the driver of the NVIDIA GPU does not answer: {gpus.error}", mend)
        return
    if not gpus.driver:
        yield Finding("an NVIDIA GPU is there, and no driver of it (nvidia-smi is not found)")
        return
    if torch is None or not torch.works or torch.facts.get("hip"):
        return
    cuda, named = torch.facts["cuda"], ", ".join(gpus.names)
    if cuda is None:
        yield Finding(
            f"torch {torch.version} computes on the processor alone, and there is an NVIDIA GPU "
            f"({named})",
            f"{pip()} uninstall -y torch torchvision && "
            f"{pip()} install --no-cache-dir torch torchvision",
        )
    elif gpus.cuda and _major(cuda) > _major(gpus.cuda):
        yield Finding(
            f"the NVIDIA driver {gpus.driver} runs CUDA up to {gpus.cuda}, and torch "
            f"{torch.version} was built for {cuda}: install a newer driver, or a torch that was "
            f"built for CUDA {_major(gpus.cuda)} (pytorch.org has the command)",
        )
    elif not torch.facts["available"]:
        said = "; ".join(torch.warnings) or "it does not say why"
        hidden = setup.facts["environment"].get("CUDA_VISIBLE_DEVICES")
        if hidden is not None and hidden.strip() in ("", "-1"):
            yield Finding(
                f"CUDA_VISIBLE_DEVICES={hidden} hides the NVIDIA GPU ({named})",
                "unset CUDA_VISIBLE_DEVICES",
            )
        else:
            yield Finding(f"torch finds no GPU beside an NVIDIA driver ({named}): {said}")
    elif error := torch.facts["gpu_error"]:
        yield Finding(f"torch cannot compute on the GPU ({named}): {error}")


def _major(version: str) -> int:
    return int(version.partition(".")[0])


def room(setup: SetUp) -> Iterator[Finding]:
    """Something is full, or too small for a run."""
    shm, runs, handles = (setup.facts.get(name) for name in ("shm", "runs", "handles"))
    if shm is not None and min(shm.total, shm.free) < LEAST_SHM:
        yield Finding(
            f"/dev/shm has {size(shm.free)} free of {size(shm.total)}, and processes that load "
            "images hand them on there: give the container more (docker run --shm-size=8g), or "
            "load in the process itself with num_workers=0"
        )
    if runs is not None and runs.free < LEAST_DISK:
        yield Finding(f"{setup.runs}: {size(runs.free)} free of {size(runs.total)} for checkpoints")
    temporary = setup.facts.get("temporary")
    if temporary is not None and temporary.free < LEAST_DISK / 10:
        yield Finding(
            f"the folder of temporary files has {size(temporary.free)} free; TMPDIR moves it"
        )
    if handles is not None and 0 <= handles[0] < LEAST_HANDLES:
        yield Finding(
            f"a process may have {handles[0]} files open, and workers share images as files",
            f"ulimit -n {LEAST_HANDLES if handles[1] < 0 else min(4096, handles[1])}",
        )


def caches(setup: SetUp) -> Iterator[Finding]:
    """Nothing can be written where downloads and compiled code are kept."""
    for name, trouble in (setup.facts.get("caches") or {}).items():
        if trouble:
            yield Finding(
                f"{name}: {trouble}, so nothing can be kept there", f"export {name}=FOLDER"
            )


def size(count: int) -> str:
    """Returns a number of bytes in words."""
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / 2**20:.0f} MiB"
