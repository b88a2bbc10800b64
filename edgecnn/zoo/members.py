"""Names of ensembles: which networks and which of their forms "ensemble:a+b" means. Nothing here imports torch.

An ensemble is a network like any other, made from its name when it is asked for. Its name is "ensemble_a+b", which is also
the stem of its file; "ensemble:a+b" and aliases of the members find it too. Its members are all in their bundled forms or
all in their plain ones, and must agree in what they read and in their classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edgecnn.errors import BadInput
from edgecnn.specs import Preprocess
from edgecnn.zoo.forms import form_of
from edgecnn.zoo.network import Bundled, Form, Network, Paper
from edgecnn.zoo.options import Option

Find = Callable[[str], Network]

BUNDLED, PLAIN = "bundled", "plain"
"""Values of the option "forms"."""

_WORD = "ensemble"

_PAPER = Paper(
    title="Good Practices for Deep Feature Fusion",
    authors="Shao et al. (Trimps-Soushen)",
    year=2016,
    venue="ILSVRC and COCO workshop at ECCV 2016",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One network of an ensemble.

    Attributes:
        form: which form of it.
        preprocess: how an image becomes its input.
        bundled: its trained weights, None in a plain form.
    """

    form: Form
    preprocess: Preprocess
    bundled: Bundled | None = None


def is_ensemble(name: str) -> bool:
    """Tell whether a name is that of an ensemble."""
    return name.startswith(f"{_WORD}:") or (name.startswith(f"{_WORD}_") and "+" in name)


def ensemble_network(name: str, find: Find) -> Network:
    """Return the ensemble of that name.

    Its plain form takes the members' plain forms where these agree, and their bundled ones otherwise; where both do, the
    option "forms" chooses.

    Args:
        name: "ensemble:a+b+c".
        find: returns a network by name or alias.

    Raises:
        UnknownName: there is no such member.
        BadInput: fewer than two members, one that is given twice, or members that do not agree.
    """
    entries = _entries(name, find)
    joined = "+".join(entry.name for entry in entries)
    possible = {forms: _members(entries, forms, find) for forms in (PLAIN, BUNDLED)}
    agreeing = {forms: members for forms, members in possible.items() if members and not _differing(members)}
    if not agreeing:
        every = possible[BUNDLED] or possible[PLAIN]
        raise BadInput(f"members of {name}", expected=f"one {_differing(every)}", got=_listed(every))
    forms, members = next(iter(agreeing.items()))
    return Network(
        name=f"{_WORD}_{joined}",
        family="Ensemble",
        title=f"Ensemble of {' and '.join(entry.title for entry in entries)}",
        paper=_PAPER,
        builder="edgecnn.zoo.ensemble:ensemble",
        fixed={"members": joined},
        options=(Option(name="forms", default=forms, choices=tuple(agreeing), help="which forms the members take"),),
        dataset=_dataset(members, entries[0]),
        preprocess=members[0].preprocess,
        classes=members[0].form.classes,
        min_input=max(find(member.form.network).min_input for member in members),
        aliases=(f"{_WORD}:{joined}",),
    )


def bundled_ensemble(network: Network, find: Find) -> Form | None:
    """Return the form of an ensemble whose members have bundled weights, None when there is none."""
    option = next(option for option in network.options if option.name == "forms")
    if BUNDLED not in option.choices:
        return None
    first = members_of(network, BUNDLED, find)[0].form
    return form_of(
        network,
        input_size=first.input_size,
        channels=first.channels,
        classes=first.classes,
        options={"forms": BUNDLED},
    )


def members_of(network: Network, forms: str, find: Find) -> tuple[Member, ...]:
    """Return the members of an ensemble.

    Args:
        network: as `ensemble_network` gives it.
        forms: "plain" or "bundled".
        find: returns a network by name.
    """
    return _members(_entries(f"{_WORD}:{network.fixed['members']}", find), forms, find)


def resized(member: Member, find: Find, *, input_size: int, channels: int, classes: int) -> Member:
    """Return a member for another input or other classes.

    Raises:
        BadInput: the member has no such form.
    """
    network = find(member.form.network)
    form = form_of(
        network, input_size=input_size, channels=channels, classes=classes, options=dict(member.form.options)
    )
    if (input_size, channels) == (member.form.input_size, member.form.channels):
        return replace(member, form=form)
    return replace(member, form=form, preprocess=network.preprocess_for(form))


def _entries(name: str, find: Find) -> tuple[Network, ...]:
    words = name[len(_WORD) + 1 :].split("+")
    if len(words) < 2 or not all(words):
        raise BadInput("ensemble", expected="two or more networks, ensemble:resnet20+mobilenet for example", got=name)
    entries = tuple(find(word) for word in words)
    if len({entry.name for entry in entries}) < len(entries):
        raise BadInput(f"members of {name}", expected="every network once", got=", ".join(e.name for e in entries))
    return entries


def _members(entries: Sequence[Network], forms: str, find: Find) -> tuple[Member, ...]:
    """Return the members in these forms; none when one has no bundled form."""
    if forms == PLAIN:
        return tuple(Member(form=form_of(entry), preprocess=entry.preprocess) for entry in entries)
    found = [entry.bundled or (find(entry.small).bundled if entry.small else None) for entry in entries]
    bundled = [one for one in found if one]
    if len(bundled) < len(found):
        return ()
    return tuple(Member(form=one.form, preprocess=one.preprocess, bundled=one) for one in bundled)


def _differing(members: Sequence[Member]) -> str:
    """Return in words what the members do not agree in, nothing when they agree; mean and std may differ."""
    facts: dict[str, Sequence[object]] = {
        "input size": [member.form.input_size for member in members],
        "number of channels": [member.form.channels for member in members],
        "number of classes": [member.form.classes for member in members],
        "data set": [member.bundled and member.bundled.dataset for member in members],
        "way to fit the image": [
            (member.preprocess.fit, member.preprocess.crop_fraction, member.preprocess.interpolation)
            for member in members
        ],
    }
    return " and one ".join(what for what, values in facts.items() if len(set(values)) > 1)


def _listed(members: Sequence[Member]) -> str:
    return "; ".join(_described(member.form) for member in members)


def _described(form: Form) -> str:
    return f"{form.title} with {form.input_size}x{form.input_size}x{form.channels} and {form.classes} classes"


def _dataset(members: Sequence[Member], first: Network) -> str:
    return members[0].bundled.dataset if members[0].bundled else first.dataset
