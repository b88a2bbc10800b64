"""Why nothing holds a budget, and what would have to give."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgecnn.testing.tuning import made_point
from edgecnn.tune.budget import AXES, parse_budget
from edgecnn.tune.choice import choose
from edgecnn.tune.explain import explain

LATENCY, MEMORY, _, DROP, _, THROUGHPUT = AXES
VALUES = st.floats(0.1, 1e9)


def test_the_closest_point_explains_an_unreachable_budget() -> None:
    near = made_point(3e6, name="near", drop_points=0.2)
    far = made_point(2e6, name="far", drop_points=5.0)
    found = explain([far, near], parse_budget("latency=1ms,drop=0.5,memory=1GB"))
    assert found.closest is near
    assert [(miss.axis, miss.got) for miss in found.missed] == [("latency", 3e6)]
    assert "3.00 ms, 3 times off 1.00 ms" in found.message
    # Memory is held by all, and with the drop alone relaxed the latency is still missed.
    assert [(miss.axis, miss.got) for miss in found.relaxed] == [("latency", 3e6)]
    assert found.hint.endswith("latency=3.15 ms in place of 1.00 ms")


def test_what_would_have_to_give_is_each_limit_that_alone_is_to_blame() -> None:
    points = [made_point(3e6, drop_points=0.2), made_point(1e6, name="other", drop_points=2.0)]
    found = explain(points, parse_budget("latency=1ms,drop=0.5"))
    assert [(miss.axis, miss.got) for miss in found.relaxed] == [("latency", 3e6), ("drop", 2.0)]
    nothing = explain(points, parse_budget("latency=0.5ms,drop=0.1,size=1kB"))
    assert nothing.relaxed == ()
    assert nothing.missed[-1].text == "size 1.0 MB, 1,000 times off 1 kB"
    assert nothing.hint.endswith("together these would do: latency=3.15 ms, drop=0.20 points, size=1.1 MB")


@given(st.floats(1.01, 1e3), st.floats(0.51, 50))
def test_a_relaxed_limit_as_it_is_written_holds(latency_ms: float, drop: float) -> None:
    points = [made_point(latency_ms * 1e6, drop_points=0.2), made_point(1e6, name="other", drop_points=drop)]
    for miss in explain(points, parse_budget("latency=1ms,drop=0.5")).relaxed:
        written = miss.text.partition(" in place of ")[0]
        kept = "drop=0.5" if miss.axis == "latency" else "latency=1ms"
        assert choose(points, parse_budget(f"{written},{kept}"), prefer="latency") is not None


def test_what_was_not_measured_is_said() -> None:
    found = explain([made_point(memory_bytes=None)], parse_budget("memory=1GB"))
    assert "memory not measured" in found.message
    assert found.relaxed == ()
    assert "relax several" in found.hint
