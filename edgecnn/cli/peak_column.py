"""The column "% of peak" of `edgecnn bench`: how much of what this machine can do at most each network reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecnn.bench.peaks.calibration import COMMAND, Calibration, calibrated, find_calibration, peak_text
from edgecnn.results import Record

HEAD = "% of peak"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakColumn:
    """The column and what is to be said about it.

    Attributes:
        cells: one a record, "-" where it cannot be told; empty where no record has one.
        notes: lines below the table.
    """

    cells: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def peak_column(records: Sequence[Record], *, root: Path = Path("/"), folder: Path | None = None) -> PeakColumn:
    """Return the shares of the measured peaks; where there is no calibration, the command that makes one.

    Args:
        records: in the order of the table.
        root: folder that stands for "/".
        folder: where calibrations are kept, see `edgecnn.bench.peaks.calibration.find_calibration`.
    """
    wanted = dict.fromkeys(key for record in records if (key := calibrated(record)))
    found = {
        (backend, threads): find_calibration(backend=backend, threads=threads, root=root, folder=folder)
        for backend, threads in wanted
    }
    cells = tuple(peak_text(record, found[key] if (key := calibrated(record)) else None) for record in records)
    told = any(cell != "-" for cell in cells)
    notes = [_note(one) for one in found.values() if one is not None] if told else []
    missing = [key for key, one in found.items() if one is None]
    return PeakColumn(cells=cells if told else (), notes=(*notes, *([_hint(*missing[0])] if missing else [])))


def _note(calibration: Calibration) -> str:
    doubt = "" if calibration.verdict == "valid" else f", a {calibration.verdict} one"
    threads = f"{calibration.threads} thread{'s' if calibration.threads != 1 else ''}"
    limits = [f"{number} {one.value:,.0f} {one.unit}" for number, one in calibration.peaks.items() if one.value]
    measured = f"{calibration.backend} with {threads}{doubt}"
    return f"{HEAD}: operations a second, over the calibration of {measured}: {', '.join(limits)}"


def _hint(backend: str, threads: int) -> str:
    options = f"{'' if backend == 'cpu' else f' --backend {backend}'} --threads {threads}"
    return f"{HEAD} is left out, as this machine is not calibrated: {COMMAND}{options}"
