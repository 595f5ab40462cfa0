"""A document of another tool against the schema of that tool: wrong values are errors, unknown keys are named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from inferometer.config.foreign.translated import Keys, NotUnderstood, Where, dotted, nearest
from inferometer.errors import UserError


class Section(BaseModel):
    """A mapping of another tool's document. Keys that it does not know are kept apart, in ``model_extra``."""

    model_config = ConfigDict(frozen=True, extra="allow", coerce_numbers_to_str=True, allow_inf_nan=False)


Kind = TypeVar("Kind", bound=BaseModel)


class Reader(NamedTuple):
    """Where a document, or the part of it at ``at``, is from; and what was found out on the way, which it gathers."""

    where: Where
    at: Keys
    ignored: list[NotUnderstood]
    notes: list[str]

    def wrong(self, keys: Keys, sentence: str) -> UserError:
        """An error about a value of this part, to be raised. What is missing may have been left out for a reason."""
        gone = [one for one in self.ignored if one.sentence.startswith("left out")]
        reasons = [f"{one.key} was {one.sentence}" for one in gone if one.key.rpartition(".")[2] in sentence]
        if "is missing" in sentence and reasons:
            sentence += f" ({'; '.join(reasons)})"
        return self.where.wrong((*self.at, *keys), sentence)

    def ignore(self, keys: Keys, sentence: str) -> None:
        """A key that changes nothing, and why."""
        whole = (*self.at, *keys)
        self.ignored.append(NotUnderstood(dotted(whole), self.where.line(whole), sentence))

    def ignore_given(self, section: Section | None, keys: Keys, sentences: Mapping[str, str]) -> None:
        """Those fields of a section that are given, of those that change nothing."""
        for name, sentence in sentences.items():
            if section is not None and getattr(section, name) is not None:
                self.ignore((*keys, name), sentence)

    def note(self, sentence: str) -> None:
        """How something was read, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def read(self, kind: type[Kind], document: object) -> Kind:
        """The part as the schema has it; its unknown keys are noted."""
        return self.part(kind, document, ())

    def part(self, kind: type[Kind], document: object, keys: Keys) -> Kind:
        """What stands at ``keys`` of this part, in the same way."""
        at = (*self.at, *keys)
        section = checked(kind, document, self.where, at)
        self.ignored.extend(unknown_keys(section, self.where, at))
        return section

    def made(self, kind: type[Kind], plain: object, keys: Keys) -> None:
        """Check a part of our plan that was made of the value at ``keys``."""
        valid(kind, plain, self.where, (*self.at, *keys))


def reader(where: Where, at: Keys = ()) -> Reader:
    """A reader that has gathered nothing yet."""
    return Reader(where, at, [], [])


#: What is said where a value has another form than it should, by the name that pydantic has for that.
_FORMS = {
    "model_type": "a mapping of keys to values is meant",
    "dict_type": "a mapping of keys to values is meant",
    "list_type": "a list is meant",
    "too_short": "it is empty: give at least one",
}


def checked(kind: type[Kind], document: object, where: Where, at: Keys = ()) -> Kind:
    """The mapping that stands at ``at`` of the document, as its schema has it. Raises ``UserError`` with file:line."""
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        problems = [(_standing((*at, *problem["loc"]), where), problem) for problem in error.errors()]
    # of the forms that a value can have the one is meant of which most is there
    keys, first = max(problems, key=lambda problem: len(problem[0]))
    if first["type"] == "missing":
        name = str(first["loc"][-1])
        raise where.wrong(keys, f"{name!r} is missing{_near_miss(name, first.get('input'))}")
    message = _FORMS.get(first["type"]) or first["msg"].removeprefix("Value error, ")
    near = nearest(first.get("input"), _choices(first)) if first["type"] == "literal_error" else ""
    raise where.wrong(keys, message[0].lower() + message[1:] + _shown(first.get("input")) + near)


def valid(kind: type[Kind], plain: object, where: Where, at: Keys) -> Kind:
    """A part of our own plan that was made of the value at ``at``. What is wrong with it is said of that value."""
    try:
        return kind.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    sentence = message[0].lower() + message[1:]
    raise where.wrong(at, sentence) if at else UserError(f"{where.path}: {dotted(first['loc'])}: {sentence}")


def unknown_keys(section: Any, where: Where, at: Keys = ()) -> list[NotUnderstood]:
    """Every key in a checked document that its schema does not know, each with the nearest that it does."""
    return list(_unknown(section, where, at))


def _unknown(value: Any, where: Where, at: Keys) -> Iterator[NotUnderstood]:
    if isinstance(value, Section):
        for key in value.model_extra or {}:
            keys, known = (*at, key), tuple(type(value).model_fields)
            yield NotUnderstood(dotted(keys), where.line(keys), f"unknown key{nearest(key, known)}")
        for name in value.model_fields_set & type(value).model_fields.keys():
            yield from _unknown(getattr(value, name), where, (*at, name))
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _unknown(part, where, (*at, key))
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _unknown(part, where, (*at, index))


def _standing(loc: Keys, where: Where) -> Keys:
    """The part of an error's location that stands in the file; names of choices stand in none."""
    keys: Keys = ()
    for part in loc:
        if (*keys, part) in where.lines:
            keys = (*keys, part)
    return keys


def _near_miss(name: str, given: Any) -> str:
    """Which of the keys that are there may have been meant by one that is missing."""
    return nearest(name, [str(key) for key in given]) if isinstance(given, Mapping) else ""


def _choices(problem: Any) -> list[str]:
    return [word.strip(" '") for word in str(problem["ctx"]["expected"]).replace(" or ", ",").split(",")]


def _shown(value: Any) -> str:
    return f" (got {value!r})" if isinstance(value, str | int | float) and len(repr(value)) < 60 else ""
