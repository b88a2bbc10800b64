"""The fastest int8 file that holds an accuracy bound.

Plain int8 comes first, then what costs no speed (equalized weights, corrected biases, other ranges), and only then are nodes
left float: the most sensitive ones, as few as the bound allows, by binary search over two rankings. Latency is measured; of
files that are equally fast the more accurate one is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import onnx_ir as ir

from edgecnn.artifacts import load_artifact
from edgecnn.errors import AccuracyError
from edgecnn.exporters.decibels import power_ratio
from edgecnn.exporters.quantize.checks import drop_points
from edgecnn.exporters.quantize.config import Method
from edgecnn.exporters.quantize.judge import Judge
from edgecnn.exporters.quantize.latency import fastest, measure_latencies
from edgecnn.exporters.quantize.recipe import Recipe, SearchReport, Sensitivity, Trial
from edgecnn.exporters.quantize.workshop import Workshop
from edgecnn.specs import Artifact

MAX_FLOAT_SHARE = 0.5
"""Of the multiply-adds that may stay float: beyond that a file is an fp32 file that lost accuracy."""

_CONFIRMED = 3
"""Candidates of one step that are measured on all images, the best ones on the part."""

_GIVEN_BACK = 8
_FINALISTS = 5
_TRIAL_BLOCKS = 5

Rank = Callable[[Recipe], Sequence[Sensitivity]]
Write = Callable[[ir.Model, Path], None]


class Search:
    """One search; `run` does it.

    Args:
        original: the fp32 file.
        workshop: makes the graphs.
        judge: measures them.
        max_drop: the bound that the judge holds them to, percentage points.
        backend: what latency is measured on.
        folder: for the candidates' files.
        write: writes a graph as a file that the backend opens.
        rank: how sensitive each node of a recipe's graph is, the worst first.
        on_step: called with a line before anything is tried.
    """

    def __init__(
        self,
        original: Artifact,
        workshop: Workshop,
        judge: Judge,
        *,
        max_drop: float,
        backend: str,
        folder: Path,
        write: Write,
        rank: Rank,
        on_step: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._original = original
        self._workshop = workshop
        self._judge = judge
        self._max_drop = max_drop
        self._backend = backend
        self._folder = folder
        self._write = write
        self._rank = rank
        self._on_step = on_step
        self._trials: list[Trial] = [Trial(step="fp32", recipe=None, whole=judge.fp32, ratio=1.0, holds=True)]
        self._index: dict[Recipe, int] = {}
        self._sensitivity: tuple[Sensitivity, ...] = ()

    def run(self, plain: Recipe) -> SearchReport:
        """Return what was tried, with the chosen trial.

        Raises:
            AccuracyError: nothing holds the bound; the best that was found is named.
        """
        winners = self._confirm(self._try("plain", [plain]))
        winners = winners or self._confirm(self._try("repair", self._repairs(plain)))
        winners = winners or self._confirm(self._try("method", self._other_methods(plain)))
        winners = winners or self._mixed(self._best())
        if not winners:
            raise self._failure()
        chosen = self._contest(winners)
        return self._report(self._index[chosen])

    def _repairs(self, plain: Recipe) -> list[Recipe]:
        flags = [(True, False), (False, True), (True, True)] if self._workshop.equalized else [(False, True)]
        return [replace(plain, equalized=equalized, corrected=corrected) for equalized, corrected in flags]

    def _other_methods(self, plain: Recipe) -> list[Recipe]:
        base = self._best()
        methods: tuple[Method, ...] = get_args(Method)
        self._workshop.table(replace(base, method=methods[-1]), methods=methods)
        return [replace(base, method=method) for method in methods if method != plain.method]

    def _best(self) -> Recipe:
        """Return the recipe that lost the least accuracy so far, each on the images that it was measured on."""
        return min(self._index, key=self._drop)

    def _try(self, step: str, recipes: Iterable[Recipe]) -> list[Recipe]:
        """Make and measure recipes on the part of the images; each once."""
        wanted = list(recipes)
        for recipe in wanted:
            if recipe not in self._index:
                self._on_step(f"trying {step}: {recipe.title}")
                self._index[recipe] = len(self._trials)
                self._trials.append(self._measure(step, recipe))
        return wanted

    def _measure(self, step: str, recipe: Recipe) -> Trial:
        built = self._workshop.build(recipe)
        path = self._path(recipe)
        self._write(built.model, path)
        file = load_artifact(path)
        pair = measure_latencies([self._original, file], backend=self._backend, blocks=_TRIAL_BLOCKS)
        fp32_ns, latency_ns = pair.medians_ns
        if self._trials[0].latency_ns is None:
            self._trials[0] = replace(self._trials[0], latency_ns=fp32_ns)
        trial = Trial(
            step=step, recipe=recipe, latency_ns=latency_ns, ratio=pair.ratio(1, 0), int8_share=built.int8_share
        )
        if self._judge.small or step == "plain":
            whole = self._judge.whole(file)
            return replace(trial, whole=whole, holds=self._judge.holds(whole))
        return replace(trial, subset=self._judge.subset(file))

    def _confirm(self, recipes: Sequence[Recipe]) -> list[Recipe]:
        """Return the first of these recipes that holds the bound on all images, the best on the part first."""
        promising = [recipe for recipe in recipes if self._may_hold(recipe)]
        promising.sort(key=self._drop)
        return next(([recipe] for recipe in promising[:_CONFIRMED] if self._holds(recipe)), [])

    def _holds(self, recipe: Recipe) -> bool:
        """Tell whether a recipe that was tried holds the bound on all images; measured where it was not yet."""
        index = self._index[recipe]
        trial = self._trials[index]
        if trial.whole is None:
            whole = self._judge.whole(load_artifact(self._path(recipe)))
            self._trials[index] = trial = replace(trial, whole=whole, holds=self._judge.holds(whole))
        if not trial.holds:
            self._path(recipe).unlink(missing_ok=True)
        return trial.holds

    def _may_hold(self, recipe: Recipe) -> bool:
        accuracy = self._trial(recipe).accuracy
        return accuracy is not None and self._judge.may_hold(accuracy)

    def _holds_on_part(self, recipe: Recipe) -> bool:
        trial = self._trial(recipe)
        accuracy = trial.subset or trial.whole
        return accuracy is not None and self._judge.holds(accuracy)

    def _mixed(self, base: Recipe) -> list[Recipe]:
        """Return recipes with some nodes float that hold the bound."""
        self._on_step(f"ranking nodes, each quantized alone: {base.title}")
        self._sensitivity = tuple(self._rank(base))
        orders = (self._sensitivity, sorted(self._sensitivity, key=_worth))
        found = [recipe for order in orders if (recipe := self._fewest(base, order)) is not None]
        winners = list(dict.fromkeys(found))
        if winners:
            winners += self._give_back(min(winners, key=lambda recipe: self._trial(recipe).ratio or 1.0))
        return list(dict.fromkeys(winners))

    def _fewest(self, base: Recipe, order: Sequence[Sensitivity]) -> Recipe | None:
        """Return the recipe with the shortest beginning of an order left float that holds; None where none does.

        Binary search on the part of the images; then, on all of them, longer beginnings until one holds.
        """
        most = _longest(order)

        def first(count: int) -> Recipe:
            recipe = replace(base, keep_float=tuple(one.node for one in order[:count]))
            return self._try("mixed", [recipe])[0]

        if not most or not self._may_hold(first(most)):
            return None
        low, high = 0, most
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._holds_on_part(first(middle)) else (middle, high)
        step = 1
        while not self._holds(first(high)):
            if high == most:
                return None
            high, step = min(most, high + step), 2 * step
        return first(high)

    def _give_back(self, found: Recipe) -> list[Recipe]:
        """Return recipes that hold with fewer nodes float: each has one node less, the least sensitive is given back first."""
        held: list[Recipe] = []
        current = found
        for name in tuple(reversed(found.keep_float))[:_GIVEN_BACK]:
            fewer = replace(current, keep_float=tuple(one for one in current.keep_float if one != name))
            if not fewer.keep_float:
                break
            self._try("give back", [fewer])
            if self._holds_on_part(fewer) and self._holds(fewer):
                current = fewer
                held.append(fewer)
        return held

    def _contest(self, winners: Sequence[Recipe]) -> Recipe:
        """Return the fastest of the recipes that hold, measured in turns with the fp32 file and each other."""
        finalists = sorted(winners, key=lambda recipe: self._trial(recipe).ratio or 1.0)[:_FINALISTS]
        if len(finalists) == 1:
            return finalists[0]
        files = [self._original, *(load_artifact(self._path(recipe)) for recipe in finalists)]
        latencies = measure_latencies(files, backend=self._backend)
        for number, recipe in enumerate(finalists, start=1):
            index = self._index[recipe]
            self._trials[index] = replace(
                self._trials[index], latency_ns=latencies.medians_ns[number], ratio=latencies.ratio(number, 0)
            )
        return finalists[fastest(latencies.without_first(), [self._accuracy(recipe) for recipe in finalists])]

    def _trial(self, recipe: Recipe) -> Trial:
        return self._trials[self._index[recipe]]

    def _accuracy(self, recipe: Recipe) -> float:
        accuracy = self._trial(recipe).accuracy
        return accuracy.value if accuracy else 0.0

    def _drop(self, recipe: Recipe) -> float:
        accuracy = self._trial(recipe).accuracy
        return drop_points(self._judge.reference(accuracy), accuracy) if accuracy else 100.0

    def _path(self, recipe: Recipe) -> Path:
        return self._folder / f"{self._index[recipe]}.onnx"

    def _report(self, chosen: int | None) -> SearchReport:
        return SearchReport(
            max_drop=self._max_drop,
            backend=self._backend,
            trials=tuple(self._trials),
            chosen=chosen,
            fp32_subset=self._judge.fp32_subset,
            sensitivity=self._sensitivity,
        )

    def _failure(self) -> AccuracyError:
        best = self._report(None).best
        accuracy = best.accuracy or self._judge.fp32
        fp32 = self._judge.reference(accuracy)
        return AccuracyError(
            f"top-1 on {fp32.images} images fell by {drop_points(fp32, accuracy):.2f} points, from {fp32.value:.2%} (fp32) "
            f"to {accuracy.value:.2%} (int8), allowed {self._max_drop:g}; that is the best of {len(self._trials) - 1} "
            f"tried ({best.title}), and no file was written",
            "accept more with --max-drop, or calibrate on images nearer to the real ones with --calibration",
        )


def _longest(order: Sequence[Sensitivity]) -> int:
    """Return how many nodes of an order may stay float, at least one of them remaining in int8."""
    share = 0.0
    for count, one in enumerate(order):
        share += one.macs_share
        if share > MAX_FLOAT_SHARE:
            return min(count, len(order) - 1)
    return len(order) - 1


def _worth(one: Sensitivity) -> float:
    """Return what orders nodes by the noise that they save for what they cost in float, the best first."""
    noise = 0.0 if one.sqnr_db is None else power_ratio(-one.sqnr_db)
    return -noise / (one.macs_share + 1e-3)
