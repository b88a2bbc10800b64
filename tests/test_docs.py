"""The documentation's command blocks run, its links lead somewhere, and every verb's `--help` has an example."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecnn.cli.main import VERBS

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        ROOT / "README.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "benchmarks").glob("*.md"),
        *(ROOT / "examples").glob("*.md"),
    ]
)
BLOCK = re.compile(r"(<!-- not run: (?P<why>.*?) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)```", re.S)

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def blocks(language: str) -> list[str]:
    return [
        match["code"]
        for page in PAGES
        for match in BLOCK.finditer(page.read_text(encoding="utf-8"))
        if match["language"] == language and not match["why"]
    ]


def commands() -> list[str]:
    lines = [line.partition("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line]


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = [line.split()[1] for line in commands() if line.startswith("make ")]
    assert {"demo", "test"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_the_readme_starts_with_its_two_commands() -> None:
    head = "\n".join((ROOT / "README.md").read_text().splitlines()[:25])
    assert "make demo" in head
    assert "make test" in head


@pytest.mark.slow
def test_command_and_python_blocks_run(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    for line in commands():
        if line.startswith("make "):
            continue
        if line.startswith("python benchmarks/"):
            continue
        assert line.startswith(("edgecnn ", "pytest ")), f"a block that no test can run: {line}"
        done = subprocess.run(
            [sys.executable, "-m", *line.split()], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert done.stdout
    for code in blocks("python"):
        prepared = f"import numpy\nimage = numpy.zeros((28, 28), numpy.uint8)\n{code}"
        done = subprocess.run(
            [sys.executable, "-c", prepared], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{code}\n{done.stderr}"
        assert done.stdout, code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example(run_edgecnn: Run, verb: str) -> None:
    done = run_edgecnn(verb, "--help")
    assert done.returncode == 0, done.stderr
    examples = re.findall(rf"^ +edgecnn {verb}.*$", done.stdout, re.M)
    assert examples, done.stdout
