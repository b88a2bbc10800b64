"""Recognising state dicts by their keys: our own names, or those of another implementation through a network's rules.

A rule of the catalogue (`Checkpoint`) drops keys and renames the others; the first whose result has exactly the network's
keys is the one. Where nothing fits, the keys and shapes of every network of the zoo are tried, so that the error can
say what the file is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from edgecnn.errors import BadInput, EdgecnnError, first_line
from edgecnn.specs import Preprocess
from edgecnn.zoo.meta import build_on_meta
from edgecnn.zoo.network import Checkpoint, Form, Network
from edgecnn.zoo.registry import find, make_form, networks
from edgecnn.zoo.sizes import forms_of, known_sizes
from edgecnn.zoo.statedict import first_three

T = TypeVar("T")
Shape = tuple[int, ...]

# Inference does not read it, and files from before PyTorch 0.4.1 lack it.
_OPTIONAL = "num_batches_tracked"

# How far the sizes of a file and of the network that it is of can lie apart: auxiliary heads double GoogLeNet, and the
# classifier is more than half of the smallest networks.
_SIZE_RATIO = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Misfit:
    """Where a state dict and a network differ."""

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshaped: Mapping[str, tuple[Shape, Shape]]  # key -> found, expected

    @property
    def size(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.misshaped)

    def __str__(self) -> str:
        shapes = [f"{key} {list(found)} instead of {list(own)}" for key, (found, own) in self.misshaped.items()]
        faults = {"missing": self.missing, "unexpected": self.unexpected, "of another shape": shapes}
        return "; ".join(f"{len(keys)} {what}: {first_three(keys)}" for what, keys in faults.items() if keys)


def translate(rule: Checkpoint, state: Mapping[str, T]) -> dict[str, T]:
    """Return a state dict without the keys that a rule drops and with the others renamed."""
    translated = {}
    for key, value in state.items():
        if not any(re.search(pattern, key) for pattern in rule.drop):
            # Of two keys that become one the second keeps its own, so that nothing is lost and the rule does not fit.
            renamed = _renamed(rule, key)
            translated[key if renamed in translated else renamed] = value
    return translated


def load_state(model: nn.Module, form: Form, state: Mapping[str, Tensor], path: Path) -> Checkpoint | None:
    """Copy a state dict into a network and return the rule that it needed, None where it says nothing.

    Args:
        model: as `build(form)` gives it.
        form: what the model is.
        state: of this network, with our names or with those that one of its rules translates.
        path: of the file, for messages.

    Raises:
        BadInput: it does not fit, and nothing was changed; the message says what it is.
    """
    own = model.state_dict()
    shapes = _shapes(own)
    network = find(form.network)
    for rule, translated in _translations(form, state):
        if not _misfit(shapes, _shapes(translated)).size:
            if rule and not _agrees(rule, form):
                raise _of_other_options(rule, form, path)
            _copy(model, own, translated, path)
            return rule
    raise _refusal(network, form, shapes, _shapes(state), path)


def preprocess_by(rule: Checkpoint, network: Network, form: Form) -> Preprocess:
    """Return the preprocessing that a published checkpoint wants, at a form's size and channels."""
    given: dict[str, Any] = {
        name: getattr(rule, name)
        for name in ("mean", "std", "interpolation", "crop_fraction")
        if getattr(rule, name) is not None
    }
    return replace(network, preprocess=replace(network.preprocess, **given)).preprocess_for(form)


def choose_among(forms: Sequence[Form], found: Mapping[str, Shape]) -> tuple[Form, Checkpoint | None]:
    """Return the form of a network that the shapes of a state dict fit, and the rule they need.

    Without one, the first that they fit but for the number of classes or channels, or else the first of all.
    """
    nearly: list[tuple[Form, Checkpoint | None]] = []
    for form in forms:
        shapes = _shapes_of(form)
        for rule, translated in _translations(form, found):
            misfit = _misfit(shapes, translated)
            if rule and not _agrees(rule, form):
                continue
            if not misfit.size:
                return form, rule
            if _other_ends(misfit, form):
                nearly.append((form, rule))
    return nearly[0] if nearly else (forms[0], None)


def _renamed(rule: Checkpoint, key: str) -> str:
    for pattern, replacement in rule.rename:
        key = re.sub(pattern, replacement, key)
    return key


def _translations(form: Form, state: Mapping[str, T]) -> Iterator[tuple[Checkpoint | None, Mapping[str, T]]]:
    """Yield the state dict as it is, then by every rule.

    As it is, it belongs to the rule that renames nothing, where the network has one and the form is what was published:
    such a rule tells the preprocessing of a publisher who uses our names. Another form is the user's own.
    """
    network = find(form.network)
    own_names = (rule for rule in network.checkpoints if not rule.rename and _is_published(form, network, rule))
    yield next(own_names, None), state
    for rule in network.checkpoints:
        translated = translate(rule, state)
        # A rule that has names to change and changes none is not about this file.
        changed = translated.keys() - state.keys() if rule.rename else state.keys() - translated.keys()
        if changed:
            yield rule, translated


def _agrees(rule: Checkpoint, form: Form) -> bool:
    return rule.options.items() <= form.options.items()


def _is_published(form: Form, network: Network, rule: Checkpoint) -> bool:
    """Tell whether a form differs from the plain one by what the rule says and the input size at most."""
    options: dict[str, Any] = dict(rule.options)
    return form.shares_weights(make_form(network, **options))


def _of_other_options(rule: Checkpoint, form: Form, path: Path) -> BadInput:
    wanted = ", ".join(f"{name}={value}" for name, value in rule.options.items())
    return BadInput(
        f"weights file {path} has the keys of {rule.source}",
        "leave the options out: the file decides them",
        expected=f"{form.network} with {wanted}",
        got=form.title,
    )


def _shapes(state: Mapping[str, Tensor]) -> dict[str, Shape]:
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def _shapes_of(form: Form) -> dict[str, Shape]:
    return _shapes(build_on_meta(form).state_dict())


def _misfit(own: Mapping[str, Shape], found: Mapping[str, Shape]) -> _Misfit:
    return _Misfit(
        missing=tuple(key for key in own if key not in found and not key.endswith(_OPTIONAL)),
        unexpected=tuple(key for key in found if key not in own),
        misshaped={
            key: (found[key], shape) for key, shape in own.items() if key in found and not _alike(found[key], shape)
        },
    )


def _alike(one: Shape, other: Shape) -> bool:
    """Tell whether two shapes are the same, a linear layer and the 1 x 1 convolution that it is included."""
    short, long = sorted((one, other), key=len)
    return short == long or (len(short) == 2 and long == (*short, 1, 1))


def _copy(model: nn.Module, own: Mapping[str, Tensor], state: Mapping[str, Tensor], path: Path) -> None:
    shaped = {key: state[key].reshape(tensor.shape) if key in state else tensor for key, tensor in own.items()}
    try:
        model.load_state_dict(shaped)
    except RuntimeError as error:
        raise BadInput(f"the weights in {path} cannot be copied: {first_line(error)}") from None


def _refusal(
    network: Network, form: Form, own: Mapping[str, Shape], found: Mapping[str, Shape], path: Path
) -> BadInput:
    """Return the error that says what a state dict is instead of this form."""
    misfits = [_misfit(own, translated) for _, translated in _translations(form, found)]
    for misfit in misfits:
        if other := _other_ends(misfit, form):
            what, option = other
            expected = f"{form.title} with {_counted(form, option)}"
            return BadInput(f"weights file {path}", f"give {option}", expected=expected, got=what)
    known = _identified(found, form)
    if known is not None:
        got = f"a {known.title} state dict"
        expected = f"{form.title} with {form.classes} classes"
        hint = "give the network that the file is of, or check --weights and the options of the network"
        return BadInput(f"weights file {path}", hint, expected=expected, got=got)
    nearest = min(misfits, key=lambda misfit: misfit.size)
    return BadInput(
        f"the weights in {path} do not fit {form.title}: {nearest}",
        "check the network, its options, --classes and --channels",
    )


def _other_ends(misfit: _Misfit, form: Form) -> tuple[str, str] | None:
    """Return what differs and the option that says so, where only the number of classes or of channels is another."""
    if misfit.missing or misfit.unexpected or not misfit.misshaped:
        return None
    pairs = misfit.misshaped.values()
    classes = {found[0] for found, own in pairs if own[0] == form.classes}
    if len(classes) == 1 and all(found[0] in classes and _alike((own[0], *found[1:]), own) for found, own in pairs):
        count = classes.pop()
        return f"{count} classes instead of {form.classes}", f"--classes {count}"
    if len(misfit.misshaped) == 1:
        ((found, own),) = pairs
        if own[1:2] == (form.channels,) and (found[0], found[2:]) == (own[0], own[2:]):
            return f"{found[1]} input channels instead of {form.channels}", f"--channels {found[1]}"
    return None


def _counted(form: Form, option: str) -> str:
    return f"{form.classes} classes" if option.startswith("--classes") else f"{form.channels} input channels"


def _identified(found: Mapping[str, Shape], form: Form) -> Form | None:
    """Return the form of any network that these keys and shapes are of, whatever its classes; the same family first."""
    family = find(form.network).family
    for network in sorted(networks(), key=lambda other: other.family != family):
        for candidate in _forms(network):
            if _near_in_size(candidate, found) and _has_keys_of(candidate, found):
                return candidate
    return None


def _has_keys_of(form: Form, found: Mapping[str, Shape]) -> bool:
    try:
        own = _shapes_of(form)
    except EdgecnnError:
        return False
    misfits = (_misfit(own, translated) for _, translated in _translations(form, found))
    return any(not misfit.size or _other_ends(misfit, form) for misfit in misfits)


def _near_in_size(form: Form, found: Mapping[str, Shape]) -> bool:
    sizes = known_sizes(form)
    params = sum(math.prod(shape) for shape in found.values())
    return sizes is None or sizes.params <= _SIZE_RATIO * params <= _SIZE_RATIO**2 * sizes.params


def _forms(network: Network) -> Iterable[Form]:
    """Return the plain form and those that are published or bundled, one for each choice of options."""
    return {str((form.options, form.channels)): form for form in reversed(tuple(forms_of(network)))}.values()
