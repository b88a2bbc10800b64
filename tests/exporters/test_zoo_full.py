"""The paper's own forms at full size, the bundled weights in float and in int8, and the memory that exporting takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgecnn.artifacts import load_artifact  # noqa: E402
from edgecnn.data import open_dataset  # noqa: E402
from edgecnn.exporters.network import ExportOptions, export_network  # noqa: E402
from edgecnn.exporters.quantize import QuantizeConfig, quantize  # noqa: E402
from edgecnn.exporters.verify import VerifyOptions, hold, verify  # noqa: E402
from edgecnn.runtimes import open_session  # noqa: E402
from edgecnn.zoo.registry import Network, find, make_form, networks  # noqa: E402
from edgecnn.zoo.sizes import known_sizes  # noqa: E402

pytestmark = pytest.mark.zoo

SMALL_IMAGES = 32
MANY_PARAMS = 30_000_000
HEAVY = ("vgg16", "wide_resnet50_2")
"""Exported all the same: the one with nearly all its weights in matrices, the other with all in convolutions."""

MEMORY_FACTOR = 4
MEMORY_BYTES = 1_500_000_000

MEASURED_EXPORT = """
import sys
from pathlib import Path
from edgecnn.exporters.network import ExportOptions, export_network
from edgecnn.zoo.registry import make_form
export_network(make_form(sys.argv[1]), Path(sys.argv[2]), ExportOptions(weights="random"))
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) * 1024)
"""


def members() -> list[str]:
    """Return the networks whose own form is exported here: those for large images below 30 M parameters, and two beyond.

    The matrix of small sizes has every network: those for small images in their own form, unless that has more than 30 M
    parameters and a width, and the others at a small size, above 30 M parameters narrowed where they have a width.
    """
    return [network.name for network in networks() if not left_out(network)]


def left_out(network: Network) -> str:
    """Return why the own form of a network is not exported here, empty where it is."""
    if network.name in HEAVY:
        return ""
    if network.input_size <= SMALL_IMAGES:
        return "the matrix has it at this size"
    sizes = known_sizes(make_form(network))
    if sizes is None:
        return "how large it is is not known"
    return f"{MANY_PARAMS / 1e6:.0f} M parameters and more take minutes each" if sizes.params >= MANY_PARAMS else ""


def exported(name: str, path: Path) -> int:
    """Write the own form of a network from a process of its own and return the most memory that it held, bytes."""
    arguments = [sys.executable, "-c", MEASURED_EXPORT, name, str(path)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout.splitlines()[-1])


def test_what_is_left_out_has_a_reason() -> None:
    reasons = {network.name: left_out(network) for network in networks()}
    for reason in sorted(set(reasons.values()) - {""}):
        print(f"own form not exported, {reason}: {', '.join(name for name in reasons if reasons[name] == reason)}")
    assert set(HEAVY) <= set(members())
    assert len(members()) >= 38
    for name in members():
        assert name in HEAVY or make_form(name).input_size > SMALL_IMAGES


@pytest.mark.parametrize("name", members())
def test_the_papers_form_exports_within_the_memory_bound_and_answers(tmp_path: Path, name: str) -> None:
    form, path = make_form(name), tmp_path / "net.onnx"
    peak_bytes = exported(name, path)
    artifact, sizes = load_artifact(path), known_sizes(form)
    assert sizes is not None
    assert (artifact.spec.params, artifact.spec.macs) == (sizes.params, sizes.macs)
    weight_bytes = 4 * sizes.params
    print(f"{name}: {peak_bytes / 1e9:.2f} GB for {weight_bytes / 1e9:.2f} GB of weights")
    assert peak_bytes < MEMORY_FACTOR * weight_bytes + MEMORY_BYTES
    with open_session(artifact) as session:
        answer = session.run({"input": np.zeros((1, *form.input_shape), np.float32)})["logits"]
    assert answer.shape == (1, form.classes)
    assert np.isfinite(answer).all()


@pytest.mark.parametrize("name", [network.name for network in networks() if network.bundled])
def test_bundled_weights_hold_what_is_stated_and_keep_it_in_int8(tmp_path: Path, name: str) -> None:
    bundled = find(name).bundled
    assert bundled is not None
    data = open_dataset(bundled.dataset)
    fp32 = export_network(bundled.form, tmp_path / "fp32.onnx", ExportOptions())
    int8 = quantize(
        fp32.path,
        tmp_path / "int8.onnx",
        calibration=data.split("calibration"),
        evaluation=data.split("test"),
        dataset=data.name,
        labels=data.labels,
        config=QuantizeConfig(max_drop=0.5),
    )
    results = [verify(artifact, VerifyOptions(), evaluation=data) for artifact in (fp32, int8.artifact)]
    hold(results)
    assert [result.verdict for result in results] == ["ok", "ok"]
    assert results[0].accuracy is not None
    assert {figure.source for figure in results[0].accuracy.figures} == {"file", "registry"}
    print(f"{bundled.form.title}: int8 loses {int8.drop} points")
