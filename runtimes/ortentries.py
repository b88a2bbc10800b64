"""Which session configuration entries of ONNX Runtime backend `cpu` passes on.

The engine takes an entry of any name in silence and ignores those that it does not know, so the check has to be here.
"""

from __future__ import annotations

import platform

from edgecnn.errors import BadInput, Contradiction, UnknownName
from edgecnn.specs import Scalar

# Of onnxruntime_session_options_config_keys.h, those that every supported engine has (1.20 on) and that say how its
# CPU provider runs an ONNX file.
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
        "session.enable_quant_qdq_cleanup",
        "session.force_spinning_stop",
        "session.intra_op_thread_affinities",
        "session.qdq_matmulnbits_accuracy_level",
        "session.qdqisint8allowed",
        "session.set_denormal_as_zero",
        "session.strict_shape_type_inference",
        "session.use_device_allocator_for_initializers",
        "session.x64quantprecision",
    }
)

# By the same header.
_MAX_VALUE_LENGTH = 1024

# Engine entries that say the same as a field of OpenOptions.
_OWNED_KEYS = {
    "session.enable_cpu_mem_arena": "arena",
    "session.intra_op.allow_spinning": "spinning",
    "session.intra_op_num_threads": "threads",
}


def check_entry(key: str, value: Scalar) -> None:
    """Return if backend cpu passes this entry on to the engine.

    Raises:
        Contradiction: a field of OpenOptions says the same, or it does nothing on this processor.
        UnknownName: not one of `ENGINE_KEYS`.
        BadInput: a value that the engine cannot take.
    """
    if key in _OWNED_KEYS:
        raise Contradiction(f"engine option {key} says what OpenOptions says", f"set OpenOptions({_OWNED_KEYS[key]}=…)")
    if key not in ENGINE_KEYS:
        raise UnknownName("engine option of backend cpu", key, sorted(ENGINE_KEYS))
    if "arm64" in key and platform.machine() not in ("aarch64", "arm64"):
        raise Contradiction(f"engine option {key} does nothing on {platform.machine()}", "leave it out here")
    if value is None or len(str(value)) > _MAX_VALUE_LENGTH:
        wanted = f"a number, a boolean or at most {_MAX_VALUE_LENGTH} characters"
        raise BadInput(f"engine option {key}", expected=wanted, got=repr(value)[:40])
