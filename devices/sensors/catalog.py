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
from edgecnn.devices.sensors.hwmon import HwmonMeter, hwmon_meters, measures_the_machine
from edgecnn.devices.sensors.jetson import jetson_meters
from edgecnn.devices.sensors.nvml import nvml_meters
from edgecnn.devices.sensors.plug import PlugMeter, checked_address
from edgecnn.devices.sensors.rapl import rapl_meters
from edgecnn.devices.sensors.rpi5 import Runner, rpi5_meters
from edgecnn.errors import BadInput, SensorAbsent, SensorUnavailable, UnknownName
from edgecnn.powerspec import Coverage

FAMILIES = ("jetson", "rpi5", "rapl", "hwmon", "battery", "nvml")
"""Kinds of sensor that are looked for, in the order in which "auto" takes them; NVML sees the GPU alone."""

AUTO = "auto"
"""Means the first sensor that this machine has and that sees the work."""

_CSV, _PLUG = "csv:", ("http:", "https:")

EXTERNAL_FIX = "an external meter measures any machine: --power csv:FILE or --power http://PLUG"


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A sensor that cannot be read.

    Attributes:
        name: of the kind or the meter.
        reason: why.
        fix: what to do about it.
        absent: this machine does not have it, which is no fault.
    """

    name: str
    reason: str
    fix: str
    absent: bool = False


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
        nvml: gives NVML's functions.
        read: how a sensor's file is read.
    """
    meters: list[Meter] = []
    missing: list[Missing] = []
    for family, find in _finders(root, run=run, nvml=nvml, read=read):
        try:
            found = find()
        except SensorUnavailable as error:
            absent = isinstance(error, SensorAbsent)
            missing.append(Missing(name=family, reason=error.message, fix=error.hint, absent=absent))
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
    gpu: str | None = None,
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
        gpu: PCI address of that GPU, which says which of several is meant; None where unknown.
        run: how a command is run.
        nvml: gives NVML's functions.
        read: how a sensor's file is read.

    Raises:
        SensorUnavailable: it cannot be read; message and hint say why and what to do.
        UnknownName: no such meter.
        BadInput: the options of a CSV file or the address of a plug are wrong.
    """
    if text.startswith(_CSV):
        return csv_meter(text.removeprefix(_CSV))
    if text.startswith(_PLUG):
        return PlugMeter(text)
    family = _family(text)
    wanted = _auto_order(uses_gpu) if text == AUTO else (family,)
    finders = dict(_finders(root, run=run, nvml=nvml, read=read))
    reasons = []
    for name in wanted:
        try:
            return _first(_meant(finders[name](), text, family=name, gpu=gpu))
        except SensorUnavailable as error:
            reasons.append(error)
    if text != AUTO:
        raise reasons[0]
    # A fix for a chip that this machine lacks helps nobody.
    near = [error for error in reasons if not isinstance(error, SensorAbsent)]
    hint = near[0].hint if near else EXTERNAL_FIX
    raise SensorUnavailable("no power sensor: " + "; ".join(error.message for error in reasons), hint)


def check_meter(text: str) -> None:
    """Return if a text means a meter, as far as that can be told without looking for it.

    Args:
        text: as `meter_from` takes it.

    Raises:
        UnknownName: no such kind of meter.
        BadInput: the options of a CSV file or the address of a plug are wrong, or there is no such file.
        SensorUnavailable: the name of a plug has no address.
    """
    if text.startswith(_CSV):
        log = csv_meter(text.removeprefix(_CSV)).path
        if not log.is_file():
            hint = "start the meter's logging first, or state the path of its log"
            raise BadInput("csv meter", hint, expected="a file that exists", got=str(log))
    elif text.startswith(_PLUG):
        checked_address(text)
    else:
        _family(text)


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


def _family(text: str) -> str:
    """Return the kind of meter that a text names, "auto" included.

    Raises:
        UnknownName: there is none of that name.
    """
    family = text.partition(":")[0]
    if text != AUTO and family not in FAMILIES:
        raise UnknownName("power meter", text, (AUTO, *FAMILIES, "csv:FILE", "http://PLUG"))
    return family


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
        raise SensorAbsent("nvml: a recorded tree has no driver to ask", "measure on the machine itself")
    return nvml_meters(library)


def _auto_order(uses_gpu: bool) -> tuple[str, ...]:
    """Return the families that see the work: on a Jetson its rails see the GPU too, elsewhere only NVML does."""
    return ("jetson", "nvml") if uses_gpu else tuple(name for name in FAMILIES if name != "nvml")


def _meant(meters: Sequence[Meter], text: str, *, family: str, gpu: str | None) -> Sequence[Meter]:
    """Return the meters of a family that a text means, the best first.

    Raises:
        SensorUnavailable: none, or several GPUs and none at the address; CUDA numbers them in another order than NVML.
        UnknownName: no meter of that name.
    """
    if text not in (AUTO, family):
        return _named(meters, text)
    if family == "nvml" and len(meters) > 1:
        working = [meter for meter in meters if gpu and _address(meter.spec.name) == _address(gpu)]
        if working:
            return working
        names = ", ".join(meter.spec.name for meter in meters)
        raise SensorUnavailable(
            f"nvml: {len(meters)} GPUs and no word which: {names}", f"--power {meters[0].spec.name}"
        )
    if text != AUTO:
        return meters
    whole = [meter for meter in meters if not isinstance(meter, HwmonMeter) or measures_the_machine(meter)]
    if not whole:
        names = ", ".join(f"{meter.spec.name} ({meter.spec.domain})" for meter in meters)
        raise SensorUnavailable(f"hwmon: parts of the machine alone: {names}", "name one to measure it alone")
    return whole


def _address(text: str) -> tuple[str, ...]:
    """Return the end of a PCI address that both "nvml:00000000:01:00.0" and CUDA's "0000:01:00.0" have."""
    *_, domain, bus, device = text.casefold().split(":")
    return domain[-4:], bus, device


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
