"""The building half of the fake TensorRT (`faketrt.py`): builder, network, parser, profile, timing cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.testing.faketrtmodel import FakeModel, FakeTensor, Shape

if TYPE_CHECKING:
    from edgecnn.testing.faketrt import FakeTensorRT


class FakeNetwork:
    """An INetworkDefinition; `flags` are the bits that it was made with."""

    def __init__(self, trt: FakeTensorRT, flags: int) -> None:
        self._trt = trt
        self.flags = flags
        self.content = b""
        self.model: FakeModel | None = None
        self.name = "fake"

    @property
    def num_inputs(self) -> int:
        """How many inputs."""
        return len(self.model.inputs) if self.model else 0

    @property
    def num_outputs(self) -> int:
        """How many outputs."""
        return len(self.model.outputs) if self.model else 0

    @property
    def num_layers(self) -> int:
        """How many layers."""
        return len(self.model.layers) if self.model else 0

    def get_input(self, index: int) -> NetworkTensor:
        """Return an input."""
        return NetworkTensor(self._trt, self._model().inputs[index])

    def get_output(self, index: int) -> NetworkTensor:
        """Return an output."""
        return NetworkTensor(self._trt, self._model().outputs[index])

    def get_flag(self, flag: Any) -> bool:
        """Tell whether it was made with this flag."""
        return bool(self.flags & 1 << int(flag))

    def _model(self) -> FakeModel:
        assert self.model is not None, "the network is empty"
        return self.model


class NetworkTensor:
    """An ITensor."""

    def __init__(self, trt: FakeTensorRT, tensor: FakeTensor) -> None:
        self.name = tensor.name
        self.shape = tensor.shape
        self.dtype = trt.data_type(tensor.dtype)
        self.is_shape_tensor = False
        self.is_execution_tensor = True


class FakeParserError:
    """A ParserError; like the real one it has methods, no attributes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        """Return the text."""
        return self._text

    def code(self) -> str:
        """Return the kind."""
        return "ErrorCode.INVALID_NODE"

    def node_name(self) -> str:
        """Return the node's name."""
        return "node of the fake"

    def node_operator(self) -> str:
        """Return the node's operator."""
        return "Conv"

    def node(self) -> int:
        """Return the node's number."""
        return 0

    def func(self) -> str:
        """Return the parser's function."""
        return "parse"

    def file(self) -> str:
        """Return the parser's file."""
        return "fake.cpp"

    def line(self) -> int:
        """Return the parser's line."""
        return 1


class FakeParser:
    """An OnnxParser."""

    def __init__(self, trt: FakeTensorRT, network: FakeNetwork) -> None:
        self._trt = trt
        self._network = network
        self._errors: list[FakeParserError] = []

    @property
    def num_errors(self) -> int:
        """How many errors there are."""
        return len(self._errors)

    def get_error(self, index: int) -> FakeParserError:
        """Return an error."""
        return self._errors[index]

    def clear_errors(self) -> None:
        """Forget the errors."""
        self._errors.clear()

    def set_flag(self, flag: Any) -> None:
        """Take a flag."""

    def parse_from_file(self, path: str) -> bool:
        """Read a model file; False where that fails."""
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            self._errors.append(FakeParserError(f"Failed to open file: {error}"))
            return False
        return self.parse(content)

    def parse(self, content: bytes, path: str | None = None) -> bool:
        """Read a model; False where that fails."""
        try:
            if self._trt.fails("parse"):
                raise ValueError("Assertion failed: injected")
            self._network.model = self._trt.load(bytes(content))
        except ValueError as error:
            self._errors.append(FakeParserError(str(error)))
            self._trt.log_error(str(error))
            return False
        self._network.content = bytes(content)
        return True


class FakeProfile:
    """An IOptimizationProfile."""

    def __init__(self) -> None:
        self.ranges: dict[str, tuple[Shape, Shape, Shape]] = {}

    def set_shape(self, name: str, smallest: Shape, best: Shape, largest: Shape) -> None:
        """Set the range of an input."""
        self.ranges[name] = (tuple(smallest), tuple(best), tuple(largest))

    def get_shape(self, name: str) -> list[Shape]:
        """Return the range of an input."""
        return list(self.ranges[name])

    def __bool__(self) -> bool:
        return all(low <= mid <= high for three in self.ranges.values() for low, mid, high in zip(*three, strict=True))


class FakeTimingCache:
    """An ITimingCache."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        """Return it as bytes."""
        return self.content

    def combine(self, other: FakeTimingCache, ignore_mismatch: bool) -> bool:
        """Take over another one's entries."""
        self.content += other.content
        return True


class FakeConfig:
    """An IBuilderConfig; what is set on it is kept and, but for profile, verbosity and timing cache, ignored."""

    def __init__(self, trt: FakeTensorRT) -> None:
        self._trt = trt
        self.flags = {trt.BuilderFlag.TF32}
        self.pools: dict[Any, int] = {}
        self.profiles: list[FakeProfile] = []
        self.profiling_verbosity = trt.ProfilingVerbosity.LAYER_NAMES_ONLY
        self.builder_optimization_level = 3
        self.hardware_compatibility_level = trt.HardwareCompatibilityLevel.NONE
        self.avg_timing_iterations = 1
        self.max_aux_streams = -1
        self.progress_monitor: Any = None
        self.timing_cache: FakeTimingCache | None = None

    def set_flag(self, flag: Any) -> None:
        """Set a flag."""
        self.flags.add(flag)

    def clear_flag(self, flag: Any) -> None:
        """Take a flag back."""
        self.flags.discard(flag)

    def get_flag(self, flag: Any) -> bool:
        """Tell whether a flag is set."""
        return flag in self.flags

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        """Limit a pool."""
        self.pools[pool] = size

    def get_memory_pool_limit(self, pool: Any) -> int:
        """Return a pool's limit."""
        return self.pools.get(pool, 1 << 30)

    def add_optimization_profile(self, profile: FakeProfile) -> int:
        """Return the profile's number, -1 where it is none."""
        if self._trt.fails("add_optimization_profile") or not profile:
            return -1
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, content: bytes) -> FakeTimingCache:
        """Return a timing cache."""
        return FakeTimingCache(bytes(content))

    def set_timing_cache(self, cache: FakeTimingCache, ignore_mismatch: bool) -> bool:
        """Use a timing cache."""
        self.timing_cache = cache
        return not self._trt.fails("set_timing_cache")

    def get_timing_cache(self) -> FakeTimingCache | None:
        """Return the timing cache."""
        return self.timing_cache


class FakeBuilder:
    """A Builder."""

    def __init__(self, trt: FakeTensorRT) -> None:
        self._trt = trt
        self.max_threads = 1
        self.num_DLA_cores = 0

    def create_network(self, flags: int = 0) -> FakeNetwork:
        """Return an empty network."""
        return FakeNetwork(self._trt, flags)

    def create_builder_config(self) -> FakeConfig:
        """Return a configuration."""
        return FakeConfig(self._trt)

    def create_optimization_profile(self) -> FakeProfile:
        """Return an empty profile."""
        return FakeProfile()

    def is_network_supported(self, network: FakeNetwork, config: FakeConfig) -> bool:
        """Return True."""
        return True

    def build_serialized_network(self, network: FakeNetwork, config: FakeConfig) -> Any:
        """Return a plan, None where that fails."""
        trt = self._trt
        if trt.fails("build_serialized_network") or network.model is None:
            trt.log_error("IBuilder::buildSerializedNetwork: Error Code 10: Internal Error (no implementation)")
            return None
        if not network.get_flag(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED):
            trt.cuda.fault("the network is weakly typed")
        ranges = dict(config.profiles[0].ranges) if config.profiles else {}
        for one in network.model.inputs:
            if -1 in one.shape and one.name not in ranges:
                trt.log_error(
                    "Error Code 4: API Usage Error (Network has dynamic or shape inputs, but no optimization profile)"
                )
                return None
            ranges.setdefault(one.name, (one.shape, one.shape, one.shape))
        if config.timing_cache is not None:
            config.timing_cache.content += b"t"
        if config.progress_monitor is not None:
            config.progress_monitor.phase_start("Building", None, 1)
            config.progress_monitor.step_complete("Building", 0)
            config.progress_monitor.phase_finish("Building")
        return trt.plan(network.content, ranges, config.profiling_verbosity == trt.ProfilingVerbosity.DETAILED)
