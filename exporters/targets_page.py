"""docs/targets.md out of the table: `python -m edgecnn.exporters.targets_page > docs/targets.md`."""

from __future__ import annotations

from collections.abc import Iterator

from edgecnn.errors import Contradiction
from edgecnn.exporters.targets import TARGETS, Form, Target, combine, find_target

_HEAD = """# Targets

What a file is made for: `--target NAME`, or several with commas between. The table lies in `exporters/targets.toml`;
this page is written from it by `python -m edgecnn.exporters.targets_page`. In an int8 form the first value is what the
target prefers, the others run at full speed as well. A file for several targets gets the first value of the first
target that suits all of them; where there is none, that is an error which names two that differ. A rewrite runs where
all of them want it.
"""


def targets_page() -> str:
    """Return the page as Markdown."""
    targets = [find_target(name) for name in TARGETS]
    lines = [_HEAD, *_overview(targets), *_together(targets)]
    for target in targets:
        lines += ["", f"## {target.name}", "", f"{target.title}; backend `{target.backend}`.", "", *_versions(target)]
        lines += ["", *_precisions(target), *_form(target)]
    return "\n".join(lines) + "\n"


def _overview(targets: list[Target]) -> Iterator[str]:
    yield "| target | for | operator set | takes | int8 activations | bias | quantizers |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for target in targets:
        form = target.form if "int8" in target.takes else None
        cells = (_activation(form), form.bias, form.edges) if form else ("-", "-", "-")
        takes = ", ".join(target.takes)
        yield f"| `{target.name}` | {target.title} | {target.opset} | {takes} | {' | '.join(cells)} |"


def _activation(form: Form) -> str:
    return f"{form.activation}, {'zero point 0' if form.symmetric else 'any zero point'}"


def _together(targets: list[Target]) -> Iterator[str]:
    yield from ("", "## Two in one int8 file", "", "| | " + " | ".join(f"`{target.name}`" for target in targets) + " |")
    yield "| --- |" + " --- |" * len(targets)
    for one in targets:
        yield f"| `{one.name}` | " + " | ".join(_suits(one, other) for other in targets) + " |"


def _suits(one: Target, other: Target) -> str:
    try:
        return _activation(combine((one, other)))
    except Contradiction:
        return "-"


def _versions(target: Target) -> Iterator[str]:
    yield f"- Operator set {target.opset}, at most {target.max_opset}. {target.opset_why}"
    yield f"- ONNX format {target.max_ir} at most. {target.ir_why}"


def _precisions(target: Target) -> Iterator[str]:
    yield "| precision | taken | why |"
    yield "| --- | --- | --- |"
    for name, why in (target.takes | target.refuses).items():
        yield f"| {name} | {'yes' if name in target.takes else 'no'} | {why} |"


def _form(target: Target) -> Iterator[str]:
    if not target.choices:
        return
    yield from ("", "| int8 form | values | why |", "| --- | --- | --- |")
    for key, choice in target.choices.items():
        values = ", ".join(f"`{str(value).lower()}`" for value in choice.values)
        yield f"| {key.replace('_', ' ')} | {values or '-'} | {choice.why} |"


if __name__ == "__main__":
    print(targets_page(), end="")
