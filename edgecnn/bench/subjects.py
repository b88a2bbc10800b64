"""What a record says about the model that was measured, and the record of one that could not be."""

from __future__ import annotations

from pathlib import Path

from edgecnn.artifacts import file_sha256
from edgecnn.bench.provenance import make_provenance
from edgecnn.devices.detect import detect
from edgecnn.results import Plan, Quality, Record, Status, Subject
from edgecnn.seal import is_sealed
from edgecnn.specs import Artifact, sized_inputs


def make_subject(artifact: Artifact, *, batch: int) -> Subject:
    """Return what a record says about the model that was measured with this batch."""
    spec = artifact.spec
    return Subject(
        network=spec.network,
        variant=spec.variant,
        precision=artifact.precision,
        batch=batch,
        input_shape=_input_shape(artifact, batch),
        file=artifact.path.name,
        sha256=artifact.sha256 or file_sha256(artifact.path),
        size_bytes=artifact.size_bytes,
        params=spec.params,
        macs=spec.macs,
        weights=spec.weights,
        # A changed file has another accuracy than the one that was measured before it was sealed.
        accuracy=spec.accuracy if is_sealed(artifact.path) else (),
        lineage=artifact.lineage,
    )


def unmeasured(artifact: Artifact, *, plan: Plan, status: Status, reason: str, root: Path = Path("/")) -> Record:
    """Return the record of a measurement that failed or was skipped: a line of its own in the results.

    Args:
        artifact: the model.
        plan: how it should have been measured.
        status: "failed" or "skipped".
        reason: why, in one line.
        root: folder that stands for "/" where /proc and /sys are read.
    """
    return Record(
        status=status,
        reason=reason,
        subject=make_subject(artifact, batch=plan.batch),
        runtime=None,
        device=detect(root),
        plan=plan,
        quality=Quality(),
        provenance=make_provenance(),
    )


def _input_shape(artifact: Artifact, batch: int) -> tuple[int, ...] | None:
    """Return the first input's shape as it is run, None when it cannot be run with this batch."""
    inputs = sized_inputs(artifact.spec.inputs, artifact.spec.preprocess)
    shape = inputs[0].shape if inputs else ()
    fixed = tuple(size for size in shape[1:] if isinstance(size, int))
    return (batch, *fixed) if shape and len(fixed) == len(shape) - 1 else None
