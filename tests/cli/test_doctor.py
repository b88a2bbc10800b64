"""`edgecnn doctor` and `edgecnn backends`."""

import json

from click.testing import CliRunner

from edgecnn.cli.main import cli


def test_doctor_gives_the_findings_as_json() -> None:
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    findings = json.loads(result.stdout)
    assert result.exit_code in (0, 4)
    by_name = {(one["topic"], one["name"]): one for one in findings}
    assert by_name["backend", "cpu"]["health"] == "ok"
    assert by_name["machine", "cores"]["message"]
    assert all(one["fix"] for one in findings if one["health"] == "unavailable" and one["topic"] == "backend")
