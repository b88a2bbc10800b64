"""From an ONNX file to an engine's plan: parse, set the range of batches, build; every failure with TensorRT's own reason.

The network is strongly typed: the file's types are the engine's, float16 is a float16 file and int8 one with
QuantizeLinear and DequantizeLinear nodes. That is the only kind that TensorRT 11 has, and 10 has it too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from edgecnn.errors import BadInput, InferenceError, ModelError, RuntimeUnavailable, first_line
from edgecnn.runtimes.trt.logger import engine_logger, last_errors
from edgecnn.runtimes.trt.options import BuildOptions
from edgecnn.runtimes.trt.progress import Progress, progress_monitor, stoppable
from edgecnn.runtimes.trt.timing_cache import TimingCache
from edgecnn.runtimes.trt.zero_points import check_quantization

_NAMED = 4

# TensorRT times its candidates on the GPU: builds at once would time each other's work.
_BUILDING = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltPlan:
    """A built engine.

    Attributes:
        plan: what `trt.Runtime.deserialize_cuda_engine` reads; executable code.
        build_ns: how long the build took, parsing included.
        layers: of the network before TensorRT's optimisation.
        warnings: TensorRT's, without repetitions.
    """

    plan: bytes
    build_ns: int
    layers: int
    warnings: tuple[str, ...]


def build_plan(
    trt: Any,
    path: Path,
    options: BuildOptions,
    *,
    timing: TimingCache | None = None,
    progress: Progress | None = None,
) -> BuiltPlan:
    """Return the engine of an ONNX file for this GPU. This takes seconds to minutes; builds of one process take turns.

    Args:
        trt: the module, see `load_trt`; CUDA must work, see `available_trt`. That of TensorRT for RTX needs no GPU here.
        path: the .onnx file.
        options: how to build.
        timing: what earlier builds measured; this build adds to it.
        progress: called with a phase's name, steps done and steps in all; what it raises ends the build.

    Raises:
        BadInput: TensorRT does not read the file, or would compute it wrongly; the message names the nodes.
        ModelError: TensorRT finds no way to build it; the message is TensorRT's.
        RuntimeUnavailable: TensorRT gives no builder here.
    """
    check_quantization(path)
    with _BUILDING:
        logger = engine_logger(trt)
        logger.clear()
        started_ns = perf_counter_ns()
        builder = _new(lambda: trt.Builder(logger), trt, "builder")
        network, parser = _parsed_network(trt, builder, path)
        config = _config(trt, builder, options)
        _add_profile(builder, network, config, options)
        plan = _build(trt, builder, network, config, timing, progress)
        del parser
        warnings = tuple(dict.fromkeys(" ".join(line.split()) for line in logger.warnings()))
        return BuiltPlan(
            plan=plan, build_ns=perf_counter_ns() - started_ns, layers=int(network.num_layers), warnings=warnings
        )


def _parsed_network(trt: Any, builder: Any, path: Path) -> tuple[Any, Any]:
    """Return the network of a file and its parser, which holds the weights until the build has ended.

    Raises:
        BadInput: the parser refuses it; all its errors that name nodes are in the message.
    """
    # Never the number itself: the flag is 1 in TensorRT 10 and 0 from 11 on.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    if network is None:
        raise RuntimeUnavailable(f"TensorRT gives no network: {last_errors(trt)}", "reinstall TensorRT")
    parser = _new(lambda: trt.OnnxParser(network, engine_logger(trt)), trt, "parser")
    if not parser.parse_from_file(str(path)):
        raise BadInput(f"TensorRT does not read {path}: {parser_errors(trt, parser)}", _fix(path))
    if not network.num_inputs or not network.num_outputs:
        raise BadInput(f"TensorRT reads no inputs or outputs in {path}", "export it again")
    return network, parser


def parser_errors(trt: Any, parser: Any) -> str:
    """Return a parser's errors in one line: node, operator and reason of each."""
    found = []
    for index in range(parser.num_errors):
        fault = parser.get_error(index)
        # All of these are methods.
        node, operator = fault.node_name(), fault.node_operator()
        reason = " ".join(str(fault.desc()).split())[:300]
        where = f"node {node} ({operator})" if node and operator else node or operator
        found.append(f"{where}: {reason}" if where else reason)
    unique = list(dict.fromkeys(found))
    more = f"; and {len(unique) - _NAMED} more" if len(unique) > _NAMED else ""
    return "; ".join(unique[:_NAMED]) + more if unique else last_errors(trt) or "it gives no reason"


def _config(trt: Any, builder: Any, options: BuildOptions) -> Any:
    """Return the builder's configuration; what TensorRT has defaults for is set all the same, so that it is known."""
    config = builder.create_builder_config()
    if config is None:
        raise RuntimeUnavailable(f"TensorRT gives no configuration: {last_errors(trt)}", "reinstall TensorRT")
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    config.builder_optimization_level = options.optimization_level
    config.profiling_verbosity = {
        "layer_names_only": trt.ProfilingVerbosity.LAYER_NAMES_ONLY,
        "detailed": trt.ProfilingVerbosity.DETAILED,
        "none": trt.ProfilingVerbosity.NONE,
    }[options.profiling_verbosity]
    if options.tf32:
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)  # on by default in TensorRT
    # Engines for other versions carry code that the runtime would have to be allowed to execute.
    config.clear_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    return config


def _add_profile(builder: Any, network: Any, config: Any, options: BuildOptions) -> None:
    """Set the range of batches for every input of free batch; without one, there is nothing to set.

    Raises:
        BadInput: an input has another free size than the batch, or TensorRT does not take the range.
    """
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    free = [graph_input for graph_input in inputs if -1 in tuple(graph_input.shape)]
    if not free:
        return
    most, best = options.max_batch or 1, options.opt_batch or options.max_batch or 1
    profile = builder.create_optimization_profile()
    for graph_input in free:
        batch, *item = tuple(graph_input.shape)
        if batch != -1 or -1 in item:
            raise BadInput(
                f"input {graph_input.name} of shape {list(graph_input.shape)} has a free size (-1) besides the batch",
                "an engine is built for one image size: export the model with fixed height and width",
            )
        profile.set_shape(graph_input.name, (1, *item), (best, *item), (most, *item))
    if not profile or config.add_optimization_profile(profile) < 0:
        raise BadInput(
            "TensorRT does not take the range of batches",
            expected="1 <= opt_batch <= max_batch",
            got=f"1, {best}, {most}",
        )


def _build(
    trt: Any, builder: Any, network: Any, config: Any, timing: TimingCache | None, progress: Progress | None
) -> bytes:
    """Return the plan.

    Raises:
        ModelError: TensorRT finds no way to build it.
    """
    if timing is not None:
        timing.load(config)
    with stoppable() as stop:
        monitor = progress_monitor(trt, stop, progress)  # a name of its own keeps it alive
        config.progress_monitor = monitor
        try:
            plan = builder.build_serialized_network(network, config)
        except Exception as error:
            raise InferenceError(f"TensorRT's build failed: {first_line(error)}") from error
    if plan is None:
        raise ModelError(
            f"TensorRT cannot build an engine: {last_errors(trt) or 'it gives no reason'}",
            "a larger workspace_mib or a smaller max_batch where memory is short; backend cuda runs what TensorRT cannot",
        )
    if timing is not None:
        timing.save(config)
    return bytes(plan)


def _new(construct: Callable[[], Any], trt: Any, what: str) -> Any:
    """Return what TensorRT constructs; its bindings raise TypeError where the library gives nothing.

    Raises:
        RuntimeUnavailable: it gives nothing.
    """
    try:
        return construct()
    except TypeError as error:
        reason = last_errors(trt) or first_line(error)
        raise RuntimeUnavailable(
            f"TensorRT {trt.__version__} gives no {what} here: {reason}",
            "edgecnn doctor tells what CUDA and TensorRT find",
        ) from error


def _fix(path: Path) -> str:
    return f"export it again, or run it with --backend cpu; edgecnn verify {path} checks the file itself"
