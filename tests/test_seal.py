"""The seal: what edgecnn wrote and nobody changed."""

from __future__ import annotations

import threading
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgecnn
from edgecnn.artifacts import load_artifact
from edgecnn.errors import BadInput
from edgecnn.onnxmodel.header import read_header
from edgecnn.seal import SEAL_BYTES, SEAL_KEY, has_seal, is_sealed, seal, sealed_later
from edgecnn.specs import Accuracy
from edgecnn.testing.models import TINY, TINY_BATCH1, TINY_INT8

ACCURACY = Accuracy(metric="top1", value=0.9, dataset="d", split="test", images=10, precision="fp32", backend="cpu")


@pytest.mark.parametrize("path", [TINY, TINY_BATCH1, TINY_INT8], ids=lambda path: path.name)
def test_files_of_edgecnn_are_sealed_and_any_reader_sees_it(path: Path) -> None:
    assert is_sealed(path)
    content = path.read_bytes()
    assert read_header(path).metadata[SEAL_KEY] == f"{zlib.crc32(content[:-SEAL_BYTES]):08x}"
    onnx = pytest.importorskip("onnx")
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert [entry.key for entry in model.metadata_props][-1] == SEAL_KEY


@given(position=st.integers(0, 10**9), mask=st.integers(1, 255))
def test_one_changed_byte_breaks_the_seal(position: int, mask: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    content = bytearray(TINY.read_bytes())
    content[position % len(content)] ^= mask
    path = tmp_path_factory.getbasetemp() / "changed.onnx"
    path.write_bytes(content)
    assert not is_sealed(path)


def test_what_is_cut_grown_or_put_together_is_not_sealed(tmp_path: Path) -> None:
    whole, other = TINY.read_bytes(), TINY_INT8.read_bytes()
    path = tmp_path / "a.onnx"
    for content in (b"", b"x", whole[:-1], whole[1:], whole + b"\0", whole + other, other + whole, whole[:-SEAL_BYTES]):
        path.write_bytes(content)
        assert not is_sealed(path)
    assert not is_sealed(tmp_path / "missing")
    assert not is_sealed(tmp_path)


@settings(deadline=None, max_examples=50)
@given(content=st.binary(max_size=700_000))
def test_any_content_can_be_sealed(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "sealed"
    path.write_bytes(content + seal(content))
    assert is_sealed(path)


def test_a_file_of_many_blocks_is_read_to_its_end(tmp_path: Path) -> None:
    content = bytes(range(256)) * (3 * 4096 + 1)
    path = tmp_path / "a"
    path.write_bytes(content + seal(content))
    assert is_sealed(path)
    path.write_bytes(content[:-1] + b"\0" + seal(content))
    assert not is_sealed(path)


def test_a_file_that_another_program_wrote_again_has_lost_its_seal(tmp_path: Path) -> None:
    """The metadata entry is still there, and what edgecnn knows of the file as well."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(TINY)
    model.graph.doc_string = "seen"
    onnx.save(model, tmp_path / "again.onnx")
    assert not is_sealed(tmp_path / "again.onnx")
    assert load_artifact(tmp_path / "again.onnx").spec == load_artifact(TINY).spec


def test_writing_seals_and_drops_an_old_seal(tmp_path: Path) -> None:
    ir = pytest.importorskip("onnx_ir")
    from edgecnn.exporters.onnxfile import write_model

    model = ir.load(TINY)
    assert SEAL_KEY in model.metadata_props
    model.metadata_props["note"] = "changed"
    write_model(model, tmp_path / "a.onnx")
    assert is_sealed(tmp_path / "a.onnx")
    assert (tmp_path / "a.onnx").read_bytes().count(SEAL_KEY.encode()) == 1


@pytest.mark.parametrize("threads", [True, False])
def test_a_check_in_a_thread_finds_the_same(threads: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, damaged = tmp_path / "whole.onnx", tmp_path / "damaged.onnx"
    whole.write_bytes(b"model" + seal(b"model"))
    damaged.write_bytes(b"Model" + seal(b"model"))
    if not threads:

        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refuse)
    answers = [sealed_later(path) for path in (whole, damaged, tmp_path / "none.onnx")]
    assert [answer() for answer in answers] == [True, False, False]


def test_a_file_that_changed_under_its_seal_is_refused_by_name(tmp_path: Path) -> None:
    content = bytearray(TINY.read_bytes())
    content[len(content) // 2] ^= 1
    path = tmp_path / "changed.onnx"
    path.write_bytes(content)
    assert has_seal(path)
    with pytest.raises(BadInput, match=r"changed since edgecnn wrote it"):
        edgecnn.load(path)


def test_a_changed_file_states_no_accuracy_in_records(tmp_path: Path) -> None:
    from edgecnn.bench.subjects import make_subject

    artifact = load_artifact(TINY)
    stated = replace(artifact, spec=replace(artifact.spec, accuracy=(ACCURACY,)))
    assert make_subject(stated, batch=1).accuracy == (ACCURACY,)
    changed = tmp_path / "changed.onnx"
    changed.write_bytes(TINY.read_bytes()[:-1] + b"0")
    assert make_subject(replace(stated, path=changed), batch=1).accuracy == ()
