"""Files of torch.export and ONNX: written, opened by their own runtimes, and compared with the network."""

import contextlib
import copy
import io
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dnnlib.errors import UserError
from dnnlib.extras import import_extra
from dnnlib.files import atomic, os_error
from sharing.export.model import ExportedGenerator

# Largest error, in relation to the largest value of an image, that an exported network may have.
TOLERANCE = {"fp32": 1e-4, "fp16": 5e-2}
METADATA = "msg-gan"

Run = Callable[[Sequence[torch.Tensor]], list[np.ndarray]]


def write_program(model: ExportedGenerator, path: Path) -> None:
    """Write a program of torch.export (.pt2), for any batch size."""
    buffer = io.BytesIO()
    torch.export.save(_program(model), buffer, extra_files={METADATA: json.dumps(facts(model))})
    with atomic(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def write_onnx(model: ExportedGenerator, path: Path, opset: int) -> None:
    """Write an ONNX file, for any batch size; raise UserError if the packages are not there."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        import_extra(package, "onnx")

    # The optimizer of onnxscript takes the 1e-8 in a normalisation for 0 and leaves it out, which changes what becomes
    # of nearly constant maps; onnxruntime optimizes as it loads a file.
    traced = _program(model)
    with _quiet():
        exported = torch.onnx.export(
            traced,
            dynamo=True,
            verbose=False,
            optimize=False,
            opset_version=opset,
            input_names=model.input_names,
            output_names=model.output_names,
        )
    assert exported is not None
    proto = exported.model_proto

    # Names of modules and the like, which take a third of the file.
    for graph in (proto.graph, *proto.functions):
        for part in (graph, *graph.node, *graph.value_info, *getattr(graph, "initializer", ())):
            part.ClearField("metadata_props")
            part.ClearField("doc_string")
    for part in (*proto.graph.input, *proto.graph.output):
        part.ClearField("metadata_props")

    for key, value in facts(model).items():
        proto.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    with atomic(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())


def facts(model: ExportedGenerator) -> dict[str, Any]:
    """Return what a user of an exported network should know."""
    spec = model.G.spec
    return {
        "made_with": "msg-gan",
        "network": model.G.cfg.kind,
        "resolution": spec.resolution,
        "width": spec.width,
        "channels": spec.channels,
        "classes": spec.c_dim,
        "inputs": model.input_names,
        "outputs": model.output_names,
        "values": "images are float32, about -1 to 1",
        "precision": model.precision,
    }


def open_exported(path: Path) -> Run:
    """Return a function that runs an exported network; raise UserError if the file is damaged, or none."""
    try:
        if path.suffix == ".pt2":
            with _quiet():
                module = torch.export.load(io.BytesIO(path.read_bytes())).module()
            return lambda inputs: [image.detach().numpy() for image in module(*inputs)]

        runtime = import_extra("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # errors
        session = runtime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        names = [entry.name for entry in session.get_inputs()]
        return lambda inputs: session.run(None, {k: x.numpy() for k, x in zip(names, inputs, strict=True)})
    except UserError:
        raise
    except OSError as e:
        raise os_error(e, path, "read") from e
    except Exception as e:  # both libraries raise errors of many kinds
        reason = str(e).partition("\n")[0]
        raise UserError(f"{path}: damaged, or no exported network: {reason}") from e


def largest_error(model: ExportedGenerator, path: Path) -> float:
    """Return the largest difference of an exported file from the network, in relation to the largest value.

    model: the network in float32. Batches of several sizes are compared, others than the one that was traced. Raises
    UserError if the file has other inputs or outputs.
    """
    run = open_exported(path)
    worst = 0.0
    for n in (1, 3):
        inputs = model.example(n, seed=n)
        try:
            found = run(inputs)
        except Exception as e:  # whatever the runtime raises
            reason = str(e).partition("\n")[0]
            raise UserError(f"{path}: made from another kind of network than it is compared with? {reason}") from e
        with torch.no_grad():
            expected = model(*inputs)
        if [x.shape for x in found] != [tuple(x.shape) for x in expected]:
            raise UserError(f"{path}: images of other sizes than this network's")
        for ours, theirs in zip(expected, found, strict=True):
            error = (ours - torch.from_numpy(theirs)).abs().max() / ours.abs().max()
            worst = max(worst, float(error))
    return worst


def rounding_error(model: ExportedGenerator) -> float:
    """Return the largest difference of a network from itself in float64, in relation to the largest value."""
    exact = copy.deepcopy(model).double()
    inputs = model.example(3, seed=3)
    with torch.no_grad():
        pairs = zip(model(*inputs), exact(*(x.double() for x in inputs)), strict=True)
        return max(float((ours - theirs).abs().max() / ours.abs().max()) for ours, theirs in pairs)


def _program(model: ExportedGenerator) -> torch.export.ExportedProgram:
    """Trace the network; the number of images stays open."""
    # One image would be taken for a constant.
    n = torch.export.Dim("n", min=1, max=4096)
    inputs = model.example(2)
    shapes = tuple({0: n} if x.ndim else None for x in inputs)
    with _quiet():
        # All inputs but the first come as one tuple.
        traced = torch.export.export(model, inputs, dynamic_shapes=(shapes[0], shapes[1:]))

    # Every operation comes with the lines of code that called it, and their paths on this machine.
    for module in traced.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
    return traced


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep warnings of libraries that no user can do anything about from the terminal."""
    with (
        warnings.catch_warnings(action="ignore"),
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
