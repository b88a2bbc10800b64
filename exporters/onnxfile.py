"""Writing an ONNX model with its ModelSpec and lineage inside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import onnx
import onnx_ir as ir

import edgecnn
from edgecnn.errors import ExportError, first_line
from edgecnn.jsonform import to_json
from edgecnn.seal import SEAL_KEY, seal
from edgecnn.specs import LINEAGE_KEY, SPEC_KEY, ModelSpec, Step


def stamp(model: ir.Model, spec: ModelSpec, lineage: Sequence[Step]) -> None:
    """Put spec and lineage into the model's metadata, and the standard ONNX image keys beside them.

    The `Image.*` keys are those of the ONNX specification (docs/MetadataProps.md). Its `Image.NominalPixelRange` has no
    value for pixels from which a mean is subtracted, so it is left out where the caller does that.
    """
    model.metadata_props[SPEC_KEY] = json.dumps(to_json(spec), ensure_ascii=False)
    model.metadata_props[LINEAGE_KEY] = json.dumps(to_json(tuple(lineage)), ensure_ascii=False)
    if spec.preprocess is not None:
        model.metadata_props["Image.BitmapPixelFormat"] = "Gray8" if spec.preprocess.channels == 1 else "Rgb8"
        model.metadata_props["Image.ColorSpaceGamma"] = "SRGB"
        if spec.preprocess.in_graph:
            model.metadata_props["Image.NominalPixelRange"] = "NominalRange_0_255"
    model.producer_name = "edgecnn"
    model.producer_version = edgecnn.__version__


def write_model(model: ir.Model, path: Path) -> None:
    """Write one file without external data, held against the ONNX checker, with the seal of edgecnn at its end.

    Raises:
        ExportError: the model is not valid ONNX, or of the 2 GiB or more that no one file holds.
    """
    # A model that was read from a sealed file brings the old seal along.
    model.metadata_props.pop(SEAL_KEY, None)
    try:
        # The checker serialises a proto itself: given the bytes, it holds one copy of the weights less.
        content = ir.to_proto(model).SerializeToString()
        onnx.checker.check_model(content, full_check=True)
        with path.open("wb") as file:
            file.write(content)
            file.write(seal(content))
    except onnx.checker.ValidationError as error:
        raise ExportError(f"the graph is not valid ONNX: {first_line(error)}") from error
    except ValueError as error:
        raise ExportError(f"the model does not fit into one file: {error}") from error
