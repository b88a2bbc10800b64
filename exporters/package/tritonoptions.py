"""What may be said about how Triton is to serve a model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from edgecnn.errors import BadInput, Contradiction, UnknownName

Backend = Literal["onnxruntime", "tensorrt"]
Kind = Literal["cpu", "gpu", "auto"]
Accelerator = Literal["openvino", "tensorrt"]
Warmup = Literal["zero", "random", "none"]
TimeoutAction = Literal["reject", "delay"]

DEFAULT_MAX_BATCH = 8
"""Requests that one run takes at most where nobody says how many."""

_MOST_REQUESTS = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Instances:
    """One group of copies of a model.

    Attributes:
        kind: "auto" is the GPU where the server has one.
        count: copies on the processor, or on each GPU.
        gpus: indices; empty for all.
    """

    kind: Kind
    count: int = 1
    gpus: tuple[int, ...] = ()


def parse_instances(text: str) -> Instances:
    """Return the group that KIND[:COUNT][@GPU,GPU] stands for, "cpu:2" or "gpu:1@0,1".

    Raises:
        BadInput: it is not of that form, or GPUs are named for the processor.
    """
    match = re.fullmatch(r"(cpu|gpu|auto)(?::([1-9]\d{0,3}))?(?:@(\d+(?:,\d+)*))?", text)
    if match is None or (match[3] and match[1] == "cpu"):
        raise BadInput("instances", expected="KIND[:COUNT][@GPU,...], cpu:2 or gpu:1@0,1 for example", got=text)
    gpus = tuple(int(number) for number in match[3].split(",")) if match[3] else ()
    kind: Kind = "cpu" if match[1] == "cpu" else "gpu" if match[1] == "gpu" else "auto"
    return Instances(kind=kind, count=int(match[2] or 1), gpus=gpus)


def parse_versions(text: str) -> Mapping[str, object]:
    """Return Triton's version policy for latest:N, all, or numbers such as 1,3.

    Raises:
        BadInput: it is none of these.
    """
    if text == "all":
        return {"all": {}}
    if match := re.fullmatch(r"latest(?::([1-9]\d*))?", text):
        return {"latest": {"num_versions": int(match[1] or 1)}}
    if re.fullmatch(r"[1-9]\d*(?:,[1-9]\d*)*", text):
        return {"specific": {"versions": [int(number) for number in text.split(",")]}}
    raise BadInput("versions", expected="latest:N, all or numbers such as 1,3", got=text)


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonOptions:
    """How Triton is to serve a model; names of the fields of config.pbtxt in brackets.

    Attributes:
        backend: "tensorrt" serves a plan, which is built on the server.
        max_batch: requests that one run takes at most (max_batch_size); 0 for none put together, None for 8, or 0 where
            the file's batch is fixed.
        batching: put requests together that wait (dynamic_batching).
        preferred: batch sizes that are much faster than others (preferred_batch_size); the server waits for them.
        max_delay_us: how long a request may wait for company, microseconds (max_queue_delay_microseconds).
        queue_size: requests that may wait at most, None for any number (max_queue_size).
        queue_timeout_us: how long one may wait, microseconds, None for ever (default_timeout_microseconds).
        timeout_action: refuse a request that has waited so long, or serve it after all others.
        instances: copies (instance_group); empty for one, of the kind that the file was made for.
        accelerator: provider inside ONNX Runtime (execution_accelerators), None for its own.
        threads: of one operator on the processor (intra_op_thread_count), None for one a core.
        parameters: further entries of the field parameters.
        warmup: data of the runs before the first request (model_warmup). Random data are random bytes, which in float32
            hold NaN and subnormal numbers.
        versions: which versions are served (version_policy): "latest:N", "all" or numbers.
    """

    backend: Backend = "onnxruntime"
    max_batch: int | None = None
    batching: bool = True
    preferred: tuple[int, ...] = ()
    max_delay_us: int = 0
    queue_size: int | None = None
    queue_timeout_us: int | None = None
    timeout_action: TimeoutAction = "reject"
    instances: tuple[Instances, ...] = ()
    accelerator: Accelerator | None = None
    threads: int | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    warmup: Warmup = "zero"
    versions: str = "latest:1"

    def __post_init__(self) -> None:
        _known("backend", self.backend, get_args(Backend))
        _known("warm-up", self.warmup, get_args(Warmup))
        _known("timeout action", self.timeout_action, get_args(TimeoutAction))
        if self.accelerator is not None:
            _known("accelerator", self.accelerator, get_args(Accelerator))
        parse_versions(self.versions)
        self._check_sizes()
        self._check_batching()
        self._check_kinds()

    def _check_sizes(self) -> None:
        limits = {
            "max batch": (self.max_batch, 0, _MOST_REQUESTS),
            "threads": (self.threads, 1, 1024),
            "max delay": (self.max_delay_us, 0, 60_000_000),
            "queue size": (self.queue_size, 1, 1 << 31),
            "queue timeout": (self.queue_timeout_us, 1, 1 << 62),
        }
        for name, (value, least, most) in limits.items():
            if value is not None and not least <= value <= most:
                raise BadInput(name, expected=f"{least} to {most}", got=str(value))

    def _check_batching(self) -> None:
        used = {
            "preferred sizes": bool(self.preferred),
            "a delay": bool(self.max_delay_us),
            "a queue size": self.queue_size is not None,
            "a queue timeout": self.queue_timeout_us is not None,
        }
        without = "without dynamic batching" if not self.batching else "with a max batch of 0"
        if not self.batching or self.max_batch == 0:
            for name in (name for name, given in used.items() if given):
                raise Contradiction(f"{name} {without}", "they are of dynamic batching: leave one of the two out")
        if self.timeout_action == "delay" and self.queue_timeout_us is None:
            raise Contradiction("a timeout action without a queue timeout", "give --queue-timeout-us as well")
        most = DEFAULT_MAX_BATCH if self.max_batch is None else self.max_batch
        wrong = [size for size in self.preferred if not 1 <= size <= most]
        if wrong:
            raise BadInput("preferred", "raise --max-batch", expected=f"1 to the max batch, {most}", got=str(wrong[0]))

    def _check_kinds(self) -> None:
        kinds = {group.kind for group in self.instances}
        if self.backend == "tensorrt" and self.accelerator is not None:
            raise Contradiction(
                f"backend tensorrt with accelerator {self.accelerator}", "accelerators are onnxruntime's"
            )
        if self.backend == "tensorrt" and self.threads is not None:
            raise Contradiction("threads with backend tensorrt", "threads are of onnxruntime on the processor")
        if "cpu" in kinds and (self.backend == "tensorrt" or self.accelerator == "tensorrt"):
            raise Contradiction("instances on the processor with TensorRT", "give --instances gpu")
        if "gpu" in kinds and self.accelerator == "openvino":
            raise Contradiction("instances on the GPU with accelerator openvino", "give --instances cpu")
        if self.threads is not None and "intra_op_thread_count" in self.parameters:
            raise Contradiction("threads and the parameter intra_op_thread_count", "give one of them")


def _known(kind: str, value: str, names: Sequence[str]) -> None:
    if value not in names:
        raise UnknownName(kind, value, names)
