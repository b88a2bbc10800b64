"""Unknown keys are found wherever they stand, and put back there."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgecnn.jsonform import from_json, to_json
from edgecnn.results import Record
from edgecnn.testing.records import made_record
from edgecnn.unknownkeys import unknown_keys, with_unknown

PLAIN: dict[str, Any] = to_json(made_record())

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def test_what_this_version_writes_has_no_unknown_keys() -> None:
    assert unknown_keys(Record, PLAIN) == {}
    assert with_unknown(PLAIN, {}) is PLAIN
    # Mappings have keys of their own: an engine's options are known, whatever they are called.
    assert unknown_keys(Record, PLAIN | {"runtime": PLAIN["runtime"] | {"options": {"x": 1}}}) == {}


def test_places_in_objects_and_lists() -> None:
    metrics = [PLAIN["metrics"][0] | {"p42": 1}, *PLAIN["metrics"][1:]]
    data = PLAIN | {"metrics": metrics, "plan": PLAIN["plan"] | {"weather": {"rain": True}}, "note": None}
    found = unknown_keys(Record, data)
    assert found == {"metrics": {0: {"p42": 1}}, "plan": {"weather": {"rain": True}}, "note": None}


@given(st.data())
def test_a_newer_record_comes_through_an_older_reader_whole(data: st.DataObject) -> None:
    newer = json.loads(json.dumps(PLAIN))
    spots = [newer, newer["subject"], newer["plan"], newer["quality"], *newer["metrics"], *newer["subject"]["accuracy"]]
    for _ in range(data.draw(st.integers(1, 4))):
        spot = data.draw(st.sampled_from(spots))
        key = data.draw(st.text().map(lambda text: f"x{text}").filter(lambda key, spot=spot: key not in spot))  # type: ignore[misc]
        spot[key] = data.draw(VALUES)
    record = from_json(Record, newer, ignore_unknown=True)
    assert with_unknown(to_json(record), unknown_keys(Record, newer)) == newer
