"""What can be tried on this machine: the space of candidates, and the cheap rules by which parts of it are left out.

1. Backends are those of the table of targets (`edgecnn.exporters.targets`) that can run here; others, torch for example,
   only where they are named.
2. A form is made for a target and runs on that target's backend alone: what an engine cannot fuse, it runs slowly. fp32 is
   one file for all.
3. Precisions are those that the target takes; bf16 on a processor only where it has bf16 arithmetic.
4. Threads are 1, 2, 4, ... and as many as may run at once; a GPU backend chooses for itself.
5. Presets other than "latency" are tried where the backend can do what they ask for.
6. With one thread there are no workers that could spin: "latency" is then what "shared" is, and is left out.
7. "shared" is one thread by its meaning.
8. Batches beyond the first are tried only where they are named, or where the budget limits throughput: a larger batch
   answers no image sooner.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from edgecnn.bench.gpu import GPU_BACKENDS
from edgecnn.errors import Contradiction, UnknownName
from edgecnn.runtimes.presets import PRESETS
from edgecnn.runtimes.states import BackendState
from edgecnn.specs import Precision
from edgecnn.tune.candidates import PRECISIONS, Candidate, FileForm, LeftOut

THROUGHPUT_BATCHES = (1, 2, 4, 8, 16)
"""What is tried where images per second count; engines gain little beyond."""

_PRESET_BACKENDS = ("cpu",)

_BF16_FEATURES = ("avx512_bf16", "amx_bf16")

_NEVER = ("null",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the user wants tried; None leaves it to the rules.

    Attributes:
        backends: names.
        precisions: of files.
        presets: names.
        threads: numbers of them.
        batches: images per run.
        throughput: images per second count.
    """

    backends: tuple[str, ...] | None = None
    precisions: tuple[str, ...] | None = None
    presets: tuple[str, ...] | None = None
    threads: tuple[int, ...] | None = None
    batches: tuple[int, ...] | None = None
    throughput: bool = False

    def __post_init__(self) -> None:
        for name in self.precisions or ():
            if name not in PRECISIONS:
                raise UnknownName("precision", name, PRECISIONS)
        for name in self.presets or ():
            if name not in PRESETS:
                raise UnknownName("preset", name, PRESETS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What of this machine decides about candidates.

    Attributes:
        arch: "x86_64", "aarch64", ...
        features: instruction sets.
        threads: that can run at once.
        states: of all backends.
    """

    arch: str
    features: tuple[str, ...]
    threads: int
    states: tuple[BackendState, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What is tried, and what is not.

    Attributes:
        candidates: all of them, those of one file together.
        left_out: parts that are not tried, with the reasons.
    """

    candidates: tuple[Candidate, ...]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def forms(self) -> tuple[FileForm, ...]:
        """The files that are needed, each once, fp32 first."""
        found = dict.fromkeys(candidate.form for candidate in self.candidates)
        return tuple(sorted(found, key=lambda form: PRECISIONS.index(form.precision)))


def make_space(
    variants: Sequence[str],
    machine: Machine,
    asked: Asked | None = None,
    *,
    fixed_batch: int | None = None,
    only: Precision | None = None,
) -> Space:
    """Return what is tried of a model on a machine.

    Args:
        variants: titles of the network's variants.
        machine: where.
        asked: what the user wants tried.
        fixed_batch: that the file was exported for; None where it takes any.
        only: precision of a source that is not fp32, of which no other form can be made.

    Raises:
        UnknownName: a backend that is named and that there is not.
        Contradiction: a batch that is not the file's, a precision that cannot be made of the source, or nothing is left.
    """
    asked = asked or Asked()
    batches = _batches(asked, fixed_batch)
    if only and asked.precisions and only not in asked.precisions:
        raise Contradiction(f"the file is {only}: other precisions are made of the fp32 file", "give the fp32 file")
    names, left_out = _backends(machine, asked)
    candidates: list[Candidate] = []
    for variant in variants:
        for name in names:
            forms, refused = _forms(variant, name, machine, asked, only)
            opened = tuple(openings(name, machine.threads, asked))
            if not opened:
                refused = [*refused, LeftOut(what=f"backend {name}", reason=_unopened(name, asked))]
            left_out += [one for one in refused if one not in left_out]
            candidates += [
                Candidate(form=form, backend=name, preset=preset, threads=threads, batch=batch)
                for form in forms
                for preset, threads in opened
                for batch in batches
            ]
    if not candidates:
        reasons = "; ".join(f"{one.what}: {one.reason}" for one in left_out)
        raise Contradiction(f"nothing is left to try: {reasons}", "ask for less, or see edgecnn backends")
    return Space(candidates=tuple(candidates), left_out=tuple(left_out))


def target_of(backend: str, arch: str) -> str:
    """Return the target whose forms a backend runs, empty for a backend that runs fp32 alone."""
    if backend == "cpu":
        return {"x86_64": "cpu-x86", "aarch64": "cpu-arm"}.get(arch, "")
    return {"openvino": "openvino", "trt": "trt", "ort-trt": "trt", "cuda": "cuda"}.get(backend, "")


def openings(backend: str, usable: int, asked: Asked) -> Iterator[tuple[str, int | None]]:
    """Yield the presets and numbers of threads that are tried on a backend, by the rules 4 to 7; none where none is asked for.

    Args:
        backend: its name.
        usable: threads that can run at once.
        asked: what the user wants tried.
    """
    presets = asked.presets or tuple(PRESETS)
    if backend not in _PRESET_BACKENDS:
        presets = tuple(name for name in presets if name == "latency")
    if backend in GPU_BACKENDS:
        yield from ((name, None) for name in presets)
        return
    counts = asked.threads or thread_counts(usable)
    for preset in presets:
        for threads in counts:
            spins_in_vain = preset == "latency" and threads == 1 and "shared" in presets
            if not spins_in_vain and (preset != "shared" or threads == 1):
                yield preset, threads


def _unopened(backend: str, asked: Asked) -> str:
    """Return why a backend is opened in no way that was asked for."""
    presets = ", ".join(asked.presets or PRESETS)
    if backend not in _PRESET_BACKENDS:
        return f"it has preset latency alone, asked for was {presets}"
    return f"preset {presets} is one thread, asked for were {', '.join(map(str, asked.threads or ()))}"


def thread_counts(usable: int) -> tuple[int, ...]:
    """Return the numbers of threads that are tried: the powers of two below what is usable, and that; the most first."""
    powers = {1 << bit for bit in range(usable.bit_length()) if 1 << bit < usable}
    return tuple(sorted(powers | {usable}, reverse=True))


def _batches(asked: Asked, fixed: int | None) -> tuple[int, ...]:
    if fixed is not None:
        others = [batch for batch in asked.batches or () if batch != fixed]
        if others:
            raise Contradiction(f"the file runs batches of {fixed}, not of {others[0]}", "export it without --batch")
        return (fixed,)
    return asked.batches or (THROUGHPUT_BATCHES if asked.throughput else (1,))


def _backends(machine: Machine, asked: Asked) -> tuple[list[str], list[LeftOut]]:
    states = {state.name: state for state in machine.states}
    wanted = asked.backends or tuple(name for name in states if target_of(name, machine.arch) or name == "cpu")
    ready, left_out = [], []
    for name in wanted:
        if name not in states:
            raise UnknownName("backend", name, states)
        if name in _NEVER:
            raise Contradiction(f"backend {name} answers with zeros", "leave it out")
        if states[name].state == "ok":
            ready.append(name)
        else:
            left_out.append(LeftOut(what=f"backend {name}", reason=states[name].reason))
    return ready, left_out


def _forms(
    variant: str, backend: str, machine: Machine, asked: Asked, only: Precision | None
) -> tuple[list[FileForm], list[LeftOut]]:
    """Return the forms of a variant that a backend may run, by the rules 2 and 3, and those that it does not take."""
    wanted = asked.precisions or PRECISIONS
    if only is not None:
        return [FileForm(variant=variant, precision=only)], []
    target = target_of(backend, machine.arch)
    forms = [FileForm(variant=variant, precision="fp32")] if "fp32" in wanted else []
    left_out = []
    for precision in PRECISIONS[1:]:
        reason = _refusal(precision, target, backend, machine.features)
        if precision in wanted and not reason:
            forms.append(FileForm(variant=variant, precision=precision, target=target))
        elif precision in (asked.precisions or ()):
            left_out.append(LeftOut(what=f"{precision} on {backend}", reason=reason))
    return forms, left_out


def _refusal(precision: Precision, target: str, backend: str, features: Collection[str]) -> str:
    """Return why a backend does not get files of a precision, empty where it does."""
    if not target:
        return "no target of the table is this backend's"
    from edgecnn.exporters.targets import find_target

    entry = find_target(target)
    if precision not in entry.takes:
        return entry.refuses.get(precision, "it is not in the table of targets")
    if precision == "bf16" and backend not in GPU_BACKENDS and not set(features) & set(_BF16_FEATURES):
        return f"this processor has no bf16 arithmetic ({' or '.join(_BF16_FEATURES)})"
    return ""
