"""Which session configuration entries of ONNX Runtime backend `cpu` passes on.

The engine takes an entry of any name in silence and ignores those that it does not know, so the check has to be here.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping

from edgecnn.errors import BadInput, Contradiction, RuntimeUnavailable, UnknownName
from edgecnn.specs import Scalar

NEWER_KEYS: Mapping[str, tuple[int, int]] = {
    "mlas.disable_kleidiai": (1, 25),
    "mlas.kleidiai.conv_igemm_max_work": (1, 28),
    "mlas.nchwc_depthwise_sliding": (1, 31),
    "mlas.nchwc_pointwise_conv_max_input_channel_batch": (1, 30),
    "optimization.constant_folding_max_output_size_in_bytes": (1, 27),
    "optimization.enable_cast_chain_elimination": (1, 23),
    "session.disable_qdq_constant_folding": (1, 26),
    "session.graph_optimizations_loop_level": (1, 23),
    "session.intra_op.spin_backoff_max": (1, 26),
    "session.intra_op.spin_duration_us": (1, 26),
    "session.prepack.enable_parallel": (1, 31),
}
"""Entries that not every supported engine has, and the first version with each: its name stands in the shared library of
that release (those on aarch64 for the two of KleidiAI) and in none before it, from 1.20 to 1.31."""

ENGINE_KEYS = frozenset(
    {
        "mlas.enable_gemm_fastmath_arm64_bfloat16",
        "optimization.disable_specified_optimizers",
        "optimization.enable_gelu_approximation",
        "session.disable_aot_function_inlining",
        "session.disable_double_qdq_remover",
        "session.disable_prepacking",
        "session.disable_quant_qdq",
        "session.dynamic_block_base",
        "session.enable_mem_pattern",
        "session.enable_quant_qdq_cleanup",
        "session.force_spinning_stop",
        "session.intra_op_thread_affinities",
        "session.qdq_matmulnbits_accuracy_level",
        "session.qdqisint8allowed",
        "session.set_denormal_as_zero",
        "session.strict_shape_type_inference",
        "session.use_device_allocator_for_initializers",
        "session.x64quantprecision",
        *NEWER_KEYS,
    }
)
"""Of onnxruntime_session_options_config_keys.h, those that say how its CPU provider runs an ONNX file. All engines from
1.20 on have them, but for `NEWER_KEYS`; session.enable_mem_pattern is set through the engine's SessionOptions, which
have always had it."""

# By the same header.
_MAX_VALUE_LENGTH = 1024

# Engine entries that say the same as a field of OpenOptions.
_OWNED_KEYS = {
    "session.enable_cpu_mem_arena": "arena",
    "session.intra_op.allow_spinning": "spinning",
    "session.intra_op_num_threads": "threads",
    "session.optimized_model_filepath": "cache",
}

_ARM_KEYS = ("arm64", "kleidiai")

# The engine takes any text for these and goes on with a default.
_COUNTS = frozenset(
    {
        "mlas.kleidiai.conv_igemm_max_work",
        "mlas.nchwc_pointwise_conv_max_input_channel_batch",
        "optimization.constant_folding_max_output_size_in_bytes",
        "session.dynamic_block_base",
        "session.graph_optimizations_loop_level",
        "session.intra_op.spin_backoff_max",
        "session.intra_op.spin_duration_us",
    }
)


def check_entry(key: str, value: Scalar, *, version: str = "") -> None:
    """Return if backend cpu passes this entry on to the engine.

    Args:
        key: name of the entry.
        value: what it is set to.
        version: of the engine, "1.31.1" for example; empty asks nothing of it.

    Raises:
        Contradiction: a field of OpenOptions says the same, or it does nothing on this processor.
        UnknownName: not one of `ENGINE_KEYS`.
        RuntimeUnavailable: this engine is older than the entry.
        BadInput: a value that the engine cannot take.
    """
    if key in _OWNED_KEYS:
        raise Contradiction(f"engine option {key} says what OpenOptions says", f"set OpenOptions({_OWNED_KEYS[key]}=…)")
    if key not in ENGINE_KEYS:
        raise UnknownName("engine option of backend cpu", key, sorted(ENGINE_KEYS))
    if any(word in key for word in _ARM_KEYS) and platform.machine() not in ("aarch64", "arm64"):
        raise Contradiction(f"engine option {key} does nothing on {platform.machine()}", "leave it out here")
    _check_value(key, value)
    _check_version(key, version)


def _check_version(key: str, version: str) -> None:
    first = NEWER_KEYS.get(key)
    installed = re.match(r"(\d+)\.(\d+)", version)
    if first and installed and (int(installed[1]), int(installed[2])) < first:
        needed = ".".join(map(str, first))
        raise RuntimeUnavailable(
            f"engine option {key} needs onnxruntime {needed} or newer, this is {version}",
            f"pip install 'onnxruntime>={needed}', or leave it out",
        )


def _check_value(key: str, value: Scalar) -> None:
    if value is None or len(str(value)) > _MAX_VALUE_LENGTH:
        wanted = f"a number, a boolean or at most {_MAX_VALUE_LENGTH} characters"
        raise BadInput(f"engine option {key}", expected=wanted, got=repr(value)[:40])
    if key in _COUNTS and (isinstance(value, bool) or not re.fullmatch(r"\d{1,18}", str(value))):
        raise BadInput(f"engine option {key}", expected="a whole number of at least 0", got=repr(value)[:40])
    if key == "session.enable_mem_pattern" and str(value) not in ("True", "False", "1", "0"):
        raise BadInput(f"engine option {key}", expected="true or false", got=repr(value)[:40])
