from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgecnn.errors import BadInput
from edgecnn.results import Device, Metric, Plan, Provenance, Quality, Record, Subject
from edgecnn.resultsfiles import Found, read_all
from edgecnn.resultsquery import metric_columns, query, record_columns
from edgecnn.specs import EngineInfo
from edgecnn.testing.records import made_latencies, made_record

pytest.importorskip("duckdb")

GOLDEN = Path(__file__).parent / "golden" / "record_first.jsonl"


def _found(*records: Record) -> Iterator[Found]:
    for number, record in enumerate(records, start=1):
        yield Found(path=Path("r.jsonl"), line=number, record=record)


RECORDS = (
    made_record(made_latencies(1e6), plan_batch=1),
    made_record(made_latencies(4e6), plan_batch=4, memory=None),
    made_record(made_latencies(9e6), plan_batch=8, device_cpu=None, subject_file="b\udcff.onnx"),
)


def test_one_row_per_record_and_one_per_metric() -> None:
    assert query(_found(*RECORDS), "SELECT count(*) AS n FROM records").rows == ((3,),)
    answer = query(_found(*RECORDS), "SELECT record, name, n FROM metrics ORDER BY ALL")
    assert answer.columns == ("record", "name", "n")
    assert answer.rows == (
        (0, "latency", 400),
        (0, "memory_added", 1),
        (1, "latency", 400),
        (2, "latency", 400),
        (2, "memory_added", 1),
    )


def test_records_and_metrics_join_by_number() -> None:
    sql = """SELECT plan_batch, round(median / 1e6, 6), device_cpu, subject_file, line
             FROM records JOIN metrics USING (record) WHERE name = 'latency' ORDER BY plan_batch DESC"""
    file = RECORDS[0].subject.file
    assert query(_found(*RECORDS), sql).rows == (
        (8, 9.0, None, "b\\udcff.onnx", 3),
        (4, 4.0, "Cortex-A72", file, 2),
        (1, 1.0, "Cortex-A72", file, 1),
    )


def test_samples_are_lists_and_mappings_are_json() -> None:
    sql = """SELECT len(samples), samples[1], ci95[1] < median AND median < ci95[2], runtime_options->>'arena',
             CAST(runtime_nodes->'CPUExecutionProvider' AS INTEGER), subject_accuracy->0->>'dataset', subject_input_shape
             FROM records JOIN metrics USING (record) WHERE name = 'latency' AND record = 0"""
    ((count, first, inside, arena, nodes, dataset, shape),) = query(_found(*RECORDS), sql).rows
    latency = RECORDS[0].metric("latency")
    assert latency is not None
    assert (count, first, inside) == (400, latency.samples[0], True)
    assert (arena, nodes, dataset, shape) == ("true", 31, "fashion-mnist", [4, 1, 32, 32])


def test_every_field_of_the_record_is_a_column() -> None:
    names = {column.name for column in record_columns()}
    groups = {
        "subject": Subject,
        "runtime": EngineInfo,
        "device": Device,
        "plan": Plan,
        "quality": Quality,
        "provenance": Provenance,
    }
    for group, cls in groups.items():
        assert {f"{group}_{field.name}" for field in dataclasses.fields(cls)} <= names
    assert {"schema", "status", "reason"} <= names
    assert len(record_columns()) == len(names)
    assert [column.name for column in metric_columns()] == [field.name for field in dataclasses.fields(Metric)]


def test_records_of_the_first_version_and_failures_have_nulls() -> None:
    found = list(read_all([GOLDEN], on_foreign=lambda error: None))
    sql = "SELECT status, runtime_backend, quality_temperature_c, source FROM records ORDER BY record"
    assert query(found, sql).rows == (
        ("ok", "cpu", [48.2, None], str(GOLDEN)),
        ("failed", None, None, str(GOLDEN)),
    )
    assert query(found, "SELECT max(p999) FROM metrics").rows == ((None,),)


def test_no_records_are_empty_tables() -> None:
    assert query([], "SELECT count(*) FROM records, metrics").rows == ((0,),)


@pytest.mark.slow
def test_many_records_are_all_there_in_order() -> None:
    records = [dataclasses.replace(RECORDS[0], reason=str(number)) for number in range(230)]
    rows = query(_found(*records), "SELECT reason FROM records ORDER BY record").rows
    assert rows == tuple((str(number),) for number in range(230))


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT * FROM nothing", "nothing does not exist"),
        ("SELECT colour FROM records", "colour"),
        ("SELEC 1", "Parser Error"),
        ("", "expected one SELECT, got 0 statements"),
        ("SELECT 1; SELECT 2", "expected one SELECT, got 2 statements"),
        ("DROP TABLE records", "expected one SELECT, got DROP"),
        ("INSERT INTO records VALUES (1)", "expected one SELECT, got INSERT"),
        ("COPY records TO 'x.csv'", "expected one SELECT, got COPY"),
        ("ATTACH 'x.db'", "expected one SELECT, got ATTACH"),
        ("SET enable_external_access = true", "expected one SELECT, got SET"),
    ],
)
def test_what_is_refused(sql: str, text: str) -> None:
    with pytest.raises(BadInput, match=text):
        query(_found(*RECORDS), sql)


@pytest.mark.parametrize("call", ["read_text('{}')", "read_csv('{}')", "read_json('{}')", "glob('{}')", "'{}'"])
def test_no_file_can_be_read_from_sql(tmp_path: Path, call: str) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    with pytest.raises(BadInput, match=r"^--sql: "):
        query(_found(*RECORDS), f"SELECT * FROM {call.format(secret)}")


@pytest.mark.skipif(find_spec("pytz") is not None, reason="with pytz such times can be shown")
def test_times_with_a_zone_are_refused_with_a_way_out() -> None:
    with pytest.raises(BadInput, match="a time with a zone cannot be shown") as caught:
        query([], "SELECT now()")
    assert caught.value.hint == "cast it: ::varchar"


def test_no_variable_of_python_can_be_read_from_sql() -> None:
    with pytest.raises(BadInput, match="found does not exist"):
        query(_found(*RECORDS), "SELECT * FROM found")


def test_answers_are_plain_values_with_names_of_their_own() -> None:
    sql = """SELECT 1 AS a, 2 AS a, 'NaN'::DOUBLE AS x, DATE '2025-01-31' AS day, 1.50::DECIMAL(4, 2) AS d,
             [1, NULL] AS list, {'k': 'v'} AS struct, true AS yes, 12345678901234567890::HUGEINT AS big"""
    answer = query([], sql)
    assert answer.columns == ("a", "a_2", "x", "day", "d", "list", "struct", "yes", "big")
    assert answer.rows == ((1, 2, None, "2025-01-31", "1.50", [1, None], {"k": "v"}, True, 12345678901234567890),)


def test_a_number_that_no_column_holds_is_null() -> None:
    odd = made_record(device_memory_bytes=2**70, subject_input_shape=(1, 2**64, 8))
    answer = query(_found(odd, *RECORDS), "SELECT device_memory_bytes, subject_input_shape FROM records LIMIT 1")
    assert answer.rows == ((None, [1, None, 8]),)
