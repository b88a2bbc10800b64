"""The zoo: every network by name, its forms, and the way to build one. Nothing here imports torch before `build`.

A network is an entry of a file in `families/`; `edgecnn.zoo.catalog` says how to add one. Packages add theirs as an
entry point of the group "edgecnn.networks" that names a `Network`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgecnn.errors import (
    Contradiction,
    EdgecnnError,
    MissingDependency,
    UnavailableError,
    UnknownName,
    UsageError,
    folded,
)
from edgecnn.plugins import Plugins
from edgecnn.specs import Scalar
from edgecnn.zoo.catalog import read_networks
from edgecnn.zoo.forms import form_of
from edgecnn.zoo.members import bundled_ensemble, ensemble_network, is_ensemble
from edgecnn.zoo.network import Bundled, Checkpoint, Form, Network, Paper, Published
from edgecnn.zoo.options import Option

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "GROUP",
    "Bundled",
    "Checkpoint",
    "Form",
    "Network",
    "Option",
    "Paper",
    "Published",
    "broken",
    "build",
    "bundled_form",
    "bundled_names",
    "find",
    "make_form",
    "networks",
]

GROUP = "edgecnn.networks"
"""Entry-point group by which a package adds networks; the entry point's name is the network's name."""

_COMMAND = "edgecnn zoo"


def networks() -> tuple[Network, ...]:
    """Return all networks: the zoo's own, oldest first, then those of other packages that can be imported."""
    return (*_own().values(), *_added()[0].values())


def broken() -> dict[str, str]:
    """Return name -> reason of the networks of other packages that cannot be imported."""
    return _added()[1]


def find(name: str) -> Network:
    """Return the network of that name or alias; "ensemble:a+b" is the ensemble of the networks a and b.

    Capitals and small letters are the same, and so are "-" and "_".

    Raises:
        UnknownName: neither a name nor an alias; suggests the nearest, or the members of the family of that name.
        BadInput: members that cannot make an ensemble.
        UnavailableError: another package has it, and cannot be imported.
    """
    if is_ensemble(name):
        return ensemble_network(name, find)
    own = tuple(_own().values())
    match = _match(name, own)
    if match is not None:
        return match
    added, reasons = _added()
    match = _match(name, tuple(added.values()))
    if match is not None:
        return match
    for broken_name, reason in reasons.items():
        if folded(name) == folded(broken_name):
            raise UnavailableError(reason, "reinstall or remove the package that provides it")
    raise _unknown(name, (*own, *added.values()), reasons)


def make_form(
    network: str | Network,
    /,
    *,
    input_size: int | None = None,
    classes: int | None = None,
    channels: int | None = None,
    **options: object,
) -> Form:
    """Return a checked form of a network; what is None or not given is as in its plain form.

    Args:
        network: the network, its name or an alias.
        input_size: height and width of the input, pixels.
        classes: length of the logits.
        channels: 3 (RGB) or 1 (grayscale).
        **options: of this network, width=0.25 for example; text is converted.

    Raises:
        UnknownName: no such network, or an option that no network has.
        Contradiction: an option that other networks have and this one does not.
        BadInput: a value that is not allowed; the allowed ones are named.
    """
    entry = find(network) if isinstance(network, str) else network
    given = {name: value for name, value in options.items() if value is not None}
    for name in given.keys() - {option.name for option in entry.options}:
        having = [other.name for other in networks() if any(option.name == name for option in other.options)]
        if having:
            raise Contradiction(f"{entry.name} has no {name} to choose", f"networks that have one: {', '.join(having)}")
    return form_of(entry, input_size=input_size, channels=channels, classes=classes, options=given)


def bundled_form(network: str | Network) -> Form | None:
    """Return the form whose trained weights lie in the package, None when there is none.

    That of an ensemble takes the bundled weights of its members.

    Raises:
        UnknownName: no such network.
    """
    entry = find(network) if isinstance(network, str) else network
    if is_ensemble(entry.name):
        return bundled_ensemble(entry, find)
    return entry.bundled.form if entry.bundled else None


def bundled_names(family: str | None = None) -> list[str]:
    """Return the names of the networks with trained weights in the package, of one family or of all."""
    return [one.name for one in networks() if one.bundled and family in (None, one.family)]


def build(form: Form, *, training: Mapping[str, Scalar] | None = None) -> nn.Module:
    """Return the network with fresh weights; float32 [N, channels, size, size] -> logits float32 [N, classes].

    Args:
        form: network and variant.
        training: what acts in training only, by the names of the network's `training_options`; with auxiliary heads the
            network returns a tuple in training mode, (logits, auxiliary logits, ...).

    Raises:
        UnknownName: the network has no such training option.
        BadInput: a value that the training option does not take.
        UsageError: the builder refuses this form; its reason is the message.
        MissingDependency: torch is not installed.
        UnavailableError: the builder of another package cannot be imported.
    """
    network = find(form.network)
    acting = network.training_values(training or {})
    builder = _builder(network)
    try:
        module: nn.Module = builder(
            classes=form.classes,
            in_channels=form.channels,
            input_size=form.input_size,
            **network.fixed,
            **form.options,
            **acting,
        )
    except ValueError as error:
        raise UsageError(f"{form.title} cannot be built: {error}") from None
    return module


def _builder(network: Network) -> Any:
    module, _, function = network.builder.partition(":")
    try:
        return getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "torch":
            raise MissingDependency("torch", "export", f"building {network.name}") from None
        raise _not_importable(network, error) from error
    except (ImportError, AttributeError) as error:
        raise _not_importable(network, error) from error


def _not_importable(network: Network, error: Exception) -> UnavailableError:
    reason = f"network {network.name} ({network.builder}) cannot be imported: {type(error).__name__}: {error}"
    return UnavailableError(reason, "reinstall or remove the package that provides it")


def _match(name: str, among: tuple[Network, ...]) -> Network | None:
    wanted = folded(name)
    return next((one for one in among if wanted in map(folded, (one.name, *one.aliases))), None)


def _unknown(name: str, among: tuple[Network, ...], unavailable: Iterable[str]) -> UnknownName:
    """Return the error for a name that nothing has; that of a family says which members it has."""
    wanted = folded(name).replace("_", "")
    members = [one for one in among if folded(one.family).replace("_", "") == wanted]
    hint = ""
    if members:
        others = [alias for one in among if one not in members for alias in one.aliases]
        known = [*(one.name for one in members), *(alias for alias in others if alias.startswith(wanted))]
        hint = f"a family, with {', '.join(known)}; {_COMMAND} --family {members[0].family} shows it"
    names = (*(one.name for one in among), *unavailable)
    return UnknownName(
        "network", name, names, [alias for one in among for alias in one.aliases], listing=_COMMAND, hint=hint
    )


@lru_cache(maxsize=1)
def _own() -> dict[str, Network]:
    return {network.name: network for network in read_networks()}


def _added() -> tuple[dict[str, Network], dict[str, str]]:
    """Return the networks of other packages, and the reasons of those that cannot be had; the zoo's own names win."""
    plugins = Plugins("network", GROUP, {})
    found: dict[str, Network] = {}
    reasons: dict[str, str] = {}
    for name in plugins.names():
        if name in _own():
            continue
        try:
            found[name] = _checked(name, plugins.load(name))
        except EdgecnnError as error:
            reasons[name] = error.message
    return found, reasons


def _checked(name: str, loaded: object) -> Network:
    if not isinstance(loaded, Network):
        raise UnavailableError(f"network {name} is not an edgecnn.zoo.Network but of type {type(loaded).__name__}")
    if loaded.name != name:
        raise UnavailableError(f"network {name} calls itself {loaded.name}; the entry point must have the same name")
    return loaded
