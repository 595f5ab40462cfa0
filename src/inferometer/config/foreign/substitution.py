"""``${VARIABLE}``, ``$VARIABLE`` and ``REPLACE_ENV_VARIABLE`` in the values of a document, from the environment.

What ``envsubst`` does to a template before it is read is done here to what was read: with the same result, and without
losing the lines. A value whose variable is not set is left out and named, instead of becoming half an address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from inferometer.config.foreign.translated import Keys, NotUnderstood, Where, dotted

_NAME = "[A-Za-z_][A-Za-z0-9_]*"
_BRACES = re.compile(rf"\$\{{({_NAME})\}}")
_REFERENCE = re.compile(rf"\$\{{({_NAME})\}}|\$({_NAME})|REPLACE_ENV_([A-Z0-9_]+)")


class Substituted(NamedTuple):
    """A document with values in place of variables, and what was left out."""

    document: Any
    left_out: tuple[NotUnderstood, ...]


def substituted(document: Any, where: Where, environment: Mapping[str, str], at: Keys = ()) -> Substituted:
    """Put the environment into all values below ``at``. A variable that is empty counts as not set."""
    left_out: list[NotUnderstood] = []
    value = _walk(document, where, environment, at, left_out)
    return Substituted({} if value is _GONE else value, tuple(left_out))


def expanded(text: str, environment: Mapping[str, str]) -> str:
    """A template that is no YAML because of its braces (``{claim: ${CLAIM}}``) as one that is.

    What is set is filled in; what is not stays as ``$CLAIM``, to be named and left out by ``substituted``.
    """
    return _BRACES.sub(lambda found: environment.get(found[1]) or f"${found[1]}", text)


_GONE = object()


def _walk(value: Any, where: Where, environment: Mapping[str, str], at: Keys, left_out: list[NotUnderstood]) -> Any:
    if isinstance(value, Mapping):
        walked = {key: _walk(part, where, environment, (*at, key), left_out) for key, part in value.items()}
        return {key: part for key, part in walked.items() if part is not _GONE}
    if isinstance(value, list):
        parts = [_walk(part, where, environment, (*at, index), left_out) for index, part in enumerate(value)]
        return [part for part in parts if part is not _GONE]
    if not isinstance(value, str):
        return value
    unset = list(dict.fromkeys(name for name in _names(value) if not environment.get(name)))
    if unset:
        verb = "is" if len(unset) == 1 else "are"
        sentence = f"left out: {' and '.join(unset)} {verb} not set in the environment"
        left_out.append(NotUnderstood(dotted(at), where.line(at), sentence))
        return _GONE
    return _filled(value, environment)


def _filled(value: str, environment: Mapping[str, str]) -> Any:
    """The value with its variables; one that is nothing but a variable can become a number or a list, as in YAML."""
    whole = _REFERENCE.fullmatch(value)
    if whole is None:
        return _REFERENCE.sub(lambda found: environment[_name(found)], value)
    try:
        return yaml.safe_load(environment[_name(whole)])
    except (yaml.YAMLError, ValueError):
        return environment[_name(whole)]


def _names(value: str) -> Iterator[str]:
    return (_name(found) for found in _REFERENCE.finditer(value))


def _name(found: re.Match[str]) -> str:
    return found[1] or found[2] or found[3]
