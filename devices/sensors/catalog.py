"""Which power sensors this machine has, why the others cannot be read, and the one that a text means."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args
from urllib.parse import parse_qsl

from edgecnn.devices.sensors.base import Meter
from edgecnn.devices.sensors.battery import battery_meters
from edgecnn.devices.sensors.csvlog import CsvMeter
from edgecnn.devices.sensors.files import ReadText, read_sensor_file
from edgecnn.devices.sensors.hwmon import GPU_DRIVERS, hwmon_meters
from edgecnn.devices.sensors.jetson import jetson_meters
from edgecnn.devices.sensors.nvml import nvml_meters
from edgecnn.devices.sensors.plug import PlugMeter
from edgecnn.devices.sensors.rapl import rapl_meters
from edgecnn.devices.sensors.rpi5 import Runner, rpi5_meters
from edgecnn.errors import BadInput, SensorUnavailable, UnknownName
from edgecnn.powerspec import Coverage

FAMILIES = ("jetson", "rpi5", "rapl", "hwmon", "battery", "nvml")
"""Kinds of sensor that are looked for, in the order in which "auto" takes them; NVML sees the GPU alone."""

EXTERNAL_FIX = "an external meter measures any machine: --power csv:FILE or --power http://PLUG"


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A sensor that cannot be read.

    Attributes:
        name: of the kind or the meter.
        reason: why.
        fix: what to do about it.
    """

    name: str
    reason: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The sensors of a machine.

    Attributes:
        meters: those that were read successfully.
        missing: the others.
    """

    meters: tuple[Meter, ...]
    missing: tuple[Missing, ...]


def find_meters(
    root: Path = Path("/"), *, run: Runner | None = None, nvml: Any = None, read: ReadText = read_sensor_file
) -> Found:
    """Return the sensors that can be read and the reasons of the others; every sensor is read once.

    Args:
        root: folder that stands for "/"; where it is another one's, neither commands nor NVML are tried unless given.
        run: how a command is run.
        nvml: stands for the module pynvml.
        read: how a sensor's file is read.
    """
    meters: list[Meter] = []
    missing: list[Missing] = []
    for family, find in _finders(root, run=run, nvml=nvml, read=read):
        try:
            found = find()
        except SensorUnavailable as error:
            missing.append(Missing(name=family, reason=error.message, fix=error.hint))
            continue
        for meter in found:
            try:
                meter.available()
                meters.append(meter)
            except SensorUnavailable as error:
                missing.append(Missing(name=meter.spec.name, reason=error.message, fix=error.hint))
    return Found(meters=tuple(meters), missing=tuple(missing))


def meter_from(
    text: str,
    root: Path = Path("/"),
    *,
    uses_gpu: bool = False,
    run: Runner | None = None,
    nvml: Any = None,
    read: ReadText = read_sensor_file,
) -> Meter:
    """Return the meter that a text means; it was read once.

    Args:
        text: "auto", the name of a meter or of its kind ("rapl", "nvml", "hwmon:ina226"), "csv:FILE[?OPTIONS]" or
            "http://PLUG".
        root: folder that stands for "/".
        uses_gpu: whether an NVIDIA GPU does the work, which "auto" then measures.
        run: how a command is run.
        nvml: stands for the module pynvml.
        read: how a sensor's file is read.

    Raises:
        SensorUnavailable: it cannot be read; message and hint say why and what to do.
        UnknownName: no such meter.
        BadInput: the options of a CSV file or the address of a plug are wrong.
    """
    if text.startswith("csv:"):
        return csv_meter(text.removeprefix("csv:"))
    if text.startswith(("http:", "https:")):
        return PlugMeter(text)
    family = text.partition(":")[0]
    if text != "auto" and family not in FAMILIES:
        raise UnknownName("power meter", text, ("auto", *FAMILIES, "csv:FILE", "http://PLUG"))
    wanted = _auto_order(uses_gpu) if text == "auto" else (family,)
    finders = dict(_finders(root, run=run, nvml=nvml, read=read))
    reasons = []
    for name in wanted:
        try:
            return _first(_meant(finders[name](), text, family=name))
        except SensorUnavailable as error:
            reasons.append(error)
    if text != "auto":
        raise reasons[0]
    # Those that this machine could have say how: a fix for a chip that it lacks helps nobody.
    near = [error for error in reasons if "chmod" in error.hint or "pip" in error.hint or "usermod" in error.hint]
    hint = near[0].hint if near else EXTERNAL_FIX
    raise SensorUnavailable("no power sensor: " + "; ".join(error.message for error in reasons), hint)


def csv_meter(text: str) -> CsvMeter:
    """Return the meter of "FILE" or "FILE?time=HEADER&power=HEADER&offset_s=0.3&coverage=wall&period_s=0.1".

    Raises:
        BadInput: an option that there is not, or a value that it cannot have.
    """
    path, _, query = text.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    known = ("time", "power", "offset_s", "coverage", "period_s")
    unknown = sorted(set(options) - set(known))
    if unknown or not path:
        raise BadInput("csv meter", expected=f"csv:FILE with {', '.join(known)}", got=", ".join(unknown) or "no file")
    return CsvMeter(
        Path(path),
        time=options.get("time"),
        power=options.get("power"),
        offset_s=_number(options, "offset_s", 0.0),
        coverage=_coverage(options.get("coverage")),
        period_s=_number(options, "period_s", 1.0, above=0.0),
    )


def _finders(
    root: Path, *, run: Runner | None, nvml: Any, read: ReadText
) -> Iterator[tuple[str, Callable[[], Sequence[Meter]]]]:
    finders: dict[str, Callable[[], Sequence[Meter]]] = {
        "jetson": lambda: jetson_meters(root, read=read),
        "rpi5": lambda: rpi5_meters(root, run=run),
        "rapl": lambda: rapl_meters(root, read=read),
        "hwmon": lambda: hwmon_meters(root, read=read),
        "battery": lambda: battery_meters(root, read=read),
        "nvml": lambda: _nvml(root, nvml),
    }
    yield from ((family, finders[family]) for family in FAMILIES)


def _nvml(root: Path, library: Any) -> Sequence[Meter]:
    if library is None and root != Path("/"):
        raise SensorUnavailable("nvml: a recorded tree has no driver to ask", "measure on the machine itself")
    return nvml_meters(library)


def _auto_order(uses_gpu: bool) -> tuple[str, ...]:
    """Return the families that see the work: on a Jetson its rails see the GPU too, elsewhere only NVML does."""
    return ("jetson", "nvml") if uses_gpu else tuple(name for name in FAMILIES if name != "nvml")


def _meant(meters: Sequence[Meter], text: str, *, family: str) -> Sequence[Meter]:
    """Return the meters of a family that a text means, the best first.

    Raises:
        SensorUnavailable: none, or several GPUs; CUDA numbers them in another order than NVML.
        UnknownName: no meter of that name.
    """
    if text not in ("auto", family):
        return _named(meters, text)
    if family == "nvml" and len(meters) > 1:
        names = ", ".join(meter.spec.name for meter in meters)
        raise SensorUnavailable(
            f"nvml: {len(meters)} GPUs and no word which: {names}", f"--power {meters[0].spec.name}"
        )
    seeing = [meter for meter in meters if family != "hwmon" or not meter.spec.domain.startswith(GPU_DRIVERS)]
    if text == "auto" and not seeing:
        raise SensorUnavailable("hwmon: its chips measure GPUs alone", EXTERNAL_FIX)
    return seeing if text == "auto" else meters


def _named(meters: Sequence[Meter], text: str) -> Sequence[Meter]:
    exact = [meter for meter in meters if meter.spec.name.casefold() == text.casefold()]
    # "nvml:1" is the second GPU in NVML's order.
    number = text.partition(":")[2]
    if not exact and number.isdigit() and int(number) < len(meters):
        exact = [meters[int(number)]]
    if not exact:
        raise UnknownName("power meter", text, [meter.spec.name for meter in meters])
    return exact


def _first(meters: Sequence[Meter]) -> Meter:
    """Return the first meter that can be read.

    Raises:
        SensorUnavailable: none can; the reason is that of the first.
    """
    failures = []
    for meter in meters:
        try:
            meter.available()
        except SensorUnavailable as error:
            failures.append(error)
        else:
            return meter
    raise failures[0]


def _number(options: dict[str, str], name: str, default: float, *, above: float | None = None) -> float:
    text = options.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf") or (above is not None and value <= above):
        raise BadInput(name, expected="seconds" if above is None else f"seconds above {above:g}", got=text)
    return value


def _coverage(text: str | None) -> Coverage | None:
    known: tuple[Coverage, ...] = get_args(Coverage)
    found = next((one for one in known if one == text), None)
    if text is not None and found is None:
        raise BadInput("coverage", expected=" or ".join(known), got=text)
    return found
