"""Reading the tables of the zoo: the catalogue, published.csv, and the TOML beside each bundled weights file.

A family is a file in `families/`: the paper, the options that its networks share, what acts in training only in all of them,
and a table per network that names its builder and the data set of the paper's form. Numbers that sources state are rows of
published.csv; the first row of a form stands for it. Unknown keys are errors.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from edgecnn.errors import BadInput
from edgecnn.jsonform import from_json
from edgecnn.specs import Fit, Interpolation, Preprocess, Scalar
from edgecnn.toml import read_toml
from edgecnn.zoo.forms import form_of
from edgecnn.zoo.network import Bundled, Checkpoint, Network, Paper, Published
from edgecnn.zoo.options import Option, TrainingOption

FAMILIES = Path(__file__).with_name("families")
PUBLISHED = Path(__file__).with_name("published.csv")
WEIGHTS = Path(__file__).with_name("weights")

_DATASETS = "datasets.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pixels:
    channels: int
    fit: Fit
    crop_fraction: float
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dataset:
    classes: int
    input_size: int
    preprocess: _Pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class _Option:
    default: str | int | float | bool
    choices: tuple[str | int | float | bool, ...] = ()
    low: float | None = None
    high: float | None = None
    label: str = "{}"
    help: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    title: str
    builder: str
    dataset: str
    paper: Paper | None = None
    fixed: Mapping[str, Scalar] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    input_size: int | None = None
    min_input: int = 1
    input_sizes: tuple[int, ...] = ()
    aliases: tuple[str, ...] = ()
    small: str = ""
    training_options: Mapping[str, TrainingOption] = field(default_factory=dict)
    checkpoints: tuple[Checkpoint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    family: str
    paper: Paper
    options: Mapping[str, _Option] = field(default_factory=dict)
    training_options: Mapping[str, TrainingOption] = field(default_factory=dict)
    networks: Mapping[str, _Entry]


def read_networks(
    *, families: Path = FAMILIES, published: Path = PUBLISHED, weights: Path = WEIGHTS
) -> tuple[Network, ...]:
    """Return the networks of a catalogue, oldest paper first, with what is published and what is bundled.

    Args:
        families: folder of TOML files, one per family, and `datasets.toml`.
        published: CSV file of published numbers.
        weights: folder of bundled weights.

    Raises:
        BadInput: a file is missing, has an unknown key, or names a network, option or data set that there is not.
    """
    datasets = _read_datasets(families)
    files = (path for path in sorted(families.glob("*.toml")) if path.name != _DATASETS)
    networks = {network.name: network for path in files for network in _read_family(path, datasets)}
    _check_small(networks, families)
    for name, rows in _read_published(published, networks).items():
        networks[name] = replace(networks[name], published=rows)
    for name, bundled in _read_bundled(weights, networks, datasets).items():
        networks[name] = replace(networks[name], bundled=bundled)
    return tuple(sorted(networks.values(), key=lambda network: (network.paper.year, network.family)))


def preprocess_of(dataset: str, input_size: int) -> Preprocess | None:
    """Return how images of a data set become an input of that size, None for a data set that the catalogue lacks."""
    known = _read_datasets(FAMILIES)
    return _preprocess(known[dataset], input_size) if dataset in known else None


def _read_datasets(families: Path) -> dict[str, _Dataset]:
    path = families / _DATASETS
    return {name: from_json(_Dataset, table, where=f"{path}: {name}") for name, table in read_toml(path).items()}


def _read_family(path: Path, datasets: Mapping[str, _Dataset]) -> Iterator[Network]:
    family = from_json(_Family, read_toml(path), where=str(path))
    _check_rules_differ(family, path)
    for name, entry in family.networks.items():
        yield Network(
            name=name,
            family=family.family,
            title=entry.title,
            paper=entry.paper or family.paper,
            builder=entry.builder,
            fixed=entry.fixed,
            options=tuple(_option(option, family, path) for option in entry.options),
            dataset=entry.dataset,
            preprocess=_preprocess(_dataset(entry.dataset, datasets, path), entry.input_size),
            classes=_dataset(entry.dataset, datasets, path).classes,
            min_input=entry.min_input,
            input_sizes=entry.input_sizes,
            aliases=entry.aliases,
            small=entry.small,
            training_options={**family.training_options, **entry.training_options},
            checkpoints=tuple(_checked(rule, name, entry.options, path) for rule in entry.checkpoints),
        )


def _checked(rule: Checkpoint, network: str, options: tuple[str, ...], path: Path) -> Checkpoint:
    where = f"{path}: checkpoint {rule.source!r} of {network}"
    if strange := rule.options.keys() - set(options):
        raise BadInput(where, expected=f"options of {', '.join(options)}", got=", ".join(sorted(strange)))
    for pattern in (*rule.drop, *(pattern for pattern, _ in rule.rename)):
        try:
            re.compile(pattern)
        except re.error as error:
            raise BadInput(where, expected="a regular expression", got=f"{pattern!r}: {error}") from None
    for pattern, replacement in rule.rename:
        _check_replacement(pattern, replacement, where)
    return rule


def _check_rules_differ(family: _Family, path: Path) -> None:
    """Raise BadInput for a rule that stands there twice, or that an earlier one of its network hides from every file."""
    seen: dict[str, str] = {}
    for name, entry in family.networks.items():
        translating: dict[str, str] = {}
        for rule in entry.checkpoints:
            whole, keys = repr(rule), repr((rule.rename, rule.drop, sorted(rule.options.items())))
            twin = seen.get(whole) or translating.get(keys)
            if twin:
                where = f"{path}: checkpoint {rule.source!r} of {name}"
                raise BadInput(where, expected="another rename, drop or options", got=f"those of {twin}")
            seen[whole] = translating[keys] = f"{rule.source!r} of {name}"


def _check_replacement(pattern: str, replacement: str, where: str) -> None:
    # A replacement is parsed when something matches: the end of a text, as an alternative, always does.
    try:
        re.sub(rf"{pattern}|\Z", replacement, "")
    except (re.error, IndexError) as error:
        raise BadInput(where, expected="a replacement for its pattern", got=f"{replacement!r}: {error}") from None


def _check_small(networks: Mapping[str, Network], families: Path) -> None:
    for network in networks.values():
        if network.small and network.small not in networks:
            raise BadInput(f"{families}: small of {network.name}", expected="one of the catalogue", got=network.small)


def _option(name: str, family: _Family, path: Path) -> Option:
    if name not in family.options:
        raise BadInput(f"{path}: option {name}", expected=f"one of {sorted(family.options)}", got=name)
    table = family.options[name]
    return Option(
        name=name,
        default=table.default,
        choices=table.choices,
        low=table.low,
        high=table.high,
        label=table.label,
        help=table.help,
    )


def _dataset(name: str, datasets: Mapping[str, _Dataset], path: Path) -> _Dataset:
    if name not in datasets:
        raise BadInput(f"{path}: data set", expected=f"one of {', '.join(datasets)}", got=name)
    return datasets[name]


def _preprocess(dataset: _Dataset, input_size: int | None = None) -> Preprocess:
    size = input_size or dataset.input_size
    pixels = dataset.preprocess
    return Preprocess(
        size=(size, size),
        channels=pixels.channels,
        fit=pixels.fit,
        crop_fraction=pixels.crop_fraction,
        interpolation=pixels.interpolation,
        mean=pixels.mean,
        std=pixels.std,
    )


def _read_published(path: Path, networks: Mapping[str, Network]) -> dict[str, tuple[Published, ...]]:
    rows: dict[str, tuple[Published, ...]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            name = row["network"]
            if name not in networks:
                raise BadInput(f"{path}, line {number}: network", expected="one of the catalogue", got=name)
            rows[name] = (*rows.get(name, ()), _published(row, networks[name]))
    return rows


def _published(row: Mapping[str, str], network: Network) -> Published:
    options = dict(pair.split("=", 1) for pair in row["options"].split(";") if pair)
    return Published(
        id=row["id"],
        form=form_of(network, input_size=int(row["input_size"]), options=options),
        params=int(row["params_exact"]) if row["params_exact"] else None,
        params_reported=row["params_reported_M"],
        params_source=row["params_source"],
        macs=int(Decimal(row["macs_M"]).scaleb(6)) if row["macs_M"] else None,
        macs_reported=row["macs_reported_M"],
        macs_unit=row["reported_unit"],
        macs_source=row["macs_source"],
        top1=_share(row["top1"]),
        top5=_share(row["top5"]),
        protocol=row["accuracy_protocol"],
        accuracy_source=row["accuracy_source"],
        top1_other=_share(row["top1_alt"]),
        top5_other=_share(row["top5_alt"]),
        other_source=row["alt_source"],
        weights_url=row["weights_url"],
        sha256_prefix=row["sha_prefix"],
        notes=row["notes"],
    )


def _share(percent: str) -> float | None:
    """Return percent as 0..1 without the rounding error of a float division."""
    return float(Decimal(percent).scaleb(-2)) if percent else None


def _read_bundled(
    folder: Path, networks: Mapping[str, Network], datasets: Mapping[str, _Dataset]
) -> dict[str, Bundled]:
    """Return network name -> weights, for every TOML with a [result] and a .safetensors beside it."""
    found = {}
    for path in sorted(folder.glob("*.toml")):
        document = read_toml(path)
        weights = path.with_suffix(".safetensors")
        if "result" in document and weights.is_file():
            bundled = _bundled(weights, document, networks, datasets)
            found[bundled.form.network] = bundled
    return found


def _bundled(
    weights: Path, document: Mapping[str, Any], networks: Mapping[str, Network], datasets: Mapping[str, _Dataset]
) -> Bundled:
    path = weights.with_suffix(".toml")
    try:
        options = dict(document["network"])
        network = networks[options.pop("name")]
        form = form_of(
            network,
            input_size=options.pop("input_size"),
            channels=options.pop("in_channels"),
            classes=options.pop("classes"),
            options=options,
        )
        result = document["result"]
        dataset, top1, images = str(result["dataset"]), float(result["top1"]), int(result["images"])
    except KeyError as error:
        raise BadInput(f"{path}: {error.args[0]} is missing or unknown") from None
    if form.title != path.stem:
        raise BadInput(f"{path}: name of the file", expected=form.title, got=path.stem)
    pixels = _preprocess(_dataset(dataset, datasets, path), form.input_size)
    return Bundled(form=form, dataset=dataset, preprocess=pixels, top1=top1, images=images, path=weights)
