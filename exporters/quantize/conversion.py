"""What every conversion of an fp32 file to fewer bits begins and ends with: it is checked, and renamed into place when done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from edgecnn.data.dataset import Split
from edgecnn.errors import Contradiction
from edgecnn.exporters.accuracy import require_preprocess, why_not_measured
from edgecnn.exporters.quantize.calibration_cache import RangeCache
from edgecnn.exporters.quantize.calibration_images import Images, as_split, doubts, spread
from edgecnn.exporters.quantize.checks import check_bound, check_splits, check_targets, load_fp32
from edgecnn.exporters.quantize.config import QuantizeConfig
from edgecnn.files import replacing
from edgecnn.specs import Artifact

Progress = Callable[[str, int, int], None]
"""Called with the stage ("calibrate", "accuracy fp32", "accuracy int8", "sensitivity"), and what is done and in all: images, or
nodes for the last."""

Note = Callable[[str], None]
"""Called with one line for the user."""

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Which file is converted, and how.

    Attributes:
        source: an fp32 .onnx file.
        output: where the new file goes.
        precision: of the new file, for messages.
        calibration: images that values are observed on.
        calibration_name: name of their set.
        evaluation: labelled images that accuracy is measured on, None for no measurement.
        dataset: name of their set.
        labels: class names of that set.
        config: how to convert.
        cache: folder where ranges are kept, None for nowhere.
        on_progress: see `Progress`.
        on_note: see `Note`.
    """

    source: Path
    output: Path
    precision: str
    calibration: Images
    calibration_name: str
    evaluation: Split | None
    dataset: str
    labels: tuple[str, ...]
    config: QuantizeConfig
    cache: Path | None
    on_progress: Progress
    on_note: Note


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion(ABC, Generic[R]):
    """One conversion, its input checked; subclasses say how the file is written.

    Attributes:
        original: the fp32 file.
        images: what is observed, all of them.
        calibration_name: name of their set.
        evaluation: None where accuracy is not measured.
        reason: why not, empty where it is.
        dataset: name of its set.
        config: how to convert.
        cache: None for no cache.
        on_progress: see `Progress`.
        on_note: see `Note`.
    """

    original: Artifact
    images: Split
    calibration_name: str
    evaluation: Split | None
    reason: str
    dataset: str
    config: QuantizeConfig
    cache: RangeCache | None
    on_progress: Progress
    on_note: Note

    @abstractmethod
    def write(self, path: Path) -> R:
        """Write the file and return what came of it."""


def convert_file(make: Callable[..., Conversion[R]], asked: Request) -> R:
    """Write a converted file and return what came of it; where anything fails there is no file.

    Args:
        make: takes the attributes of a `Conversion` by name and returns it.
        asked: which file, and how.

    Raises:
        BadInput: the source cannot be read, or there is no calibration image.
        QuantizeError: the source is not fp32.
        Contradiction: a target does not take such a file, calibration on evaluation images, or an accuracy bound where
            nothing can be measured.
    """
    config, on_note = asked.config, asked.on_note
    original = load_fp32(asked.source)
    if asked.output.resolve() == asked.source.resolve():
        raise Contradiction(
            f"the {asked.precision} file would replace its source {asked.source}", "choose another --output"
        )
    check_targets(original, config.targets)
    reason = why_not_measured(original.spec, asked.evaluation, asked.labels)
    check_bound(config, reason)
    with as_split(asked.calibration, config.calibration_images) as given:
        check_splits(given, asked.evaluation)
        images = spread(given, config.calibration_images)
        for line in doubts(images, require_preprocess(original)):
            on_note(line)
        conversion = make(
            original=original,
            images=images,
            calibration_name=asked.calibration_name,
            evaluation=None if reason else asked.evaluation,
            reason=reason,
            dataset=asked.dataset,
            config=config,
            cache=RangeCache(asked.cache, on_note) if asked.cache else None,
            on_progress=asked.on_progress,
            on_note=on_note,
        )
        with replacing(asked.output) as temporary:
            temporary.touch()  # a folder that cannot be written to shows before the work, not after it
            return conversion.write(temporary)
