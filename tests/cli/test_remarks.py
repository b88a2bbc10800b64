from __future__ import annotations

from edgecnn.cli.remarks import Remark, remark_lines

LOAD = "other processes used {} of 2 processors while this one used {}"


def _said(*figures: tuple[str, str]) -> list[tuple[str, list[Remark]]]:
    return [
        (f"m{place}.onnx, batch 1", [Remark(text=LOAD.format(*pair), advice="stop make (pid 12)")])
        for place, pair in enumerate(figures)
    ]


def test_what_is_true_of_all_rows_is_said_once_with_its_range() -> None:
    assert remark_lines(_said(("1.31", "0.40"), ("0.92", "0.40"), ("1.10", "0.40"))) == [
        "all 3: other processes used 0.92 to 1.31 of 2 processors while this one used 0.40; stop make (pid 12)"
    ]


def test_what_is_true_of_some_names_them() -> None:
    said = _said(("1.31", "0.40"), ("1.40", "0.40"))
    lines = remark_lines([*said, ("m2.onnx, batch 4", [])])
    assert lines == [
        "m0.onnx, batch 1; m1.onnx, batch 1:",
        "  other processes used 1.31 to 1.40 of 2 processors while this one used 0.40",
        "  stop make (pid 12)",
    ]


def test_one_row_is_called_by_its_name() -> None:
    assert remark_lines([("a.onnx, batch 1", [Remark(text="noisy")])]) == ["a.onnx, batch 1: noisy"]


def test_other_advice_and_other_words_stay_apart() -> None:
    rows = [
        ("a", [Remark(text="5 runs", advice="--seconds 10")]),
        ("b", [Remark(text="6 runs", advice="--seconds 12")]),
    ]
    assert remark_lines(rows) == ["a: 5 runs; --seconds 10", "b: 6 runs; --seconds 12"]
    names = [("a", [Remark(text="/sys/hwmon3 of int8 is 1")]), ("b", [Remark(text="/sys/hwmon4 of int8 is 1")])]
    assert len(remark_lines(names)) == 2


def test_a_long_line_is_its_parts() -> None:
    text = "no power sensor: " + "; ".join(f"kind{place}: this machine has none of that kind" for place in range(4))
    lines = remark_lines([("a.onnx, batch 1", [Remark(text=text, advice="--power csv:FILE")])], 60)
    assert lines[0] == "a.onnx, batch 1:"
    assert lines[-1] == "  --power csv:FILE"
    assert max(map(len, lines)) <= 60
    assert len(lines) == 1 + 4 + 1
