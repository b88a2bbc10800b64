"""The script that builds a TensorRT plan on the server: a plan runs on the GPU and version it was built with alone."""

from __future__ import annotations

import shlex

from edgecnn.errors import BadInput
from edgecnn.exporters.package.source import item_shape
from edgecnn.exporters.package.tritonconfig import max_batch_of
from edgecnn.exporters.package.tritonoptions import TritonOptions
from edgecnn.specs import Artifact

SCRIPT = "build_plan.sh"
"""Name of the script, beside the model.onnx of its version."""

_TEXT = """\
#!/bin/sh
# Builds model.plan beside this file with trtexec. Run it on the server, in the container that serves: a plan fits the GPU
# and the version of TensorRT that built it, nothing else. Another program: TRTEXEC=/path/to/trtexec sh {script}
set -eu
cd "$(dirname "$0")"
trap 'rm -f .model.plan' EXIT
"${{TRTEXEC:-trtexec}}" {arguments}
mv .model.plan model.plan
"""


def plan_script(artifact: Artifact, options: TritonOptions) -> str:
    """Return the text of the script that builds one version's plan; run again, it replaces the plan.

    The precision is that of the file (--stronglyTyped, TensorRT 10 and 11): int8 by its quantizers, fp16 by its types.

    Raises:
        BadInput: a size that the graph leaves open and nobody says.
    """
    return _TEXT.format(script=SCRIPT, arguments=shlex.join(trtexec_arguments(artifact, options)))


def trtexec_arguments(artifact: Artifact, options: TritonOptions) -> list[str]:
    """Return what trtexec is asked for; the shapes are the profile: least 1, most max_batch_size, tuned for the preferred.

    Raises:
        BadInput: a size that the graph leaves open and nobody says.
    """
    arguments = ["--onnx=model.onnx", "--saveEngine=.model.plan", "--stronglyTyped", "--skipInference"]
    most = max_batch_of(artifact, options) or 1
    best = max(options.preferred, default=most)
    tensors = artifact.spec.inputs
    if all(isinstance(size, int) for tensor in tensors for size in tensor.shape):
        return arguments
    for name, batch in (("min", 1), ("opt", best), ("max", most)):
        arguments.append(f"--{name}Shapes={','.join(_shape(artifact, index, batch) for index in range(len(tensors)))}")
    return arguments


def _shape(artifact: Artifact, index: int, batch: int) -> str:
    tensor = artifact.spec.inputs[index]
    sizes = list(item_shape(artifact, tensor, batched=False))
    if tensor.shape and isinstance(tensor.shape[0], str):
        sizes[0] = batch
    if -1 in sizes:
        open_size = tensor.shape[sizes.index(-1)]
        raise BadInput(
            f"{artifact.path}: input {tensor.name}",
            "export it with a fixed size",
            expected="sizes that TensorRT can plan for",
            got=f"an open {open_size}",
        )
    return f"{tensor.name}:{'x'.join(map(str, sizes))}"
