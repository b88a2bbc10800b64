"""Weights files that publishers keep: which forms of a network they are of, and bringing one here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgecnn.errors import Contradiction, UnavailableError, UsageError
from edgecnn.zoo.download import OnWait, cache_folder, download, file_name, warn
from edgecnn.zoo.network import Form, Network, Published
from edgecnn.zoo.registry import bundled_names, find, make_form


def published_files(network: Network) -> tuple[Published, ...]:
    """Return the rows that have a weights file and a SHA-256 to check it by, those of the plain form first."""
    plain = make_form(network)
    rows = [row for row in network.published if row.weights_url and row.sha256_prefix]
    return tuple(sorted(rows, key=lambda row: not row.form.shares_weights(plain)))


def published_file(form: Form) -> Published:
    """Return the row whose weights file is of this form; the input size is free.

    Raises:
        UsageError: no publisher has one; the hint names the choices.
    """
    network = find(form.network)
    rows = published_files(network)
    for row in rows:
        if row.form.shares_weights(form):
            return row
    raise _no_file(network, form, rows)


def published_form(network: Network, asked: dict[str, Any]) -> Form:
    """Return the form of the published weights that agrees with what was asked for; the plain form's come first.

    Args:
        network: the network.
        asked: "input_size", "classes", "channels" and options, where they were given.

    Raises:
        UsageError: no publisher has weights of this network, or an option is impossible.
        Contradiction: they are of other forms than asked for.
    """
    plain = make_form(network, **asked)
    rows = published_files(network)
    for row in rows:
        kept = {"input_size": row.form.input_size, "classes": row.form.classes, "channels": row.form.channels}
        form = make_form(network, **{**kept, **row.form.options, **asked})
        if row.form.shares_weights(form):
            return form
    raise _no_file(network, plain, rows)


def fetch_published(
    form: Form,
    *,
    folder: Path | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_wait: OnWait = warn,
) -> Path:
    """Return the publisher's weights file of a form, downloaded unless it is here already.

    Args:
        form: network and variant; the input size is free.
        folder: where files are kept; None for the user's cache.
        on_progress: called with the bytes that are here and those of the whole file, 0 when unknown.
        on_wait: called with a line when another process downloads the same file; a warning by default.

    Raises:
        UsageError: no publisher has one.
        UnavailableError: it cannot be downloaded; the hint names the other choices.
        BadInput: it is not the file that was published.
    """
    row = published_file(form)
    folder = folder or cache_folder()
    try:
        return download(row.weights_url, row.sha256_prefix, folder, on_progress=on_progress, on_wait=on_wait)
    except UnavailableError as error:
        by_hand = f"or put the file at {folder / file_name(row.weights_url)}"
        raise UnavailableError(error.message, f"{choices(find(form.network), published=False)}; {by_hand}") from error


def choices(network: Network, *, published: bool = True) -> str:
    """Return the weights that can be had for a network, as a hint; those of publishers may be left out."""
    family = [name for name in bundled_names(network.family) if name != network.name]
    near = f"; of the {network.family} family, {', '.join(family)} has bundled weights" if family else ""
    words = {"bundled": network.bundled, "imagenet": published and published_files(network)}
    own = "".join(f"{word}, " for word, there in words.items() if there)
    return f"choose --weights {own}random or FILE{near}"


def described(form: Form) -> str:
    """Return a form in words, with its channels and classes."""
    return f"{form.title} with {form.channels} channel{'s' * (form.channels > 1)} and {form.classes} classes"


def _no_file(network: Network, form: Form, rows: tuple[Published, ...]) -> UsageError:
    if not rows:
        return UsageError(f"no published weights file is registered for {network.name}", choices(network))
    return Contradiction(
        f"the published weights of {network.name} are for {_listed(rows)}, not {described(form)}",
        "leave the options out, or give --weights random or --weights FILE",
    )


def _listed(rows: tuple[Published, ...]) -> str:
    return ", ".join(dict.fromkeys(described(row.form) for row in rows))
