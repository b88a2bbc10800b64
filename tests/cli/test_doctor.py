"""`edgecnn doctor` and `edgecnn backends`."""

import json

import pytest
from click.testing import CliRunner

from edgecnn.cli.main import cli


@pytest.fixture(params=["cpu", pytest.param("all", marks=pytest.mark.slow)])
def backends(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One backend for all of them, where time is short: each one is a process."""
    if request.param != "all":
        monkeypatch.setattr("edgecnn.doctor.backend_names", lambda: (request.param,))


@pytest.mark.usefixtures("backends")
def test_doctor_gives_the_findings_as_json() -> None:
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    findings = json.loads(result.stdout)
    assert result.exit_code in (0, 4)
    by_name = {(one["topic"], one["name"]): one for one in findings}
    assert by_name["backend", "cpu"]["health"] == "ok"
    assert by_name["machine", "cores"]["message"]
    assert all(one["fix"] for one in findings if one["health"] == "unavailable" and one["topic"] == "backend")
