"""The values that travel between the parts of edgecnn: all frozen, all comparable, all with a JSON form.

`edgecnn.jsonform` turns any of them into plain JSON values and back; the ModelSpec travels inside the .onnx file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgecnn.errors import BadInput

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from edgecnn.values import dataclass

Fit = Literal["crop", "pad", "stretch"]
Interpolation = Literal["bilinear", "bicubic", "nearest"]
Precision = Literal["fp32", "fp16", "bf16", "int8", "mixed"]
Scalar = str | int | float | bool | None

SPEC_KEY = "edgecnn.spec"
"""Key of the ONNX metadata entry that holds the ModelSpec as JSON."""

LINEAGE_KEY = "edgecnn.lineage"
"""Key of the ONNX metadata entry that holds the lineage as JSON."""


def joined_title(network: str, variant: str) -> str:
    """Return network and variant in one word, "mobilenet_v1_0.25_32"; the network alone in the paper's form."""
    return f"{network}_{variant}" if variant else network


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: the tensor's name in the graph.
        dtype: numpy name, "float32" for example.
        shape: one entry per dimension; a string is a symbolic dimension, "N" for the batch.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocess:
    """How an image becomes the model's input; the steps are in `edgecnn.preprocess`.

    Attributes:
        size: height and width of the model's input, pixels.
        channels: 1 (luma, ITU-R BT.601) or 3 (RGB).
        fit: "crop" scales the shorter side to size / crop_fraction and cuts the centre out, "pad" scales the longer side to
            size * crop_fraction and centres it on black, "stretch" scales both sides to size. An image of exactly that size
            is taken as it is.
        crop_fraction: above 0 and at most 1; 0.875 is 224 out of 256 for "crop" and 28 inside 32 for "pad".
        interpolation: "bilinear" or "bicubic" (with antialiasing, as Pillow), or "nearest".
        mean: per channel, on the 0..1 scale; subtracted.
        std: per channel, on the 0..1 scale; divided by.
        layout: "NCHW" float32, or "NHWC" uint8 when `in_graph`.
        in_graph: the file takes uint8 NHWC pixels and normalises them itself.
        resize_in_graph: it takes images of any height and width, and scales and cuts (or pads) them itself as well.
    """

    size: tuple[int, int]
    channels: int
    fit: Fit = "crop"
    crop_fraction: float = 0.875
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    in_graph: bool = False
    resize_in_graph: bool = False

    @property
    def example_size(self) -> tuple[int, int]:
        """Height and width of the pictures that a file which scales them is measured and warmed up with: twice `size`.

        At the size itself there would be nothing to scale.
        """
        return 2 * self.size[0], 2 * self.size[1]

    def check(self) -> None:
        """Raise BadInput unless the values fit each other; a file from elsewhere may say anything."""
        wanted = {
            "size": (min(self.size) >= 1, "at least 1 pixel", self.size),
            "channels": (self.channels in (1, 3), "1 or 3", self.channels),
            "crop_fraction": (0 < self.crop_fraction <= 1, "above 0 and at most 1", self.crop_fraction),
            "mean": (len(self.mean) == self.channels, f"{self.channels} values", self.mean),
            "std": (len(self.std) == self.channels and min(self.std) > 0, f"{self.channels} values above 0", self.std),
            "layout": (self.layout == ("NHWC" if self.in_graph else "NCHW"), "NHWC with in_graph only", self.layout),
            "resize_in_graph": (self.in_graph or not self.resize_in_graph, "in_graph as well", self.resize_in_graph),
        }
        for name, (good, expected, got) in wanted.items():
            if not good:
                raise BadInput(f"preprocess.{name}", expected=expected, got=str(got))


def sized_inputs(inputs: tuple[TensorSpec, ...], preprocess: Preprocess | None) -> tuple[TensorSpec, ...]:
    """Return a model's inputs with `Preprocess.example_size` for the open height and width of a file that scales images.

    The inputs of any other file are returned as they are.
    """
    if preprocess is None or not preprocess.resize_in_graph or [len(one.shape) for one in inputs] != [4]:
        return inputs
    batch, *_, channels = inputs[0].shape
    return (replace(inputs[0], shape=(batch, *preprocess.example_size, channels)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """A measured accuracy of one file.

    Attributes:
        metric: "top1" or "top5".
        value: 0..1.
        dataset: name of the set, "fashion-mnist" for example.
        split: the part, "test".
        images: how many images were classified.
        precision: precision of the file that was measured.
        backend: backend that ran it.
    """

    metric: str
    value: float
    dataset: str
    split: str
    images: int
    precision: Precision
    backend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """What a model file is, as it travels inside the file.

    Attributes:
        network: zoo name, or the foreign model's own name.
        variant: what differs from the network's paper form, "0.25_32" for example; empty for the paper's form.
        task: "classification".
        inputs: the graph's inputs.
        outputs: the graph's outputs.
        preprocess: how an image becomes the input, None when unknown.
        labels: class names in index order, empty when unknown.
        dataset: what the weights were trained on, None for random weights.
        accuracy: measured accuracies, of this file and of the file it was made from.
        params: number of trained values (batch norm scale and shift counted, running statistics not).
        macs: multiply-adds of convolutions and linear layers for one image, None when unknown.
        weights: where the weights come from: "bundled", "random" or a file name with its SHA-256.
        source: paper or project that the network comes from.
        licence: licence of the weights.
    """

    network: str
    variant: str = ""
    task: str = "classification"
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocess: Preprocess | None = None
    labels: tuple[str, ...] = ()
    dataset: str | None = None
    accuracy: tuple[Accuracy, ...] = ()
    params: int | None = None
    macs: int | None = None
    weights: str = ""
    source: str = ""
    licence: str = ""

    @property
    def title(self) -> str:
        """Network and variant in one word, "mobilenet_v1_0.25_32"; it is also the stem of the file."""
        return joined_title(self.network, self.variant)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of how a file came to be.

    Attributes:
        tool: "edgecnn export", "edgecnn quantize", ...
        version: of that tool.
        options: what it was asked for.
    """

    tool: str
    version: str
    options: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A model file and what is known about it without running it.

    Attributes:
        path: where it lies.
        format: "onnx".
        precision: of weights and activations.
        sha256: of the whole file, hexadecimal; None when it was not computed.
        size_bytes: of the file.
        spec: what the file says about itself; inputs and outputs are always those of the graph.
        lineage: the steps that made it, oldest first.
        opset: version of the default ONNX operator set, None for other formats.
        ir_version: of the ONNX format, None for other formats.
    """

    path: Path
    format: str
    precision: Precision
    sha256: str | None
    size_bytes: int
    spec: ModelSpec
    lineage: tuple[Step, ...] = ()
    opset: int | None = None
    ir_version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What runs a model, as a session tells it.

    Attributes:
        backend: edgecnn's name of it, "cpu" for example.
        engine: "onnxruntime" for example.
        engine_version: as the engine states it.
        providers_asked: execution providers that were asked for, in order.
        providers_active: execution providers that the session has, in order.
        nodes: number of graph nodes per provider, null when the engine does not tell. ONNX Runtime counts them when it assigns
            them, before its last fusions; OpenVINO and TensorRT what they run.
        threads: threads of one operator, null when the engine chose.
        options: the engine options that were set.
    """

    backend: str
    engine: str
    engine_version: str
    providers_asked: tuple[str, ...] = ()
    providers_active: tuple[str, ...] = ()
    nodes: Mapping[str, int] | None = None
    threads: int | None = None
    options: Mapping[str, Scalar] = field(default_factory=dict)
