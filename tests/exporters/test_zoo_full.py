"""The paper's own forms at full size, the bundled weights in float and in int8, and the memory that exporting takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgecnn.data import open_dataset  # noqa: E402
from edgecnn.exporters.network import ExportOptions, export_network  # noqa: E402
from edgecnn.exporters.quantize import QuantizeConfig, quantize  # noqa: E402
from edgecnn.exporters.verify import VerifyOptions, hold, verify  # noqa: E402
from edgecnn.runtimes import open_session  # noqa: E402
from edgecnn.zoo.registry import find, make_form, networks  # noqa: E402
from edgecnn.zoo.sizes import known_sizes  # noqa: E402

pytestmark = pytest.mark.zoo

SMALL_IMAGES = 32
MANY_PARAMS = 30_000_000
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


def light() -> list[str]:
    """Return the networks for large images below 30 M parameters; the matrix of small sizes has the others as they are."""
    large = [network.name for network in networks() if network.input_size > SMALL_IMAGES]
    sizes = {name: known_sizes(make_form(name)) for name in large}
    return [name for name, found in sizes.items() if found is not None and found.params < MANY_PARAMS]


@pytest.mark.parametrize("name", light())
def test_the_papers_form_exports_and_answers(tmp_path: Path, name: str) -> None:
    form = make_form(name)
    artifact = export_network(form, tmp_path / "net.onnx", ExportOptions(weights="random"))
    sizes = known_sizes(form)
    assert sizes is not None
    assert (artifact.spec.params, artifact.spec.macs) == (sizes.params, sizes.macs)
    with open_session(artifact) as session:
        answer = session.run({"input": np.zeros((1, *form.input_shape), np.float32)})["logits"]
    assert answer.shape == (1, form.classes)
    assert np.isfinite(answer).all()


@pytest.mark.parametrize("name", ["vgg16", "wide_resnet50_2"])
def test_the_memory_of_an_export_is_bounded(tmp_path: Path, name: str) -> None:
    sizes = known_sizes(make_form(name))
    assert sizes is not None
    arguments = [sys.executable, "-c", MEASURED_EXPORT, name, str(tmp_path / "net.onnx")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, done.stderr[-2000:]
    peak_bytes, weight_bytes = int(done.stdout.splitlines()[-1]), 4 * sizes.params
    print(f"{name}: {peak_bytes / 1e9:.2f} GB for {weight_bytes / 1e9:.2f} GB of weights")
    assert peak_bytes < MEMORY_FACTOR * weight_bytes + MEMORY_BYTES


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
