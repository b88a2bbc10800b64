from __future__ import annotations

import pickle
import re

import pytest

from edgecnn import errors
from edgecnn.errors import (
    BadInput,
    EdgecnnError,
    MissingDependency,
    ParityError,
    ResultsError,
    UnknownName,
    nearest,
)

EXAMPLES = {
    "UnknownName": UnknownName("network", "mobilnet", ["mobilenet_v1"], ["mobilenet"]),
    "BadInput": BadInput("image", "give a photo", expected="uint8", got="float32"),
    "MissingDependency": MissingDependency("onnxruntime", "cpu", "backend cpu"),
    "ParityError": ParityError("torch and onnx", max_abs=0.25, tolerance=1e-5, worst="logits[3]"),
    "ResultsError": ResultsError("not JSON", path="r.jsonl", line=3, key="record.plan", hint="look"),
}


def _drawn() -> dict[str, tuple[str | None, int | None]]:
    """Read the tree in the module's docstring: name -> (parent, exit code where one is drawn)."""
    found: dict[str, tuple[str | None, int | None]] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"([ │├└─]+)([A-Z]\w+)(?: {2,}(\d))?", line)
        if match is None:
            continue
        column, name, code = match.start(2), match[2], match[3]
        while above and above[-1][0] >= column:
            above.pop()
        found[name] = (above[-1][1] if above else None, int(code) if code else None)
        above.append((column, name))
    return found


def _classes(root: type[EdgecnnError] = EdgecnnError) -> list[type[EdgecnnError]]:
    return [root, *(inner for child in root.__subclasses__() for inner in _classes(child))]


OWN = [cls for cls in _classes() if cls.__module__ == "edgecnn.errors"]


def _example(cls: type[EdgecnnError]) -> EdgecnnError:
    return EXAMPLES[cls.__name__] if cls.__name__ in EXAMPLES else cls("what", "do this")


def test_the_drawn_tree_is_the_tree() -> None:
    parents = {cls.__name__: cls.__mro__[1].__name__ if cls is not EdgecnnError else None for cls in OWN}
    assert {name: parent for name, (parent, _) in _drawn().items()} == parents
    assert len(OWN) == len(set(OWN)) == 24


def test_drawn_exit_codes_are_the_exit_codes() -> None:
    drawn = {name: code for name, (_, code) in _drawn().items() if code is not None}
    assert drawn == {name: getattr(errors, name).exit_code for name in drawn}


@pytest.mark.parametrize(
    ("code", "names"),
    {
        1: "EdgecnnError",
        2: "UsageError UnknownName BadInput Contradiction",
        3: "MissingDependency",
        4: "UnavailableError RuntimeUnavailable ProviderFallback SensorUnavailable SensorAbsent DeviceUnreachable Overloaded "
        "DeadlineExceeded",
        5: "ModelError ExportError UnsupportedOp QuantizeError ParityError AccuracyError",
        6: "InferenceError",
        7: "MeasurementError",
        8: "ResultsError",
        9: "RegressionError",
    }.items(),
)
def test_exit_codes(code: int, names: str) -> None:
    assert {name: getattr(errors, name).exit_code for name in names.split()} == dict.fromkeys(names.split(), code)


@pytest.mark.parametrize("cls", OWN, ids=lambda cls: cls.__name__)
def test_an_error_survives_pickling_and_stays_one_line(cls: type[EdgecnnError]) -> None:
    error = _example(cls)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert str(again) == str(error)
    assert vars(again) == vars(error)
    assert again.args == error.args
    assert "\n" not in str(error)


def test_hint_stands_behind_the_message() -> None:
    assert str(EdgecnnError("no", "do")) == "no (do)"
    assert str(EdgecnnError("no")) == "no"


@pytest.mark.parametrize(
    ("given", "suggestion"),
    [
        ("mobilnet", "mobilenet"),
        ("MobileNet_V1", "mobilenet_v1"),
        ("RESNET50", "resnet50"),
        ("resnet5", "resnet50"),
        ("mobilenet_v2", "mobilenet_v1"),
        ("transformer", None),
        ("", None),
    ],
)
def test_did_you_mean(given: str, suggestion: str | None) -> None:
    known = ("mobilenet_v1", "resnet18", "resnet50", "squeezenet1_1")
    error = UnknownName("network", given, iter(known), ["mobilenet"])
    assert error.suggestion == suggestion
    assert error.message == f"unknown network {given!r}"
    listed = "known: mobilenet_v1, resnet18, resnet50, squeezenet1_1"
    assert error.hint.startswith(f"did you mean {suggestion}" if suggestion else listed)
    assert error.hint.endswith(listed)


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("densenet_121", ("densenet121",)),
        ("ResNet-50", ("resnet50",)),
        ("inception", ("inception_v3", "inception_v4")),
        ("wide-resnet", ("wide_resnet50_2", "wide_resnet101_2")),
        ("resnet", ("resnet18", "resnet20", "resnet34")),
        ("resnt18", ("resnet18",)),
        ("transformer", ()),
    ],
)
def test_the_nearest_names_are_few(given: str, near: tuple[str, ...]) -> None:
    known = ("densenet121", "inception_v3", "inception_v4", "wide_resnet50_2", "wide_resnet101_2")
    assert nearest(given, (*known, *(f"resnet{depth}" for depth in (18, 20, 34, 50, 101)))) == near


def test_of_many_names_only_the_nearest_are_listed() -> None:
    known = [f"resnet{depth}" for depth in range(20)]
    hints = [UnknownName("network", name, known, listing="edgecnn zoo").hint for name in ("resnt7", "resnet", "x")]
    assert hints == ["did you mean resnet7?", "did you mean resnet0, resnet1 or resnet2?", "edgecnn zoo lists them"]
    assert UnknownName("network", "resnet", known, hint="a family").hint == "a family"
    assert "resnet19" in UnknownName("network", "x", known).hint


def test_suggestion_keeps_the_case_of_the_known_name() -> None:
    error = UnknownName("provider", "cudaexecutionprovider", ["CPUExecutionProvider", "CUDAExecutionProvider"])
    assert error.suggestion == "CUDAExecutionProvider"


def test_bad_input_says_expected_and_got() -> None:
    error = BadInput("input x", "convert it", expected="float32", got="float64")
    assert error.message == "input x: expected float32, got float64"
    assert (error.expected, error.got, error.hint) == ("float32", "float64", "convert it")
    assert BadInput("input x").message == "input x"


def test_missing_dependency_gives_the_command() -> None:
    assert EXAMPLES["MissingDependency"].message == "backend cpu needs the package onnxruntime"
    assert EXAMPLES["MissingDependency"].hint == "pip install 'edgecnn[cpu]'"


def test_parity_error_gives_the_figures() -> None:
    assert EXAMPLES["ParityError"].message == "torch and onnx differ by 0.25 at logits[3], allowed 1e-05"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "r.jsonl: what"),
        ({"line": 7}, "r.jsonl, line 7: what"),
        ({"line": 7, "key": "record.plan.seed"}, "r.jsonl, line 7, key record.plan.seed: what"),
    ],
)
def test_results_error_says_where(options: dict[str, object], message: str) -> None:
    assert ResultsError("what", path="r.jsonl", **options).message == message  # type: ignore[arg-type]
