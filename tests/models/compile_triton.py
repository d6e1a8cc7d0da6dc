"""Compile the Triton kernels for GPUs that need not be there: a process of test_triton_kernels.py.

Prints a line for each: capability, kernel, channels of a tile, shared memory in bytes, and whether
there are matrix instructions.
"""

import json

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from resnext_backbones.models import triton_kernels

GEOMETRY = ("KERNEL", 3), ("STRIDE", 2), ("PADDING", 1), ("DILATION", 1)
SETTING = {f"{name}_{axis}": value for name, value in GEOMETRY for axis in "HW"}
KERNELS = {
    "_convolve": {"HAS_BIAS": True, "TRANSPOSED": False},
    "_grad_input": {"HAS_BIAS": False, "TRANSPOSED": True},
    "_grad_weight": {},
}


def compile_for(capability: int, name: str, tile: int, kind: str) -> triton.compiler.CompiledKernel:
    kernel = triton_kernels._grad_weight if name == "_grad_weight" else triton_kernels._convolve
    pixels = triton_kernels.PIXELS
    constants = SETTING | {"GROUP": 4, "TILE": tile, "PIXELS": pixels, "PRECISION": "tf32"}
    constants |= KERNELS[name]
    signature, aligned = {}, {}
    for place, argument in enumerate(kernel.arg_names):
        if argument.endswith("_ptr"):
            signature[argument] = "*fp32" if argument == "partial_ptr" else f"*{kind}"
        else:
            signature[argument] = "constexpr" if argument in constants else "i32"
        if argument.endswith("_ptr") or argument == "channels":
            aligned[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constants, aligned)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32))


for capability in (80, 90):
    for name in KERNELS:
        for tile, kind in ((64, "bf16"), (32, "fp32")):
            compiled = compile_for(capability, name, tile, kind)
            matrix = any(word in compiled.asm["ptx"] for word in ("mma.sync", "wgmma"))
            print(json.dumps([capability, name, tile, compiled.metadata.shared, matrix]))
