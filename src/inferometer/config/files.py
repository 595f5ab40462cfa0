"""Plans as YAML (or JSON, which is YAML). Errors name file, line and the nearest valid key; plans are written back."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from inferometer.config import models
from inferometer.config.models import Plan
from inferometer.errors import UserError

#: The safe loader; libyaml's is ten times as fast.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Path_ = tuple[str | int, ...]

#: A plan has far fewer values; aliases of aliases can make billions of a few lines.
MOST_VALUES = 100_000


def read(path: Path) -> dict[str, Any]:
    """The content of a plan file, checked: it is a whole plan. Raises ``UserError`` with file:line."""
    text = _text(path)
    document, lines = _parse(path, text)
    try:
        Plan.model_validate(document)
    except ValidationError as error:
        raise UserError(_sentence(path, error, lines)) from None
    return document


def document(path: Path, expand: Callable[[str], str] = str) -> tuple[dict[str, Any], dict[Path_, int], str]:
    """A file that may be another tool's: its mapping, the line of each key, its text. Raises ``UserError``.

    ``expand`` makes YAML of a template that is none before, such as ``{claim: ${CLAIM}}``.
    """
    text = _text(path)
    try:
        return *_parse(path, text), text
    except UserError:
        expanded = expand(text)
        if expanded == text:
            raise
        return *_parse(path, expanded), expanded


def read_plan(path: Path) -> Plan:
    """The plan in a file."""
    return Plan.model_validate(read(path))


def dump(plan: Plan) -> str:
    """The whole plan as YAML that ``read`` takes back."""
    return yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except IsADirectoryError:
        plan = path / "plan.yaml"
        hint = f": if that run is to be played again, its plan is {plan}" if plan.exists() else ", not a file"
        raise UserError(f"{path} is a folder{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from None


def _parse(path: Path, text: str) -> tuple[dict[str, Any], dict[Path_, int]]:
    try:
        root = yaml.compose(text, _Loader)
        document = yaml.load(text, _Loader)  # noqa: S506 (a safe loader, in C where there is one)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path}:{line}: not YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, KeyError, OverflowError, RecursionError) as error:
        # values that their tags or forms do not allow (2001-99-99, !!int x) have errors of their own
        raise UserError(f"{path}: not YAML: {error}") from None
    if not isinstance(document, dict):
        raise UserError(f"{path}:1: a plan is a mapping (target: ..., scenario: ...), not {type(document).__name__}")
    try:
        lines = list(islice(_lines(root, ()), MOST_VALUES + 1))
    except RecursionError:
        raise UserError(f"{path}: too deeply nested, or an alias that holds itself") from None
    if len(lines) > MOST_VALUES:
        raise UserError(f"{path}: more than {MOST_VALUES:,} values when its aliases are followed: too many for a plan")
    _refuse_twice(path, lines)
    return document, dict(lines)


def _refuse_twice(path: Path, lines: list[tuple[Path_, int]]) -> None:
    """Of two values under one key the first would be lost without a word. Merges (``<<``) may come twice."""
    first: dict[Path_, int] = {}
    for keys, line in lines:
        if keys in first and "<<" not in keys:
            key = ".".join(map(str, keys))
            raise UserError(f"{path}:{line}: {key} is there twice, first in line {first[keys]}: leave one of them out")
        first[keys] = line


def _lines(node: yaml.Node | None, path: Path_) -> Iterator[tuple[Path_, int]]:
    """The line (from 1) of every key and item."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*path, key.value), key.start_mark.line + 1
            yield from _lines(value, (*path, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*path, index), value.start_mark.line + 1
            yield from _lines(value, (*path, index))


def _sentence(path: Path, error: ValidationError, lines: dict[Path_, int]) -> str:
    problems = error.errors()
    # a key that is misspelt is also missing: say the former
    first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
    where = _known(first["loc"], lines)
    line = lines.get(where, 1)
    key = ".".join(str(part) for part in where)
    if first["type"] == "extra_forbidden":
        return f"{path}:{line}: unknown key {key!r}{_nearest(str(first['loc'][-1]))}"
    if first["type"] == "missing":
        return f"{path}:{line}: {first['loc'][-1]!r} is missing in {key or 'the plan'}"
    return f"{path}:{line}: {key}: {first['msg'].removeprefix('Value error, ')}"


def _known(loc: Path_, lines: dict[Path_, int]) -> Path_:
    """The part of an error's location that stands in the file; tags of unions stand in none."""
    where: Path_ = ()
    for part in loc:
        if (*where, part) in lines:
            where = (*where, part)
    return where


def _nearest(key: str) -> str:
    kinds = [kind for kind in vars(models).values() if isinstance(kind, type) and issubclass(kind, BaseModel)]
    names = sorted({name for kind in kinds for name in kind.model_fields})
    near = difflib.get_close_matches(key, names, 1)
    return f"; did you mean {near[0]!r}?" if near else ""
