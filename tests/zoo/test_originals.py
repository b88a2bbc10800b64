"""Our networks give the logits of the original implementations with the same weights, read as `--weights FILE` reads them.

`originals/record.py` has asked torchvision and timm; here their state dicts are made again by `originals/formula.py`.
"""

from __future__ import annotations

import gzip
import json
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from edgecnn.zoo import build, load_weights
from edgecnn.zoo.choice import choose_form

FOLDER = Path(__file__).with_name("originals")
RECORDED = sorted(path.name.removesuffix(".json.gz") for path in FOLDER.glob("*.json.gz"))

# Of networks with fewer weights; the others take seconds each.
QUICK_VALUES = 1_500_000

# Of the greatest logit. Both sides compute in double precision (record.py says why).
TOLERANCE = 1e-6


@lru_cache
def recorded(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(gzip.decompress((FOLDER / f"{name}.json.gz").read_bytes()))
    return content


def values(name: str) -> int:
    return sum(torch.Size(shape).numel() for shape in recorded(name)["shapes"].values())


def formula() -> Any:
    sys.path.insert(0, str(FOLDER))
    try:
        import formula
    finally:
        sys.path.remove(str(FOLDER))
    return formula


PARAMETERS = [pytest.param(name, marks=[] if values(name) < QUICK_VALUES else pytest.mark.slow) for name in RECORDED]


def test_the_originals_are_recorded() -> None:
    assert len(RECORDED) == 25
    assert {name.partition("_")[0] for name in RECORDED} == {"timm", "torchvision"}


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_logits_are_those_of_the_original(tmp_path: Path, name: str) -> None:
    original = recorded(name)
    path = tmp_path / f"{name}.safetensors"
    state = formula().draw_state(original["shapes"])
    save_file({key: torch.from_numpy(array) for key, array in state.items()}, path)
    size = {"input_size": original["input_size"], "classes": original["classes"]}
    form, source = choose_form(original["network"], str(path), **size)
    model = build(form)
    load_weights(model, form, source)
    images = torch.from_numpy(formula().draw_images((1, *form.input_shape))).double()
    with torch.inference_mode():
        logits = model.eval().double()(images)[0]
    expected = torch.tensor(original["logits"], dtype=torch.float64)
    assert logits.shape == expected.shape
    assert (logits - expected).abs().max() <= TOLERANCE * expected.abs().max()
    # What a user asks without options: the file decides them.
    assert {key: form.options[key] for key in original["options"]} == original["options"]
