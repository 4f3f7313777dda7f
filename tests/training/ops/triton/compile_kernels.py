"""python -m tests.training.ops.triton.compile_kernels: compile every kernel for GPUs, on a machine without one.

Prints, as JSON, a line for each kernel and each GPU: its registers, the bytes that it spills, and whether it reads maps
by 128 bits at a time.
"""

import inspect
import json
import re
import subprocess
import tempfile
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from training.ops.triton import bias_act, blur, epilogue, minibatch_stddev, pixel_norm
from training.ops.triton.tiles import tiles

PTXAS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
GPUS = {80: "A100", 90: "H100"}  # by compute capability

# Arguments by type; all others point to maps of bf16.
FLOAT_POINTERS = {"bias", "dbias", "noise", "strength", "style", "dstyle", "moments", "sums"}
FLOATS = {"slope", "eps"}
WHOLE = {"groups", "PROGRAMS", "HEIGHT", "WIDTH", "NOISE_STRIDE", "SIZE", "PIXELS", "CHANNELS"}

_TILE = {"ROWS": tiles(2**16, 64).rows, "COLUMNS": tiles(2**16, 64).columns}
_NARROW = {"ROWS": tiles(2**20, 16).rows, "COLUMNS": tiles(2**20, 16).columns}
_NO_NOISE = {**_TILE, "noise": None, "strength": None}
_STDDEV = {"MEMBERS": 4, "FEATURES": 1, "BLOCK": minibatch_stddev.BLOCK, "EPS": 1e-8}
_BLUR = {"TAPS": (1, 2, 1), "BEFORE": 1}
KERNELS = {
    "stddev mean": (minibatch_stddev.value_kernel, _STDDEV),
    "stddev gradient": (minibatch_stddev.gradient_kernel, _STDDEV),
    "stddev second gradient": (minibatch_stddev.second_kernel, _STDDEV),
    "bias": (bias_act.forward_kernel, {"BLOCK": bias_act.BLOCK}),
    "bias tangent": (bias_act.tangent_kernel, {"BLOCK": bias_act.BLOCK}),
    "bias gradient": (bias_act.gradient_kernel, _TILE),
    "epilogue sums": (epilogue.sums_kernel, _TILE),
    "epilogue moments": (epilogue.moments_kernel, _TILE),
    "epilogue": (epilogue.apply_kernel, _TILE),
    "epilogue style gradient": (epilogue.style_gradient_kernel, _TILE),
    "epilogue gradient": (epilogue.gradient_kernel, _TILE),
    "epilogue sums without noise": (epilogue.sums_kernel, _NO_NOISE),
    "epilogue without noise": (epilogue.apply_kernel, _NO_NOISE),
    "epilogue gradient without noise": (epilogue.gradient_kernel, _NO_NOISE),
    "pixel norm": (pixel_norm.forward_kernel, {"ROWS": pixel_norm.VALUES // 512, "COLUMNS": 512}),
    "pixel norm gradient": (pixel_norm.gradient_kernel, {"ROWS": pixel_norm.VALUES // 512, "COLUMNS": 512}),
    "blur": (blur.blur_kernel, {**_BLUR, "ROWS": blur.VALUES // 64, "COLUMNS": 64}),
    # The few maps of the largest images.
    "bias gradient of 16 maps": (bias_act.gradient_kernel, _NARROW),
    "epilogue of 16 maps": (epilogue.apply_kernel, _NARROW),
    "epilogue gradient of 16 maps": (epilogue.gradient_kernel, _NARROW),
    "blur of 16 maps": (blur.blur_kernel, {**_BLUR, "ROWS": blur.VALUES // 16, "COLUMNS": 16}),
    # Triton makes a constant of what is 1 at a launch.
    "stddev mean of one group": (minibatch_stddev.value_kernel, {**_STDDEV, "groups": 1}),
    "stddev second gradient of one group": (minibatch_stddev.second_kernel, {**_STDDEV, "groups": 1}),
    "epilogue moments of one program": (epilogue.moments_kernel, {**_TILE, "PROGRAMS": 1}),
    "bias of one map": (bias_act.forward_kernel, {"BLOCK": bias_act.BLOCK, "CHANNELS": 1}),
}


def _type(kernel: str, name: str) -> str:
    """Return the type of an argument, in Triton's language."""
    if name in FLOATS:
        return "fp32"
    if name in WHOLE:
        return "i32"

    # The gradient that minibatch stddev gets is one number for each group.
    return "*fp32" if name in FLOAT_POINTERS or (name == "dy" and kernel.startswith("stddev")) else "*bf16"


def _assemble(kernel: str, capability: int) -> dict[str, object]:
    """Compile one kernel; return what the assembler says about it."""
    function, constants = KERNELS[kernel]
    names = list(inspect.signature(function.fn).parameters)
    signature = {name: "constexpr" if name in constants else _type(kernel, name) for name in names}

    # As at a launch: tensors begin at multiples of 16 bytes, and sizes of large maps are multiples of 16. Only
    # maps are said to, so that wide reads are reads of maps.
    aligned = [i for i, name in enumerate(names) if signature[name] in ("*bf16", "i32") and name != "groups"]
    attributes = {(i,): [["tt.divisibility", 16]] for i in aligned}
    source = ASTSource(function, signature, constants, attributes)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))

    ptx = compiled.asm["ptx"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(ptx)
        suffix = "a" if capability == 90 else ""
        command = [str(PTXAS), "-v", f"-arch=sm_{capability}{suffix}", str(path), "-o", str(path.with_suffix(".cubin"))]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr

    [registers] = re.findall(r"Used (\d+) registers", said)
    spills = re.findall(r"(\d+) bytes spill", said)
    return {
        "kernel": kernel,
        "gpu": GPUS[capability],
        "registers": int(registers),
        "spilled bytes": sum(map(int, spills)),
        "reads 128 bits": bool(re.search(r"ld\.global[.\w:]*\.v4\.b32", ptx)),
    }


if __name__ == "__main__":
    for name in KERNELS:
        for capability in GPUS:
            print(json.dumps(_assemble(name, capability)), flush=True)
