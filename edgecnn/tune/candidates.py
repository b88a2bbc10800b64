"""One way to deploy a model as a value: which file, which backend, opened how, with which batch."""

from __future__ import annotations

from dataclasses import dataclass

from edgecnn.runtimes.base import OpenOptions
from edgecnn.runtimes.presets import preset_options
from edgecnn.specs import Precision

PRECISIONS: tuple[Precision, ...] = ("fp32", "int8", "fp16", "bf16")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileForm:
    """Which file a candidate runs.

    Attributes:
        variant: title of the network with its variant, "mobilenet_v1_0.25_32".
        precision: of the file.
        target: that the file is made for; empty for fp32, which is one file for all.
    """

    variant: str
    precision: Precision
    target: str = ""

    @property
    def stem(self) -> str:
        """How the file is called, without ".onnx"."""
        # A source that is not fp32 has its precision in its name already.
        if self.precision == "fp32" or self.variant.endswith(f".{self.precision}"):
            return self.variant
        middle = f".{self.target}" if self.target and self.target != "cpu-x86" else ""
        return f"{self.variant}{middle}.{self.precision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to deploy.

    Attributes:
        form: the file.
        backend: what runs it.
        preset: how the session is opened.
        threads: of one operator, None where the backend chooses.
        batch: images per run.
    """

    form: FileForm
    backend: str
    preset: str = "latency"
    threads: int | None = None
    batch: int = 1

    @property
    def options(self) -> OpenOptions:
        """How the session is opened on this machine."""
        return preset_options(self.preset, threads=self.threads, max_batch=self.batch)

    @property
    def text(self) -> str:
        """The candidate in one line."""
        threads = "" if self.threads is None else f", {self.threads} thread{'s' * (self.threads > 1)}"
        return f"{self.form.stem} on {self.backend}, {self.preset}{threads}, batch {self.batch}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A part of the space that is not tried, or that failed.

    Attributes:
        what: a backend, a form or a candidate.
        reason: why.
    """

    what: str
    reason: str
