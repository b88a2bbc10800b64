"""Options of the GPU providers of ONNX Runtime by the engine's own names, each with the values that it can have.

A provider takes an option that it does not know in silence where it falls back, so the check has to be here. Names and
values: onnxruntime.ai, pages of the CUDA and the TensorRT execution provider, and the texts in their libraries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgecnn.errors import BadInput, Contradiction, UnknownName
from edgecnn.specs import Scalar

_LONGEST_TEXT = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What values an option has.

    Attributes:
        text: of them, for messages.
        choices: the only values; empty for any.
        least: smallest number; None for options that are no number.
        most: greatest number.
        flag: true or false.
    """

    text: str
    choices: tuple[str, ...] = ()
    least: int | None = None
    most: int | None = None
    flag: bool = False

    def encoded(self, value: Scalar) -> str | None:
        """Return a value as the engine takes it; None if it cannot be."""
        if self.flag:
            return str(int(value)) if value in (0, 1) and not isinstance(value, str) else None
        if self.choices:
            return str(value) if value in self.choices else None
        if self.least is not None:
            whole = isinstance(value, int) and not isinstance(value, bool)
            fits = whole and self.least <= int(value or 0) and (self.most is None or int(value or 0) <= self.most)
            return str(value) if fits else None
        return value if isinstance(value, str) and 0 < len(value) <= _LONGEST_TEXT else None


def _one_of(*choices: str) -> Kind:
    return Kind(text=" or ".join(choices), choices=choices)


def _number(least: int, most: int | None = None) -> Kind:
    return Kind(
        text=f"a whole number of at least {least}" + (f", at most {most}" if most else ""), least=least, most=most
    )


_FLAG = Kind(text="true or false", flag=True)
_TEXT = Kind(text=f"1 to {_LONGEST_TEXT} characters")

CUDA_OPTIONS: Mapping[str, Kind] = {
    "arena_extend_strategy": _one_of("kNextPowerOfTwo", "kSameAsRequested"),
    "cudnn_conv1d_pad_to_nc1d": _FLAG,
    "cudnn_conv_algo_search": _one_of("EXHAUSTIVE", "HEURISTIC", "DEFAULT"),
    "cudnn_conv_use_max_workspace": _FLAG,
    "device_id": _number(0),
    "do_copy_in_default_stream": _FLAG,
    "enable_cuda_graph": _FLAG,
    "enable_skip_layer_norm_strict_mode": _FLAG,
    "fuse_conv_bias": _FLAG,
    "gpu_mem_limit": _number(1),
    "prefer_nhwc": _FLAG,
    "sdpa_kernel": _number(0),
    "tunable_op_enable": _FLAG,
    "tunable_op_max_tuning_duration_ms": _number(0),
    "tunable_op_tuning_enable": _FLAG,
    "use_ep_level_unified_stream": _FLAG,
    "use_tf32": _FLAG,
}
"""Of CUDAExecutionProvider. Not those that are addresses of the calling program (streams, allocators)."""

TENSORRT_OPTIONS: Mapping[str, Kind] = {
    "device_id": _number(0),
    "trt_auxiliary_streams": _number(-1),
    "trt_bf16_enable": _FLAG,
    "trt_builder_optimization_level": _number(0, 5),
    "trt_context_memory_sharing_enable": _FLAG,
    "trt_cuda_graph_enable": _FLAG,
    "trt_dla_core": _number(0),
    "trt_dla_enable": _FLAG,
    "trt_engine_hw_compatible": _FLAG,
    "trt_fp16_enable": _FLAG,
    "trt_layer_norm_fp32_fallback": _FLAG,
    "trt_max_partition_iterations": _number(1),
    "trt_max_workspace_size": _number(1),
    "trt_min_subgraph_size": _number(1),
    "trt_op_types_to_exclude": _TEXT,
    "trt_preview_features": _TEXT,
    "trt_sparsity_enable": _FLAG,
}
"""Of TensorrtExecutionProvider."""

TENSORRT_OWNED: Mapping[str, str] = {
    "trt_engine_cache_enable": "OpenOptions(cache=…)",
    "trt_engine_cache_path": "OpenOptions(cache_folder=…)",
    "trt_timing_cache_enable": "OpenOptions(cache=…)",
    "trt_timing_cache_path": "OpenOptions(cache_folder=…)",
    "trt_force_timing_cache": "nothing: one of another GPU is never taken",
    "trt_profile_min_shapes": "OpenOptions(max_batch=…)",
    "trt_profile_opt_shapes": "OpenOptions(max_batch=…)",
    "trt_profile_max_shapes": "OpenOptions(max_batch=…)",
    "trt_int8_enable": "the file: an int8 file turns it on",
    "trt_int8_calibration_table_name": "the file: it holds its scales",
}
"""Options of TensorrtExecutionProvider that something else says, and what that is."""


def encode_options(
    backend: str, options: Mapping[str, Scalar], known: Mapping[str, Kind], owned: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return engine options as the provider takes them, all values as text.

    Args:
        backend: its name, for messages.
        options: by the engine's names.
        known: name -> what values it has.
        owned: options that something else says, and what.

    Raises:
        UnknownName: an option that is not in `known`.
        Contradiction: one of `owned`.
        BadInput: a value that it cannot have.
    """
    encoded: dict[str, str] = {}
    for key, value in options.items():
        if key in (owned or {}):
            raise Contradiction(f"engine option {key} is said elsewhere", f"it is {(owned or {})[key]}")
        if key not in known:
            raise UnknownName(f"engine option of backend {backend}", key, sorted(known))
        text = known[key].encoded(value)
        if text is None:
            raise BadInput(f"engine option {key}", expected=known[key].text, got=repr(value)[:40])
        encoded[key] = text
    return encoded
