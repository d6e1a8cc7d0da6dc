"""Parameters and multiply-adds of the variants: counted here, recorded once.

python -m benchmarks.complexity

writes resnext_backbones/complexity.json, the record that the tests and `resnext list` read, and
docs/variants.md.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import torch

from resnext_backbones.build import build_classifier
from resnext_backbones.complexity import IMAGES, RECORD, SIZE, kept_bytes
from resnext_backbones.io import replace_between
from resnext_backbones.variants import VARIANTS

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "variants.md"
BEGIN, END = "<!-- complexity: python -m benchmarks.complexity -->", "<!-- end -->"


def task(name: str) -> tuple[int, int]:
    """Returns the side of square images in pixels, and the classes, to count a variant for."""
    return (32, 10) if VARIANTS[name].stem == "3x3" else (224, 1000)


def count(name: str) -> dict[str, int]:
    """Counts parameters, and multiply-adds of convolutions and `fc` for one image.

    Of the classifier, and of the trunk alone, as fvcore counts them.
    """
    from fvcore.nn import FlopCountAnalysis

    logging.getLogger("fvcore").setLevel(logging.ERROR)
    size, classes = task(name)
    # fvcore traces, and a trace needs memory behind its tensors; what is in it does not matter.
    with torch.device("meta"):
        model = build_classifier(name, num_classes=classes).eval()
    model.to_empty(device="cpu")
    for tensor in model.state_dict().values():
        tensor.zero_()
    flops = FlopCountAnalysis(model, torch.zeros(1, 3, size, size))
    flops.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    by_operator = flops.by_operator()
    parameters = sum(p.numel() for p in model.parameters())
    return {
        "parameters": parameters,
        "trunk_parameters": parameters - sum(p.numel() for p in model.fc.parameters()),
        "multiply_adds": int(by_operator["conv"] + by_operator["linear"]),
        "trunk_multiply_adds": int(by_operator["conv"]),
    }


def count_kept(name: str) -> dict[str, int]:
    """Returns what a step of a detector's trunk keeps; nothing of a network for small images."""
    if VARIANTS[name].stem == "3x3":
        return {}
    return {"kept_bytes": kept_bytes(name, images=IMAGES, size=SIZE)}


def table(record: dict[str, dict[str, int]]) -> str:
    """Returns the record as a Markdown table."""
    lines = [
        "| variant | depth | C | d | parameters (M) | multiply-adds (G) | trunk alone (M) |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, numbers in record.items():
        variant = VARIANTS[name]
        lines.append(
            f"| {name} | {variant.depth} | {variant.cardinality} | {variant.base_width} "
            f"| {numbers['parameters'] / 1e6:.2f} | {numbers['multiply_adds'] / 1e9:.2f} "
            f"| {numbers['trunk_parameters'] / 1e6:.2f} |"
        )
    return "\n".join(lines)


def read_record() -> dict[str, dict[str, int]]:
    """Returns the golden record."""
    return json.loads(RECORD.read_text(encoding="utf-8"))


def update_record() -> tuple[Path, Path]:
    """Counts every variant; rewrites the record and the table."""
    record = {name: {**count(name), **count_kept(name)} for name in VARIANTS}
    RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    replace_between(DOCUMENT, BEGIN, END, table(record))
    return RECORD, DOCUMENT


if __name__ == "__main__":
    for path in update_record():
        print(path)
