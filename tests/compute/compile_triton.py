"""Compile the Triton kernels for a GPU that need not be there: a process of test_triton_kernels.py.

Its one argument is the GPU's capability, 80 or 90.

Prints which arguments each kernel is specialised for, and then a line for each compilation: shared
memory in bytes, and whether there are matrix instructions and loads of 16 bytes.
"""

import json
import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from resnext_backbones.compute import triton_kernels

GEOMETRY = ("KERNEL", 3), ("STRIDE", 2), ("PADDING", 1), ("DILATION", 1)
SETTING = {f"{name}_{axis}": value for name, value in GEOMETRY for axis in "HW"}
KERNELS = {
    "_convolve": {"HAS_BIAS": True, "TRANSPOSED": False},
    "_grad_input": {"HAS_BIAS": False, "TRANSPOSED": True},
    "_grad_weight": {},
}
CASES = (
    {"TILE": 16, "kind": "bf16", "PRECISION": "tf32"},
    {"TILE": 64, "kind": "bf16", "PRECISION": "tf32"},
    {"TILE": 32, "kind": "fp32", "PRECISION": "tf32"},
    {"TILE": 32, "kind": "fp32", "PRECISION": "ieee"},
)
OF_CAPABILITY = {80: CASES[1:3], 90: CASES}


def compile_for(capability: int, name: str, case: dict) -> triton.compiler.CompiledKernel:
    kernel = triton_kernels._grad_weight if name == "_grad_weight" else triton_kernels._convolve
    constants = SETTING | case | KERNELS[name] | {"GROUP": 4, "PIXELS": triton_kernels.PIXELS}
    kind = constants.pop("kind")
    signature, aligned = {}, {}
    for place, parameter in enumerate(kernel.params):
        if parameter.name.endswith("_ptr"):
            signature[parameter.name] = "*fp32" if parameter.name == "partial_ptr" else f"*{kind}"
        else:
            signature[parameter.name] = "constexpr" if parameter.name in constants else "i32"
        if not parameter.is_constexpr and not parameter.do_not_specialize:
            aligned[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constants, aligned)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32))


for kernel in (triton_kernels._convolve, triton_kernels._grad_weight):
    specialised = [p.name for p in kernel.params if not p.is_constexpr and not p.do_not_specialize]
    print(json.dumps({"specialised": specialised}))
capability = int(sys.argv[1])
for name in KERNELS:
    for case in OF_CAPABILITY[capability]:
        compiled = compile_for(capability, name, case)
        assembly = compiled.asm["ptx"]
        row = {"capability": capability, "kernel": name, **case}
        row["shared"] = compiled.metadata.shared
        row["matrix"] = any(word in assembly for word in ("mma.sync", "wgmma"))
        row["wide_loads"] = "cp.async.cg" in assembly
        print(json.dumps(row))
