"""Workloads of the harnesses vllm-benchmark and inferencemax: flags of ``vllm bench serve`` as a flat map -> a plan."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Mapping
from typing import Any, NoReturn

from inferometer.config.flags import add_flags, plan_from_flags
from inferometer.config.foreign import vllm_args
from inferometer.config.foreign.checked import Reader, reader
from inferometer.config.foreign.inference_perf import address, needed_tokenizer
from inferometer.config.foreign.substitution import substituted
from inferometer.config.foreign.translated import Translated, Where
from inferometer.errors import UserError

#: Any two of them make it likely.
_USUAL = {
    "executable",
    "base-url",
    "dataset-name",
    "num-prompts",
    "max-concurrency",
    "request-rate",
    "random-input-len",
}
#: Not for the command line: the script that is called, and where its result goes.
_DROPPED = ("executable", "model", "tokenizer")


def looks_like(document: Mapping[str, Any]) -> bool:
    """A flat map with the names of flags."""
    flat = not any(isinstance(value, Mapping | list) for value in document.values())
    return flat and len(_USUAL & document.keys()) > 1


def translate(document: Mapping[str, Any], where: Where, environment: Mapping[str, str]) -> Translated:
    """The plan of a whole file."""
    filled = substituted(document, where, environment)
    read = reader(where)
    read.ignored.extend(filled.left_out)
    return Translated((plan_of(filled.document, read),), tuple(read.ignored), tuple(read.notes))


def plan_of(document: Mapping[str, Any], reader: Reader) -> dict[str, Any]:
    """The plan of such a map, or of the one at ``reader.at``; ``base_url`` may be missing."""
    keys = {str(key).replace("_", "-"): key for key in document}
    try:
        said = vllm_args.words(shlex.join(_line(document, reader)))
        plan = plan_from_flags(_options(said.words), {})
    except UserError as error:
        raise _placed(error, keys, reader) from None
    for one in said.not_understood:
        reader.ignore((keys.get(one.key.removeprefix("--"), one.key),), one.sentence)
    for note in said.notes:
        reader.note(note)
    plain = plan.model_dump(mode="json", exclude_unset=True)
    target = plain["target"] = dict(plain["target"])
    if not {"base-url", "host", "port"} & keys.keys():
        del target["base_url"]
    else:
        target["base_url"] = address(target["base_url"])
    if "model" in keys:
        target["model"] = str(document[keys["model"]])
    name = document.get(keys.get("tokenizer", ""))
    target |= needed_tokenizer(None if name is None else str(name), plain["scenario"]["workload"], reader)
    plain["scenario"]["name"] = str(document.get(keys.get("dataset-name", ""), "random"))
    return plain


def _line(document: Mapping[str, Any], reader: Reader) -> list[str]:
    """The map as words of a command line. ``none`` is a flag without a value, and so is nothing at all."""
    words = []
    for key, value in document.items():
        if key in _DROPPED:
            continue
        if isinstance(value, Mapping | list):
            raise reader.wrong((key,), "a flag has one value, no list and no map")
        if value is None:
            reader.note(f"{key}, which has no value, is read as a flag without one")
        bare = value is None or value is True or str(value).lower() == "none"
        if value is not False:
            words += [f"--{key}"] if bare else [f"--{key}={value}"]
    return words


class _Parser(argparse.ArgumentParser):
    """The flags of ``run``; what is wrong with them is an error like any other."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message)


def _options(words: tuple[str, ...]) -> dict[str, Any]:
    """Words as options; those about files of results are not for a plan."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    add_flags(parser)
    return vars(parser.parse_known_args(list(words))[0])


def _placed(error: UserError, keys: Mapping[str, Any], reader: Reader) -> UserError:
    """An error that names a flag -> one that names its key and line."""
    text = re.sub(r"^argument ", "", str(error).removeprefix("--vllm-args: "))
    named = [name for name in re.findall(r"--([\w-]+)", text) if name in keys]
    if not named:
        return reader.wrong((), text.replace("--", ""))
    return reader.wrong((keys[named[0]],), re.sub(r"^--[\w-]+:? ", "", text))
