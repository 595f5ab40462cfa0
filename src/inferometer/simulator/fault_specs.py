"""Faults as people write them: ``KIND[=VALUE][,OPTION=VALUE ...]``, or a YAML list of mappings with the same words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from inferometer.errors import UserError
from inferometer.simulator.faults import CONDITIONS, KINDS, Fault
from inferometer.simulator.styles import STYLES

#: Longer than anyone waits, and short enough for every clock.
_LONGEST = 10**9
_ROUTING_SHARE = 0.5


class Word(NamedTuple):
    """``key=value`` of a fault, and where it stands. A key may stand alone."""

    key: str
    value: str | None
    where: str


class Option(NamedTuple):
    """What an option takes, for the computer and for people."""

    type: Any
    expected: str


_COUNT = Option(Annotated[int, Meta(ge=1)], "a whole number of at least 1")
_FROM_ZERO = Option(Annotated[int, Meta(ge=0)], "a whole number of at least 0")
_TIME_S = Option(Annotated[float, Meta(ge=0, le=_LONGEST)], "a number of seconds")
_TIME_MS = Option(Annotated[float, Meta(ge=0, le=_LONGEST)], "a number of milliseconds")
_NAME = Option(Annotated[str, Meta(min_length=1)], "a name")

OPTIONS: dict[str, Option] = {
    "after_requests": _FROM_ZERO,
    "after_s": _TIME_S,
    "after_tokens": _FROM_ZERO,
    "as": _NAME,
    "blocks": _COUNT,
    "body": Option(Literal["json", "detail", "text", "html"], "one of json, detail, text, html"),
    "code": Option(Annotated[int, Meta(ge=400, le=599)], "an HTTP status from 400 to 599"),
    "delay_ms": _TIME_MS,
    "every": _COUNT,
    "first": _COUNT,
    "for_ms": _TIME_MS,
    "for_s": _TIME_S,
    "model": _NAME,
    "path": Option(Annotated[str, Meta(pattern="^/")], "a path that begins with /"),
    "retry_after": Option(Annotated[int, Meta(ge=0, le=_LONGEST)], "a whole number of seconds"),
    "retry_after_date": Option(bool, "true or false"),
    "share": Option(Annotated[float, Meta(gt=0, le=1)], "a number above 0 and up to 1"),
    "style": Option(Literal[tuple(STYLES)], f"one of {', '.join(STYLES)}"),
    "tokens": _COUNT,
}


def read_spec(spec: str) -> Fault:
    """A fault from the command line. Raises ``UserError`` with what is wrong and the nearest word that is right."""
    where = f"--fault {spec}"
    parts = [part.partition("=") for part in spec.split(",")]
    return _fault([Word(_key(key), value if equals else None, where) for key, equals, value in parts])


def read_file(path: Path) -> list[Fault]:
    """The faults in a YAML (or JSON) file. Raises ``UserError`` with file:line."""
    return [_fault(words) for words in _items(path)]


def _key(text: str) -> str:
    return text.strip().replace("-", "_")


def _items(path: Path) -> Iterator[list[Word]]:
    import yaml  # only whoever has a file waits for it

    try:
        # Composed, not loaded: each word keeps its line, and its text is read as on the command line.
        root = yaml.compose(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path}:{line}: not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {error}") from None
    if not isinstance(root, yaml.SequenceNode):
        raise UserError(f"{path}:1: faults are a list, such as `- {{status: 503, share: 0.3}}`")
    for item in root.value:
        where = f"{path}:{item.start_mark.line + 1}"
        if not isinstance(item, yaml.MappingNode) or not item.value:
            raise UserError(f"{where}: a fault is a mapping, such as `- {{stall: , after_tokens: 5}}`")
        yield [_word(path, key, value) for key, value in item.value]


def _word(path: Path, key: Any, value: Any) -> Word:
    """A pair of YAML nodes."""
    where = f"{path}:{key.start_mark.line + 1}"
    if not isinstance(key.value, str) or not isinstance(value.value, str):
        raise UserError(f"{where}: a fault has plain values, not lists or mappings")
    is_null = value.tag == "tag:yaml.org,2002:null"
    return Word(_key(key.value), None if is_null else value.value, where)


def _fault(words: list[Word]) -> Fault:
    """One word names the kind: ``stall``, ``status=503`` or ``kind=stall``; the others are its options."""
    head = next((word for word in words if word.key == "kind" or word.key in KINDS), words[0])
    name = _key(head.value or "") if head.key == "kind" else head.key
    if name not in KINDS:
        raise UserError(f"{head.where}: there is no fault {name!r}{_nearest(name, KINDS)}")
    kind = KINDS[name]
    given: dict[str, Any] = {"share": _ROUTING_SHARE} if name == "routing" else {}
    seen: set[str] = set()
    for word in _options(name, head, words):
        if word.key in seen:
            raise UserError(f"{word.where}: {word.key} is given twice; leave one out")
        seen.add(word.key)
        given[word.key] = _value(name, word)
    if kind.needs and not seen.intersection(kind.needs):
        needs = " or ".join(f"{option} ({OPTIONS[option].expected})" for option in kind.needs)
        raise UserError(f"{head.where}: {name} needs {needs}")
    fault: Fault = msgspec.convert({"kind": name, **given}, Fault)
    _check(fault, seen, head.where)
    return fault


def _options(name: str, head: Word, words: list[Word]) -> Iterator[Word]:
    """All words but the kind; ``kind=value`` is the kind's main option."""
    main = KINDS[name].main
    if head.key != "kind" and head.value is not None:
        if main is None:
            raise UserError(f"{head.where}: {name} takes no value of its own; it takes {', '.join(_allowed(name))}")
        yield Word(main, head.value, head.where)
    yield from (word for word in words if word is not head)


def _allowed(name: str) -> list[str]:
    kind = KINDS[name]
    return list(dict.fromkeys((*kind.options, *CONDITIONS[kind.scope], *(("path",) if kind.path else ()))))


def _value(name: str, word: Word) -> Any:
    allowed = _allowed(name)
    if word.key not in allowed:
        raise UserError(f"{word.where}: {name} has no option {word.key!r}{_nearest(word.key, allowed)}")
    option = OPTIONS[word.key]
    text = "true" if word.value is None and option.type is bool else word.value
    try:
        return msgspec.convert(text, option.type, strict=False)
    except msgspec.ValidationError:
        got = "has no value" if text is None else f"is {text!r}"
        raise UserError(f"{word.where}: {word.key} {got}; it must be {option.expected}") from None


def _check(fault: Fault, given: set[str], where: str) -> None:
    """What no single option can tell."""
    others = sorted(given - {"after_s"})
    if fault.kind == "die" and fault.after_s and others:
        raise UserError(f"{where}: die with after_s is for everything; leave {', '.join(others)} out")
    if fault.retry_after_date and fault.retry_after_s is None:
        raise UserError(f"{where}: retry_after_date needs retry_after, in how many seconds that date is")
    if fault.model is not None and fault.path is not None:
        raise UserError(f"{where}: path and model exclude each other; leave one out")
    if fault.kind == "memory_pressure" and fault.blocks is not None and fault.share is not None:
        raise UserError(f"{where}: blocks and share say the same twice; leave one out")


def _nearest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {near[0]!r}?" if near else f"; it may be {', '.join(known)}"
