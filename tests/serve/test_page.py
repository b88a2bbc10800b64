"""The commands of docs/serving.md, against a server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from edgecnn.cli.serve import serve

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
NAME = "mobilenet_v1_0.25_32.int8"
HERE = "http://127.0.0.1:8000"


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.S)
    return [line for block in blocks for line in block.splitlines()]


@pytest.mark.slow
def test_the_requests_of_the_page_are_answered(
    start_server: Callable[..., AbstractContextManager[Any]], shoe: Path
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command, *requests = commands()
    assert command == f"edgecnn serve models/{NAME}.onnx"
    assert len(requests) == 5
    with start_server("--name", NAME) as server:
        assert f"{NAME} on cpu, {server.url}/v2/models/{NAME}\nready on {server.url}\n" in server.said()
        answers = [
            subprocess.run(
                ["/bin/sh", "-c", request.replace("curl", "curl -sSf", 1).replace(HERE, server.url)],
                cwd=shoe.parent,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for request in requests
        ]
    ready, five, one, metadata = map(json.loads, answers[:4])
    assert ready == {"ready": True}
    # The model of the tests has three classes.
    assert (len(five["predictions"]), len(one["predictions"])) == (3, 1)
    assert metadata["name"] == NAME
    for figure in re.findall(r"`(\w+)(?:\{.*?\})?`", PAGE.partition("## Figures")[2].partition("##")[0]):
        assert re.search(rf"^{figure}(_bucket)?[ {{]", answers[4], re.M), figure


def test_the_limits_of_the_page_are_the_defaults() -> None:
    defaults = {option.opts[0]: option.default for option in serve.params if option.opts[0].startswith("--")}
    stated = re.findall(r"`(--[a-z-]+) (\d+)`", PAGE.partition("## Limits")[2].partition("## Batches")[0])
    stated += re.findall(r"`(--[a-z-]+)` \((\d+)\)", PAGE)
    assert len(stated) >= 8
    for name, value in stated:
        assert float(defaults[name]) == float(value), name
