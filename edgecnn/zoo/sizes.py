"""Parameters, multiply-adds and activations of known forms, without torch.

The table is written by `python -m edgecnn.zoo.sizes`. It holds the plain form of every network of the zoo, the forms
that something is published about, and the bundled ones. `edgecnn.zoo.layers` computes it; a test holds the two
together.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from edgecnn.files import replacing
from edgecnn.zoo.network import Form, Network, Totals
from edgecnn.zoo.registry import make_form, networks

SIZES = Path(__file__).with_name("sizes.csv")

_KEY = ("form", "channels", "classes")
_VALUES = ("params", "macs", "activation_bytes")


def known_sizes(form: Form) -> Totals | None:
    """Return the sizes of a form from the table, None when it is not there."""
    return _read(SIZES).get(_key(form))


def known_forms() -> Iterator[Form]:
    """Yield the forms that the table holds, each once."""
    seen = []
    for network in networks():
        for form in forms_of(network):
            if form not in seen:
                seen.append(form)
                yield form


def forms_of(network: Network) -> Iterator[Form]:
    """Yield the plain form of a network, those that something is published about, and the bundled one; some twice."""
    yield make_form(network)
    yield from (row.form for row in network.published)
    if network.bundled:
        yield network.bundled.form


def write_sizes(path: Path = SIZES, forms: Iterable[Form] | None = None) -> int:
    """Compute and write the table of all known forms, or of these; return how many it holds.

    Raises:
        MissingDependency: torch is not installed.
    """
    from edgecnn.zoo.layers import layers_of, totals  # noqa: PLC0415

    count = 0
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*_KEY, *_VALUES))
        for form in known_forms() if forms is None else forms:
            sizes = totals(layers_of(form))
            writer.writerow((*_key(form), *(getattr(sizes, name) for name in _VALUES)))
            count += 1
    return count


def _key(form: Form) -> tuple[str, int, int]:
    return (form.title, form.channels, form.classes)


@lru_cache(maxsize=4)
def _read(path: Path) -> dict[tuple[str, int, int], Totals]:
    with path.open(encoding="utf-8", newline="") as file:
        return {
            (row["form"], int(row["channels"]), int(row["classes"])): Totals(
                **{name: int(row[name]) for name in _VALUES}
            )
            for row in csv.DictReader(file)
        }


if __name__ == "__main__":
    print(f"{write_sizes()} forms", file=sys.stderr)
