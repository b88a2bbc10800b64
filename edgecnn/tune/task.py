"""What is tuned and how, and what follows from it before anything is made: contradictions, the preference, the sensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgecnn.bench.gpu import GPU_BACKENDS
from edgecnn.bench.power.duration import WITHOUT, long_power_note
from edgecnn.data.choice import ChosenImages
from edgecnn.errors import Contradiction
from edgecnn.specs import Artifact
from edgecnn.tune.budget import Budget
from edgecnn.tune.files import why_no_accuracy
from edgecnn.tune.space import Asked, Machine, Space

NOT_ASKED = "not asked for: no energy in the budget, no --power"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is tuned, and how.

    Attributes:
        sources: title of each variant -> its file, as exported; at least one, the first is what a drop is told of.
        budget: the limits.
        output: folder that the chosen file goes into.
        images: what is calibrated and measured with.
        machine: where.
        asked: what the user wants tried.
        prefer: one of `edgecnn.tune.choice.PREFERENCES`; None takes what suits, see `preference`.
        power: sensor as `--power` names it, "none" for none; None reads one where the budget limits energy.
        seconds: of all of it; what has begun then is finished.
        seed: of inputs and of the order of measurements.
        strict: what was not validly measured is not written.
    """

    sources: Mapping[str, Artifact]
    budget: Budget
    output: Path
    images: ChosenImages
    machine: Machine
    asked: Asked = field(default_factory=Asked)
    prefer: str | None = None
    power: str | None = None
    seconds: float = 300.0
    seed: int = 0
    strict: bool = False

    @property
    def title(self) -> str:
        """What it is called: the variant, or the network where there are several."""
        title, source = next(iter(self.sources.items()))
        return source.spec.network if len(self.sources) > 1 else title


def accuracy_reason(task: Task) -> str:
    """Return why accuracy means nothing for the task's model, empty where it does.

    Raises:
        Contradiction: a drop is limited, or accuracy preferred, all the same.
    """
    source = next(iter(task.sources.values()))
    reason = why_no_accuracy(source, task.images)
    if source.precision != "fp32" and not reason and task.budget.drop_points is not None:
        raise Contradiction(
            f"drop={task.budget.drop_points:g}: {source.path} is {source.precision}, and a drop is told of the fp32 file",
            "give the fp32 file",
        )
    if reason and task.budget.drop_points is not None:
        raise Contradiction(
            f"the budget limits drop to {task.budget.drop_points:g} points, and accuracy cannot be measured: {reason}",
            "leave drop out, or give trained weights and --data with labelled images",
        )
    if reason and task.prefer == "accuracy":
        raise Contradiction(f"--prefer accuracy, and accuracy cannot be measured: {reason}", "--prefer latency")
    return reason


def refuse_drop_of(weights: str | None, budget: Budget) -> None:
    """Return unless a drop is limited of weights that have no accuracy; said before anything is exported.

    Raises:
        Contradiction: it is.
    """
    if weights == "random" and budget.drop_points is not None:
        raise Contradiction(
            f"the budget limits drop to {budget.drop_points:g} points, and random weights have no accuracy",
            "leave drop out, or --weights bundled",
        )


def preference(task: Task, no_accuracy: str) -> str:
    """Return what is preferred among points that hold the budget: what was asked for, or else what suits.

    Args:
        task: with several variants whose accuracy nobody knows, the largest that fits suits; where images per second are
            limited, they do; else latency does.
        no_accuracy: why accuracy means nothing.
    """
    if task.prefer is not None:
        return task.prefer
    if len(task.sources) > 1 and no_accuracy:
        return "macs"
    return "throughput" if task.budget.throughput is not None else "latency"


def sensor(task: Task, prefer: str, space: Space) -> tuple[str | None, str]:
    """Return the sensor that is read, None for none, and why energy then is null.

    Raises:
        Contradiction: energy is limited or preferred, and no sensor wanted.
        SensorUnavailable: energy is limited or preferred and nothing here measures it.
        UnknownName: no such sensor.
    """
    needed = task.budget.energy_mj is not None or prefer == "energy"
    if needed and task.power == WITHOUT:
        raise Contradiction(f"--power {WITHOUT}, and energy is limited or preferred", "leave one of the two out")
    if not needed and task.power in (None, WITHOUT):
        return None, NOT_ASKED
    from edgecnn.devices.sensors.catalog import meter_from  # noqa: PLC0415 (it looks at every sensor)

    meter_from(task.power or "auto", uses_gpu=_uses_gpu(space)).close()
    return task.power or "auto", ""


def sensor_note(power: str, space: Space) -> str:
    """Return how long energy takes by a slow sensor, empty by a fast one."""
    return long_power_note(power, each="finalist", uses_gpu=_uses_gpu(space))


def _uses_gpu(space: Space) -> bool:
    return all(candidate.backend in GPU_BACKENDS for candidate in space.candidates)
