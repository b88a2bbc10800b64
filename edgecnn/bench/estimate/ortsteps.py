"""The steps that ONNX Runtime's CPU provider makes of a graph, told from the graph alone: an estimate, the engine is not asked.

What is taken into account, and where it stands in the engine's public source (microsoft/onnxruntime, folder
onnxruntime/core; MLAS is its library of kernels):

- Nodes on constants are computed while loading; batch normalisation behind a convolution is folded into its weights, an
  activation behind a convolution or Gemm is computed with it (optimizer/conv_bn_fusion.cc, conv_activation_fusion.cc,
  gemm_activation_fusion.cc).
- Convolutions on float32 run in blocks of channels, one vector register each: their output has its channels padded to whole
  blocks. Pooling, sums, activations and concatenation follow where their channels allow it; between blocks and the
  plain layout a tensor is copied, and for a time there are both. A sum of two blocked tensors is computed by the
  convolution before it, over the other one (optimizer/nchwc_transformer.cc).
- Other convolutions write out the windows that they multiply (mlas/lib/convolve.cpp, MlasConvPrepare).
- In which order they run: `ortorder`.
- What is quantized: `ortint8`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from edgecnn.bench.estimate.liveness import Step
from edgecnn.bench.estimate.lowering import FLOAT_BYTES, Lowering, padded
from edgecnn.onnxmodel.graph import OnnxNode
from edgecnn.onnxmodel.tensortypes import TensorType, integer

FUSED_ACTIVATIONS = frozenset({"Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish"})
"""Activations that are computed with the convolution before them."""

VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"})
"""Operators whose output is their input, seen differently."""

IN_PLACE = (FUSED_ACTIVATIONS - {"Clip"}) | {"Elu", "Softplus", "Softmax"}
"""Operators that may write over an input of the same size that nobody reads later: MayInplace of their kernels, which sums and
products do not have (providers/cpu/math/element_wise_ops.cc)."""

_POOLS = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"})
# channel_alignment of TransformConv.
_ALIGNMENT = 4

# Names of steps: a convolution, and one that adds a tensor as well and therefore takes no further sum.
_CONV, _CONV_SUM = "Conv", "Conv, sum"

# MLAS_CONV_WORKING_BUFFER_SIZE_PER_THREAD: MLAS_SGEMM_STRIDEN * MLAS_SGEMM_STRIDEK floats.
_SEGMENT = 128 * 128


def float_steps(low: Lowering, node: OnnxNode) -> None:
    """Add the steps of a node that computes on floats, shapes or indices.

    Args:
        low: what came before it; the constants among its inputs are known.
        node: the next one.
    """
    reads = tuple(name for name in node.inputs if name and name not in low.constants)
    if not reads and node.inputs:
        low.constants.update(node.outputs)
    elif node.op_type == "Conv":
        _conv(low, node, reads)
    elif _fused(low, node):
        low.same[node.outputs[0]] = low.root(node.inputs[0])
    elif _runs_blocked(low, node):
        _blocked(low, node, reads)
    elif node.op_type == "Add" and len(reads) == 2 and _added(low, node, reads):
        pass
    elif node.op_type == "HardSwish":
        _hard_swish(low, node, reads[0])
    else:
        _plain(low, node, reads)


def _conv(low: Lowering, node: OnnxNode, reads: tuple[str, ...]) -> None:
    """Add a convolution: blocked where NchwcTransformerImpl::TransformConv takes it, plain otherwise."""
    data, weight, output = node.inputs[0], low.types.get(node.inputs[1]), node.outputs[0]
    group = integer(node, "group", 1)
    fits = low.block > 1 and weight is not None and low.is_float(output) and reads == (data,)
    if weight is None or not fits or not fits_blocks(group, *weight.shape[:2], block=low.block):
        _plain(low, node, reads)
        return
    outer, inner = weight.shape[:2]
    direct = group == 1 and inner < low.block
    source = low.plainly(data) if direct else low.in_blocks(data)
    low.steps.append(Step(op_type=_CONV, reads=(source,), makes=(low.made_blocked(output),)))
    low.blocked.add(output)
    filters = padded(outer, low.block) * (padded(inner, low.block) if inner >= low.block else inner)
    low.weights[node.inputs[1]] = FLOAT_BYTES * filters * math.prod(weight.shape[2:])
    if len(node.inputs) > 2:
        low.weights[node.inputs[2]] = FLOAT_BYTES * padded(outer, low.block)


def fits_blocks(group: int, outer: int, inner: int, *, block: int) -> bool:
    """Tell whether a convolution on float32 runs in blocks of channels (NchwcTransformerImpl::TransformConv).

    Args:
        group: of the convolution.
        outer: channels of its output.
        inner: channels of a group of its input.
        block: channels in a block.
    """
    if group == 1:
        return inner < block or inner % _ALIGNMENT == 0
    if inner == 1 and outer == group:
        return outer % _ALIGNMENT == 0
    return inner % block == 0 and outer // group % block == 0


def _fused(low: Lowering, node: OnnxNode) -> bool:
    """Whether an activation or batch normalisation is computed by the convolution or Gemm before it, and by that alone."""
    kinds: tuple[str, ...] = ()
    if node.op_type in FUSED_ACTIVATIONS:
        kinds = (_CONV, _CONV_SUM) if node.op_type in ("Clip", "HardSwish") else (_CONV, _CONV_SUM, "Gemm")
    elif node.op_type == "BatchNormalization":
        kinds = (_CONV,)
    if not kinds or not low.used_once(node.inputs[0]):
        return False
    place = low.maker(low.root(node.inputs[0]))
    if place is None or low.steps[place].op_type not in kinds:
        return False
    if node.op_type != "BatchNormalization":
        low.steps[place] = replace(low.steps[place], op_type="with activation")
    return True


def _runs_blocked(low: Lowering, node: OnnxNode) -> bool:
    """Whether a node that is no convolution works on blocks of channels."""
    output = node.outputs[0]
    if low.block == 1 or not low.is_float(output) or len([name for name in node.outputs if low.uses.get(name)]) > 1:
        return False
    data = [name for name in node.inputs if name and name not in low.constants]
    if node.op_type in _POOLS:
        return low.types[output].shape[1] % low.block == 0
    if not all(low.is_blocked(name) for name in data):
        return False
    if node.op_type in ("Add", "Sum", "Mul"):
        return len(data) == len(node.inputs) and len({low.types[name].shape for name in data}) == 1
    if node.op_type == "Concat":
        aligned = all(low.types[name].shape[1] % low.block == 0 for name in data)
        return node.attributes.get("axis") == 1 and aligned and len(data) == len(node.inputs)
    return node.op_type in FUSED_ACTIVATIONS or node.op_type == "BatchNormalization"


def _blocked(low: Lowering, node: OnnxNode, reads: Sequence[str]) -> None:
    """Add a node on blocks; a sum goes into the convolution that made one of its terms for it alone."""
    output = node.outputs[0]
    named = [low.in_blocks(name) for name in reads]
    low.blocked.add(output)
    low.keep(node)
    makes = (low.made_blocked(output),)
    if node.op_type in ("Add", "Sum") and len(reads) == 2:
        for term, other in zip(reads, reversed(named), strict=True):
            if _takes_sum(low, term):
                conv = low.steps.pop(low.maker(low.root(term)) or 0)
                both = (*conv.reads, other)
                low.steps.append(replace(conv, op_type=_CONV_SUM, reads=both, makes=makes, over=(other,)))
                return
    over = tuple(named) if node.op_type in IN_PLACE else ()
    # Batch normalisation becomes a convolution of one value, which takes the activation behind it.
    kind = _CONV if node.op_type == "BatchNormalization" else node.op_type
    low.steps.append(Step(op_type=kind, reads=tuple(named), makes=makes, over=over))


def _takes_sum(low: Lowering, term: str) -> bool:
    """Whether a term of a sum comes from a convolution that can add the other one: for this alone, without an activation."""
    place = low.maker(low.root(term))
    return place is not None and low.steps[place].op_type == _CONV and low.used_once(term)


def _plain(low: Lowering, node: OnnxNode, reads: Sequence[str]) -> None:
    """Add a node on tensors as the file has them."""
    if node.op_type == "Gemm" and node.inputs[1] in low.constants:
        rows, columns = low.types[node.inputs[1]].shape
        last = columns if not integer(node, "transB", 0) else rows
        # Columns are padded to sixteen (mlas/lib/sgemm.cpp, MlasGemmPackBSize).
        low.weights[node.inputs[1]] = FLOAT_BYTES * padded(last, 16) * (rows * columns // last)
    low.keep(node)
    named = tuple(low.plainly(name) for name in reads)
    makes = tuple(
        low.made(name) for place, name in enumerate(node.outputs) if name and (place == 0 or low.uses.get(name))
    )
    low.plain.update(made.name for made in makes)
    view = named[0] if node.op_type in VIEWS and named and named[0] == low.root(node.inputs[0]) else ""
    over = named if node.op_type in IN_PLACE else ()
    scratch = _scratch(low, node)
    low.steps.append(Step(op_type=node.op_type, reads=named, makes=makes, view_of=view, over=over, scratch=scratch))


def _added(low: Lowering, node: OnnxNode, reads: Sequence[str]) -> bool:
    """Let a plain convolution add, where an activation follows the sum (conv_add_act_fusion.cc); False where none does."""
    after = low.uses.get(node.outputs[0], [])
    if len(after) != 1 or after[0].op_type not in FUSED_ACTIVATIONS:
        return False
    for term, other in zip(reads, reversed(reads), strict=True):
        same = low.types.get(term) == low.types.get(other)
        if same and low.root(term) not in low.blocked and _takes_sum(low, term):
            conv = low.steps.pop(low.maker(low.root(term)) or 0)
            named = low.plainly(other)
            makes = (low.made(node.outputs[0]),)
            low.plain.add(node.outputs[0])
            both = (*conv.reads, named)
            low.steps.append(replace(conv, op_type=_CONV_SUM, reads=both, makes=makes, over=(named,)))
            return True
    return False


def _hard_swish(low: Lowering, node: OnnxNode, data: str) -> None:
    """Add x * HardSigmoid(x), which is how the engine computes what it cannot fuse (the operator is a function of ONNX)."""
    named, output = low.plainly(data), node.outputs[0]
    inner = replace(low.made(output), name=output + "\n sigmoid")
    low.steps.append(Step(op_type="HardSigmoid", reads=(named,), makes=(inner,), over=(named,)))
    both = (named, inner.name)
    low.steps.append(Step(op_type="Mul", reads=both, makes=(low.made(output),)))
    low.plain.add(output)


def _scratch(low: Lowering, node: OnnxNode) -> tuple[int, ...]:
    """Return what an operator on plain floats takes while it runs."""
    output, data = low.types.get(node.outputs[0]), low.types.get(node.inputs[0])
    if output is None or data is None:
        return ()
    if node.op_type == "LRN":
        # The squares, padded by the window, and the scale (providers/cpu/nn/lrn.cc).
        channels = data.shape[1] + integer(node, "size", 1) - 1
        return (FLOAT_BYTES * channels * math.prod(data.shape[2:]), FLOAT_BYTES * math.prod(data.shape))
    weight = low.types.get(node.inputs[1]) if node.op_type == "Conv" else None
    if weight is None or weight.dtype != "float32":
        return ()
    floats = conv_workspace(integer(node, "group", 1), weight, data, output, threads=low.threads)
    return (FLOAT_BYTES * floats,) if floats else ()


def conv_workspace(group: int, weight: TensorType, data: TensorType, output: TensorType, *, threads: int) -> int:
    """Return how many floats a convolution in the plain layout takes for its windows (MlasConvPrepare).

    Args:
        group: of the convolution.
        weight: outer channels, inner channels of a group, kernel.
        data: batch, channels, sizes.
        output: of the node.
        threads: of one operator.
    """
    filters, kernel = weight.shape[0] // group, math.prod(weight.shape[2:])
    window, pixels = weight.shape[1] * kernel, math.prod(output.shape[2:])
    pointwise = kernel == 1 and output.shape[2:] == data.shape[2:]
    if pointwise:
        return 0
    if filters > pixels:
        return pixels * window
    tasks = data.shape[0] * group
    if tasks > 1:
        return min(threads, tasks) * max(pixels * window, filters * pixels, _SEGMENT)
    # Small products are not split (MLAS_SGEMM_THREAD_COMPLEXITY: 64 Ki multiplications a thread).
    wanted = filters * pixels * window // (64 * 1024) + 1
    return min(threads, wanted) * _SEGMENT
