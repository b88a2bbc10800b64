"""What a tuning leaves behind: the chosen model file, and the deployment.toml beside it, which is written last."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgecnn.artifacts import file_sha256
from edgecnn.deployment import FILE_NAME, write_deployment
from edgecnn.deploymentparts import (
    ArtifactPart,
    Deployment,
    MachinePart,
    MadePart,
    MeasuredPart,
    RunPart,
)
from edgecnn.errors import BadInput
from edgecnn.files import check_folder_takes, replacing
from edgecnn.results import Record
from edgecnn.runtimes.threads import usable_threads
from edgecnn.specs import Accuracy, Artifact
from edgecnn.tune.budget import Budget
from edgecnn.tune.choice import Point


def check_folder(folder: Path) -> Path:
    """Return the folder that is written to.

    Raises:
        BadInput: it is a file, or a folder of something else.
        UnavailableError: it cannot be made, or not be written to.
    """
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"output {folder}", expected="a folder", got="a file")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / FILE_NAME).is_file():
        raise BadInput(
            f"output {folder}",
            "choose another with --output",
            expected=f"an empty folder or one with {FILE_NAME}",
            got="other files",
        )
    check_folder_takes(folder)
    return folder


def write_chosen(
    folder: Path,
    point: Point,
    record: Record,
    file: Artifact,
    *,
    budget: Budget,
    prefer: str,
    seed: int = 0,
    accuracy: Accuracy | None = None,
    no_accuracy: str = "",
) -> Path:
    """Write model file and deployment.toml into a folder and return the latter; a file that is there is replaced.

    Args:
        folder: where to; it is made.
        point: what was chosen.
        record: its measurement.
        file: its model file.
        budget: what was asked for.
        prefer: what was preferred.
        seed: of the search.
        accuracy: of the file through the backend.
        no_accuracy: why there is none.

    Raises:
        UnavailableError: the folder cannot be written to.
    """
    model, path = folder / file.path.name, folder / FILE_NAME
    with replacing(model) as temporary:
        shutil.copyfile(file.path, temporary)
    run = point.candidate
    options = run.options
    deployment = Deployment(
        artifact=ArtifactPart(
            file=model.name,
            sha256=file_sha256(model),
            network=file.spec.network,
            variant=file.spec.variant,
            precision=file.precision,
            size_bytes=file.size_bytes,
        ),
        run=RunPart(
            backend=run.backend,
            preset=run.preset,
            batch=run.batch,
            threads=options.threads,
            spinning=options.spinning,
            arena=options.arena,
            cache=options.cache,
        ),
        measured=_measured(point, accuracy, no_accuracy),
        machine=_machine(record),
        made=MadePart(
            edgecnn=record.provenance.edgecnn,
            time_utc=record.provenance.time_utc,
            budget=budget.text,
            prefer=prefer,
            seed=seed,
        ),
    )
    write_deployment(path, deployment)
    return path


def _measured(point: Point, accuracy: Accuracy | None, no_accuracy: str) -> MeasuredPart:
    figures = point.figures
    return MeasuredPart(
        latency_ns=figures.latency_ns,
        latency_ci95_ns=figures.latency_ci95_ns,
        latency_p90_ns=figures.latency_p90_ns,
        throughput=figures.throughput,
        memory_bytes=figures.memory_bytes,
        energy_mj=figures.energy_mj,
        energy_reason=figures.energy_reason,
        accuracy=figures.accuracy,
        accuracy_reason=no_accuracy,
        dataset=f"{accuracy.images} {accuracy.split} images of {accuracy.dataset}" if accuracy else "",
        drop_points=figures.drop_points,
        verdict=figures.verdict,
        reasons=tuple(reason.message for reason in figures.reasons),
    )


def _machine(record: Record) -> MachinePart:
    device, info = record.device, record.runtime
    return MachinePart(
        profile=device.profile,
        board=device.board,
        cpu=device.cpu,
        arch=device.arch,
        cores=device.cores,
        threads=usable_threads(),
        memory_bytes=device.memory_bytes,
        governor=device.governor,
        gpu=device.gpu,
        engine=info.engine if info else None,
        engine_version=info.engine_version if info else None,
    )
