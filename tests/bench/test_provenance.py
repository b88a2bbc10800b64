from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

import edgecnn
from edgecnn.bench.provenance import make_provenance, read_commit, without_folders
from edgecnn.testing.fakes import write_tree

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("/home/jane/bin/edgecnn", "edgecnn"),
        ("bench", "bench"),
        ("../models/a.onnx", "a.onnx"),
        ("/home/jane doe/a.onnx", "a.onnx"),
        ("--output=/home/jane/r.jsonl", "--output=r.jsonl"),
        ("--output=/home/jane doe/r.jsonl", "--output=r.jsonl"),
        ("/a/x.onnx,/b/y.onnx", "x.onnx,y.onnx"),
        ("models/", "models"),
        (r"C:\Users\jane\a.onnx", "a.onnx"),
        ("--batch=1,4,16", "--batch=1,4,16"),
        ("--seconds", "--seconds"),
    ],
)
def test_arguments_lose_their_folders(given: str, kept: str) -> None:
    assert without_folders([given]) in ((kept,), (f"C:{kept}",))


def test_a_branch_with_a_file_of_its_own(tmp_path: Path) -> None:
    write_tree(tmp_path, {".git/HEAD": "ref: refs/heads/main\n", ".git/refs/heads/main": COMMIT + "\n"})
    assert read_commit(tmp_path) == COMMIT


def test_a_packed_branch(tmp_path: Path) -> None:
    packed = (
        f"# pack-refs with: peeled fully-peeled sorted\n{OTHER} refs/heads/other\n{COMMIT} refs/heads/main\n^{OTHER}\n"
    )
    write_tree(tmp_path, {".git/HEAD": "ref: refs/heads/main\n", ".git/packed-refs": packed})
    assert read_commit(tmp_path) == COMMIT


def test_a_commit_without_a_branch(tmp_path: Path) -> None:
    assert read_commit(write_tree(tmp_path, {".git/HEAD": COMMIT + "\n"})) == COMMIT


def test_a_linked_working_copy(tmp_path: Path) -> None:
    write_tree(
        tmp_path,
        {
            "main/.git/HEAD": "ref: refs/heads/main\n",
            "main/.git/refs/heads/side": COMMIT,
            "main/.git/worktrees/side/HEAD": "ref: refs/heads/side\n",
            "main/.git/worktrees/side/commondir": "../..\n",
            "side/.git": f"gitdir: {tmp_path}/main/.git/worktrees/side\n",
        },
    )
    assert read_commit(tmp_path / "side") == COMMIT


@pytest.mark.parametrize(
    "files",
    [
        {},
        {".git/HEAD": "ref: refs/heads/main\n"},
        {".git/HEAD": "garbage"},
        {".git": "gitdir: nowhere"},
        {".git/HEAD": "ref: refs/heads/main\n", ".git/packed-refs": f"{OTHER} refs/heads/other\n"},
    ],
)
def test_no_commit(tmp_path: Path, files: dict[str, str]) -> None:
    assert read_commit(write_tree(tmp_path, files)) is None


def test_a_working_copy_inside_another_one_is_not_confused_with_it(tmp_path: Path) -> None:
    write_tree(tmp_path, {".git/HEAD": COMMIT, "inner/readme": ""})
    assert read_commit(tmp_path / "inner") is None


def test_provenance_of_now() -> None:
    found = make_provenance(["/usr/bin/edgecnn", "bench", "/data/a.onnx"])
    assert (found.edgecnn, found.numpy) == (edgecnn.__version__, np.__version__)
    assert found.argv == ("edgecnn", "bench", "a.onnx")
    age = datetime.now(timezone.utc) - datetime.fromisoformat(found.time_utc)
    assert timedelta(0) <= age < timedelta(minutes=1)
