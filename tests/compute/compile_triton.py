"""Compile the Triton kernels for a GPU that need not be there: a process of test_triton_kernels.py.

Its one argument is the GPU's capability, 80 or 90. It prints a line for each compilation: which
arguments the kernel is specialised for, shared memory in bytes, and whether it loads activations 16
bytes at a time.
"""

import json
import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from resnext_backbones.compute import triton_kernels, triton_passes

ABSENT = ("conv_bias_ptr", "conv_bias_grad_ptr")
IN_FLOAT32 = ("bias_ptr", "sums_ptr", "weight_ptr", "gamma_ptr", "beta_ptr", "mean_ptr", "var_ptr")
KERNELS = {
    "fold": {"LAST": True, "VALUES": triton_passes.VALUES},
    "unfold": {"LAST": True, "VALUES": triton_passes.VALUES},
    "finish": {"RELU": True, **triton_passes.TILE},
    "finish_backward": triton_passes.TILE,
}


def compile_for(capability: int, name: str, kind: str) -> dict[str, object]:
    kernel = getattr(triton_kernels, name)
    constants = KERNELS[name] | {p.name: None for p in kernel.params if p.name in ABSENT}
    signature, aligned = {}, {}
    for place, parameter in enumerate(kernel.params):
        if parameter.name in constants:
            signature[parameter.name] = "constexpr"
            continue
        if parameter.name.endswith("_ptr"):
            wide = parameter.name in IN_FLOAT32 or parameter.name.endswith("_grad_ptr")
            signature[parameter.name] = "*fp32" if wide else f"*{kind}"
        else:
            signature[parameter.name] = "fp32" if parameter.name == "eps" else "i32"
        if parameter.name != "eps" and not parameter.do_not_specialize:
            aligned[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constants, aligned)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    specialised = [kernel.params[place].name for (place,) in aligned]
    return {
        "kernel": name,
        "kind": kind,
        "specialised": [name for name in specialised if not name.endswith("_ptr")],
        "shared": compiled.metadata.shared,
        "wide_loads": "ld.global.v4" in compiled.asm["ptx"],
    }


for name in KERNELS:
    for kind in ("bf16", "fp32"):
        print(json.dumps(compile_for(int(sys.argv[1]), name, kind)))
