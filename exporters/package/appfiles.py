"""The texts of an application folder: the example, the requirements and the page that explains both."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import edgecnn
from edgecnn.errors import BadInput
from edgecnn.exporters.targets import Target
from edgecnn.specs import Artifact, Preprocess
from edgecnn.toml import read_toml
from edgecnn.units import bytes_text, count_text, percent_text

_PINS = Path(__file__).with_name("pins.toml")

_EXAMPLE = '''\
"""Print the most probable classes of an image: python example.py IMAGE"""
import sys
from pathlib import Path

import edgecnn
from edgecnn.images import read_image

model = Path(__file__).with_name({model})
with edgecnn.load(model, backend={backend}) as classifier:
    for best in classifier.classify(read_image(sys.argv[1]), top=3):
        print(f"{{best.probability:.3f}} {{best.label}}")
'''

_WHEEL_INSIDE = "edgecnn itself is the wheel beside this file."
_WHEEL_ELSEWHERE = (
    f"pip finds edgecnn {edgecnn.__version__} where an index has it. Elsewhere build the wheel, `make wheel` in edgecnn's "
    "repository, and say where it is: `pip install --find-links FOLDER_WITH_WHEEL -r requirements.txt`."
)


def example_text(model: str, backend: str) -> str:
    """Return example.py, which classifies the image that it is given.

    Args:
        model: name of the file beside it.
        backend: edgecnn's name of what runs it.
    """
    return _EXAMPLE.format(model=json.dumps(model, ensure_ascii=False), backend=json.dumps(backend))


def requirements(target: Target) -> tuple[str, ...]:
    """Return what pip has to install on a target, every version fixed: edgecnn, numpy, the engine, what reads images."""
    pins = _pins()
    return (f"edgecnn=={edgecnn.__version__}", *pins["common"], *pins[target.name]["engine"])


def is_tested(target: Target) -> bool:
    """Tell whether the tests of edgecnn run with the versions that `requirements` names."""
    return bool(_pins()[target.name]["tested"])


def check_wheel(path: Path) -> Path:
    """Return the path of edgecnn's wheel of this version.

    Raises:
        BadInput: it is no wheel, or one of something else.
    """
    wanted = f"edgecnn-{edgecnn.__version__}-"
    if not (path.name.startswith(wanted) and path.suffix == ".whl" and zipfile.is_zipfile(path)):
        raise BadInput("wheel", "make wheel writes it to dist", expected=f"{wanted}py3-none-any.whl", got=str(path))
    return path


def requirements_text(target: Target, *, has_wheel: bool) -> str:
    """Return requirements.txt; pip reads a folder in it as beside this file."""
    hint = "# edgecnn is from an index, or else: pip install --find-links FOLDER_WITH_WHEEL -r requirements.txt"
    found = "--find-links ." if has_wheel else hint
    state = "the versions that edgecnn is tested with" if is_tested(target) else "not tested on such a machine"
    return "\n".join((f"# For {target.title}: {state}.", found, *requirements(target), ""))


def readme_text(artifact: Artifact, target: Target, *, has_wheel: bool) -> str:
    """Return the README.md of a folder: what is in it, how to run it, what the file expects and how good it is."""
    spec, name = artifact.spec, artifact.path.name
    dataset = f", trained on {spec.dataset}" if spec.dataset else ""
    sections = {
        f"# {name}": (
            f"{spec.title}, {artifact.precision}, {bytes_text(artifact.size_bytes)}{dataset}. For {target.title}."
        ),
        "## Run": (
            "    python -m venv ../venv\n"
            "    ../venv/bin/pip install -r requirements.txt\n"
            "    ../venv/bin/python example.py IMAGE\n\n"
            f"{_WHEEL_INSIDE if has_wheel else _WHEEL_ELSEWHERE}\n\n"
            f"Python 3.10 or newer on 64-bit Linux. The backend is `{target.backend}`; it never silently becomes another."
        ),
        "## Input": "\n".join(f"- {line}" for line in preprocess_lines(spec.preprocess)) if spec.preprocess else "",
        "## Output": _output_text(artifact),
        "## Accuracy": "\n".join(accuracy_lines(artifact)),
        "## Files": (
            "`sha256sum -c SHA256SUMS` or `edgecnn package --check .` says whether they are unchanged; `manifest.json` has "
            "what the model is and how it came to be."
        ),
    }
    if spec.licence:
        sections["## Licence of the weights"] = spec.licence
    return "\n\n".join(f"{title}\n\n{text}" for title, text in sections.items() if text) + "\n"


def preprocess_lines(spec: Preprocess) -> tuple[str, ...]:
    """Return, in words, how an image becomes the input; `edgecnn.load(...).classify` does all of it."""
    height, width = spec.size
    scaler = "The file scales and cuts images itself: " if spec.resize_in_graph else ""
    colour = "RGB, in this order" if spec.channels == 3 else "grayscale: the luma of RGB by ITU-R BT.601"
    if spec.in_graph:
        sizes = "height, width" if spec.resize_in_graph else f"{height}, {width}"
        last = f"The file takes the bytes as they are, uint8 [N, {sizes}, {spec.channels}], and normalises them."
    else:
        last = (
            f"Each byte / 255, minus mean {_listed(spec.mean)}, divided by std {_listed(spec.std)}, a value per channel: "
            f"float32 [N, {spec.channels}, {height}, {width}]."
        )
    return (f"Colour: {colour}.", f"Size: {scaler}{_fit_text(spec)}", last)


def accuracy_lines(artifact: Artifact) -> tuple[str, ...]:
    """Return one line for each accuracy that was measured, with its set, or why there is none."""
    lines = tuple(
        f"- {one.metric.replace('top', 'top-')} {percent_text(one.value)}% of the {count_text(one.images)} {one.split} "
        f"images of {one.dataset}, {one.precision} file on backend {one.backend}"
        for one in artifact.spec.accuracy
    )
    if lines:
        return lines
    random = artifact.spec.weights == "random"
    return ("None: the weights are random." if random else "Not measured: `edgecnn verify` does it.",)


def _fit_text(spec: Preprocess) -> str:
    height, width = spec.size
    how = spec.interpolation if spec.interpolation == "nearest" else f"{spec.interpolation} with antialiasing"
    scale = " x ".join(str(round(side / spec.crop_fraction)) for side in spec.size)
    inner = " x ".join(str(round(side * spec.crop_fraction)) for side in spec.size)
    words = {
        "crop": f"scaled so that it just covers {scale}, then the centre {height} x {width} is cut out",
        "pad": f"scaled so that it just fits into {inner}, then centred on black of {height} x {width}",
        "stretch": f"scaled to {height} x {width}, whatever its shape",
    }
    return f"{words[spec.fit]} (height x width, pixels; {how}); an image of exactly {height} x {width} stays as it is."


def _output_text(artifact: Artifact) -> str:
    spec = artifact.spec
    names = ", ".join(f"`{one.name}` {one.dtype} {list(one.shape)}".replace("'", "") for one in spec.outputs)
    labels = f" The {len(spec.labels)} classes are in labels.txt, in order." if spec.labels else ""
    return f"{names}: scores before softmax; `classify` gives probabilities.{labels}"


def _listed(values: Sequence[float]) -> str:
    return values[0].__format__("g") if len(values) == 1 else f"({', '.join(f'{value:g}' for value in values)})"


@cache
def _pins() -> dict[str, Any]:
    return read_toml(_PINS)
