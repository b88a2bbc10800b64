"""The most bytes that are alive at a time while operators run one after the other, from sizes alone.

A buffer is alive from the step that makes it to the last one that reads it. What planners of memory do is taken into account,
as ONNX Runtime's does it (onnxruntime/core/framework/allocation_planner.cc): a view lies in the buffer of what it looks at, an
elementwise operator writes over an input that nobody reads later, and a buffer that has become free is taken for the next
tensor of the same shape. That last rule keeps a buffer between two of its tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A tensor that a step makes.

    Attributes:
        name: of the tensor.
        size_bytes: of it.
        shape: sizes; only tensors of one shape and size share a buffer.
    """

    name: str
    size_bytes: int
    shape: Shape = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One operator as an engine runs it.

    Attributes:
        op_type: what it does, for a reader.
        reads: tensors that must be there; those that no step makes belong to the caller and do not count.
        makes: its outputs.
        view_of: the tensor in whose buffer the first output lies; empty for none.
        over: the tensors that the first output may be written over, the best first.
        scratch: sizes in bytes of what the operator takes while it runs.
    """

    op_type: str
    reads: tuple[str, ...]
    makes: tuple[Made, ...]
    view_of: str = ""
    over: tuple[str, ...] = ()
    scratch: tuple[int, ...] = ()


@dataclass(slots=True)
class _Buffer:
    """Memory for one tensor after the other.

    Attributes:
        made: the tensor that it was taken for.
        first: step that takes it.
        last: step after which it is given back.
        reads: how many reads are left of what lies in it now.
    """

    made: Made
    first: int
    last: int
    reads: int


@dataclass(slots=True)
class _Plan:
    """Which tensor lies in which buffer, as far as it is made."""

    uses: dict[str, int]
    end: int
    buffers: list[_Buffer] = field(default_factory=list)
    holder: dict[str, _Buffer] = field(default_factory=dict)
    free: list[_Buffer] = field(default_factory=list)


def peak_bytes(steps: Sequence[Step], rounded: Callable[[int], int] = int) -> int:
    """Return the most bytes that are alive at a time; 0 without steps.

    Args:
        steps: in the order in which they run.
        rounded: size that is asked for -> size that the allocator takes.
    """
    plan = _Plan(uses=_uses(steps), end=len(steps))
    for place, step in enumerate(steps):
        for made in step.makes:
            _place(plan, step, made, place)
        for name in step.reads:
            _read(plan, name, place)
    return _most(steps, plan.buffers, rounded)


def _uses(steps: Sequence[Step]) -> dict[str, int]:
    """Return how often each tensor is read."""
    uses: dict[str, int] = {}
    for step in steps:
        for name in step.reads:
            uses[name] = uses.get(name, 0) + 1
    return uses


def _place(plan: _Plan, step: Step, made: Made, place: int) -> None:
    reads = plan.uses.get(made.name, 0)
    buffer = _inherited(plan, step, made) if made is step.makes[0] else None
    if buffer is None and reads:
        buffer = _freed(plan, made)
    if buffer is None:
        buffer = _Buffer(made=made, first=place, last=place, reads=0)
        plan.buffers.append(buffer)
    # What nobody reads is the answer: its reads never come to an end.
    buffer.reads += reads or 1
    buffer.last = max(buffer.last, place if reads else plan.end)
    plan.holder[made.name] = buffer


def _inherited(plan: _Plan, step: Step, made: Made) -> _Buffer | None:
    """Return the buffer of the input that the first output is a view of or may be written over."""
    if step.view_of:
        return plan.holder.get(step.view_of)
    for name in step.over if plan.uses.get(made.name) else ():
        held = plan.holder.get(name)
        if held is not None and held.reads == step.reads.count(name) and _alike(held.made, made):
            return held
    return None


def _freed(plan: _Plan, made: Made) -> _Buffer | None:
    """Return a buffer that nobody needs any more, the one that was freed last."""
    for buffer in reversed(plan.free):
        if _alike(buffer.made, made):
            plan.free.remove(buffer)
            return buffer
    return None


def _alike(one: Made, other: Made) -> bool:
    return one.size_bytes == other.size_bytes and one.shape == other.shape


def _read(plan: _Plan, name: str, place: int) -> None:
    held = plan.holder.get(name)
    if held is None:
        return
    held.reads -= 1
    held.last = max(held.last, place)
    if held.reads == 0:
        plan.free.append(held)


def _most(steps: Sequence[Step], buffers: Sequence[_Buffer], rounded: Callable[[int], int]) -> int:
    change = [0] * (len(steps) + 1)
    for buffer in buffers:
        size = rounded(buffer.made.size_bytes)
        change[buffer.first] += size
        if buffer.last + 1 < len(change):
            change[buffer.last + 1] -= size
    alive = most = 0
    for place, step in enumerate(steps):
        alive += change[place]
        most = max(most, alive + sum(rounded(size) for size in step.scratch))
    return most
