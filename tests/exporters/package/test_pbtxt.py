"""The text form of protocol buffers: what is written is what protobuf reads, and the other way round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.errors import BadInput
from edgecnn.exporters.package.pbtxt import Word, read_text, write_text

texts = st.text(max_size=20)
messages = st.fixed_dictionaries(
    {
        "name": texts,
        "max_batch_size": st.integers(-(2**31), 2**31 - 1),
        "input": st.lists(
            st.fixed_dictionaries(
                {
                    "name": texts,
                    "data_type": st.sampled_from([Word("TYPE_FP32"), Word("TYPE_UINT8")]),
                    "dims": st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
                    "optional": st.booleans(),
                    "reshape": st.sampled_from([{}, {"shape": []}, {"shape": [1, 2]}]),
                }
            ),
            max_size=3,
        ),
        "parameters": st.lists(
            st.fixed_dictionaries({"key": texts, "value": st.fixed_dictionaries({"string_value": texts})}),
            max_size=3,
            unique_by=lambda entry: entry["key"],
        ),
    }
)


@settings(max_examples=50, deadline=None)
@given(message=messages)
def test_protobuf_and_our_reader_read_what_is_written(parse_config: Callable[[str], Any], message: Any) -> None:
    text = write_text(message)
    parsed = parse_config(text)
    assert (parsed.name, parsed.max_batch_size) == (message["name"], message["max_batch_size"])
    assert {key: value.string_value for key, value in parsed.parameters.items()} == {
        entry["key"]: entry["value"]["string_value"] for entry in message["parameters"]
    }
    assert [(one.name, list(one.dims), one.optional) for one in parsed.input] == [
        (one["name"], one["dims"], one["optional"]) for one in message["input"]
    ]
    read = read_text(text, where="t")
    assert read["name"] == [message["name"]]
    assert [entry["dims"] for entry in read.get("input", [])] == [one["dims"] for one in message["input"]]
    assert [entry["reshape"][0].get("shape", []) for entry in read.get("input", [])] == [
        one["reshape"].get("shape", []) for one in message["input"]
    ]


@settings(max_examples=50, deadline=None)
@given(name=texts, value=texts, dims=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=3))
def test_our_reader_reads_what_protobuf_writes(config_class: Any, name: str, value: str, dims: list[int]) -> None:
    config = config_class(name=name, max_batch_size=3)
    config.input.add(name="x", dims=dims)
    config.parameters["key"].string_value = value
    for options in ({}, {"as_utf8": True}, {"as_one_line": True}, {"use_short_repeated_primitives": True}):
        fields = read_text(text_format.MessageToString(config, **options), where="t")
        assert fields.get("name", [""]) == [name]
        assert fields["input"][0]["dims"] == dims
        assert fields["parameters"][0]["value"][0].get("string_value", [""]) == [value]


def test_what_people_write_is_read() -> None:
    text = """
    # a comment
    name: 'a' "b"   max_batch_size: 0x10;
    input [ { name: "x", dims: [ 3, -1 ] }, < name: "y\\n\\x41\\101\\u00e9" dims: 010 dims: - 2 > ]
    dynamic_batching { }
    optimization: { eager_batching: true, other: 1.5e3f }
    """
    fields = read_text(text, where="t")
    assert fields["name"] == ["ab"]
    assert fields["max_batch_size"] == [16]
    assert fields["input"] == [{"name": ["x"], "dims": [3, -1]}, {"name": ["y\nAAé"], "dims": [8, -2]}]
    assert fields["dynamic_batching"] == [{}]
    assert fields["optimization"] == [{"eager_batching": [True], "other": [1500.0]}]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("name: 'a'\ninput {\n", 3, "expected a field's name, got the end"),
        ("name 'a'", 1, "expected a colon or {, got 'a'"),
        ("name:\n\n}", 3, "expected a value, got }"),
        ("dims: [1 2]", 1, "expected a comma or ], got 2"),
        ('name: "a', 1, 'got "'),
        ("}", 1, "expected a field's name, got }"),
        ("a: 1\n%", 2, "got %"),
    ],
)
def test_what_is_not_a_message_is_named_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_text(text, where="some/config.pbtxt")
    assert f"some/config.pbtxt, line {line}:" in caught.value.message
    assert words in caught.value.message
