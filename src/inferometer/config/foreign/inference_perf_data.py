"""The section ``data`` of an inference-perf configuration -> a workload as plain data."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from inferometer.config.foreign.checked import Reader
from inferometer.config.foreign.inference_perf_schema import (
    Config,
    ConversationReplay,
    Data,
    Distribution,
    Multimodal,
    SharedPrefix,
)
from inferometer.config.foreign.translated import Keys
from inferometer.config.models import Images, Lengths

#: What inference-perf takes for a distribution where nothing is given.
_MIN, _MAX, _MEAN, _STD_DEV = 10, 1024, 512.0, 200.0
#: Output tokens where a data set says nothing.
DEFAULT_OUTPUT_TOKENS = 30
SHAREGPT = "hf://anon8231489123/ShareGPT_Vicuna_unfiltered/ShareGPT_V3_unfiltered_cleaned_split.json"
_PRESETS = {"4k": (3840, 2160), "1080p": (1920, 1080), "720p": (1280, 720), "360p": (640, 360)}


class Sent(NamedTuple):
    """A workload as plain data, and how many requests one item of it is: more than one in conversations."""

    workload: dict[str, Any]
    requests_per_item: float = 1.0


def sent(config: Config, reader: Reader) -> Sent:
    """What is sent. Raises ``UserError`` for data sets that nobody here can send."""
    data = config.data or Data()
    kind = data.type or "mock"
    if config.data is None or data.type is None:
        reader.note("no data.type: mock, as in inference-perf")
    made = _KINDS[kind](config, reader)
    images = _images(data, reader)
    return made._replace(workload=made.workload | ({"images": images} if images else {}))


def lengths(given: int | Distribution, reader: Reader, keys: Keys) -> dict[str, Any]:
    """Token counts as plain data of ``Lengths``, checked."""
    plain = {"mean": given} if isinstance(given, int) else _distribution(given, reader, keys)
    reader.made(Lengths, plain, keys)
    return plain


def _distribution(given: Distribution, reader: Reader, keys: Keys) -> dict[str, Any]:
    kind, mean = given.type or "normal", round(_MEAN if given.mean is None else given.mean)
    low, high = max(1, _MIN if given.min is None else given.min), _MAX if given.max is None else given.max
    if kind == "fixed":
        return {"mean": mean}
    if kind == "uniform":
        return {"min": low, "max": high}
    if kind == "skew_normal" and given.skew:
        raise reader.wrong((*keys, "type"), "skew_normal is not known here: use normal, lognormal, uniform or fixed")
    deviation = _deviation(given, reader, keys)
    # a mean at the very edge of its limits was cut there, and so are the lengths
    edges = {"min": low, "max": high}
    if not low <= mean <= high:
        usual = [name for name in ("min", "max") if getattr(given, name) is None]
        taken = f" ({' and '.join(usual)}: what inference-perf takes where none is given)" if usual else ""
        raise reader.wrong(keys, f"the mean of {mean} tokens is not between min, {low}, and max, {high}{taken}")
    if kind == "poisson":
        return {"distribution": "poisson", "mean": mean} | edges
    if not deviation:
        return {"mean": mean}
    return ({"distribution": "lognormal"} if kind == "lognormal" else {}) | {"mean": mean, "std_dev": deviation} | edges


def _deviation(given: Distribution, reader: Reader, keys: Keys) -> float:
    told = {
        "std_dev": given.std_dev,
        "std": given.std,
        "variance": None if given.variance is None else math.sqrt(given.variance),
    }
    values = {name: value for name, value in told.items() if value is not None}
    if "variance" in values and values.get("std_dev") == 0:
        del values["std_dev"]
    if len(set(values.values())) > 1:
        raise reader.wrong(keys, f"{' and '.join(values)} say different things: give one of them")
    if "std" in values:
        reader.note("std is read as std_dev, which inference-perf itself ignores (its deviation is 200 then)")
    return next(iter(values.values()), _STD_DEV)


def _needed(given: Any, name: str, reader: Reader, keys: Keys) -> Any:
    if given is None:
        raise reader.wrong(keys, f"{name!r} is missing")
    return given


def _pair(data: Data, reader: Reader) -> dict[str, Any]:
    sides = {"input_tokens": "input_distribution", "output_tokens": "output_distribution"}
    return {
        side: lengths(_needed(getattr(data, name), name, reader, ("data",)), reader, ("data", name))
        for side, name in sides.items()
    }


def _mock(_config: Config, reader: Reader) -> Sent:
    reader.note("data.type mock: short random prompts in place of one constant text")
    return Sent({"type": "random", "input_tokens": {"mean": 8}, "output_tokens": {"mean": DEFAULT_OUTPUT_TOKENS}})


def _random(config: Config, reader: Reader) -> Sent:
    data = config.data or Data()
    if data.use_chat_template:
        reader.ignore(("data", "use_chat_template"), "the server applies its chat template: use api.type chat")
    if data.trace is not None:
        return _trace(data, reader, data.trace.file, ("data",))
    if config.load is not None and config.load.type == "trace_replay" and config.load.trace is not None:
        return _trace(data, reader, config.load.trace.file, ("load",))
    if data.corpus_file_path is not None:
        reader.ignore(("data", "corpus_file_path"), "prompts are random words of the lengths asked for, not of a text")
    return Sent({"type": "random"} | _pair(data, reader))


def _trace(data: Data, reader: Reader, file: str, section: Keys) -> Sent:
    for name in ("input_distribution", "output_distribution"):
        if getattr(data, name) is not None:
            reader.ignore(("data", name), f"lengths are those of the trace ({section[0]}.trace.file)")
    return Sent({"type": "trace", "path": file, "format": "azure"})


def _sharegpt(config: Config, reader: Reader) -> Sent:
    data = config.data or Data()
    workload: dict[str, Any] = {"type": "dataset", "path": data.path or SHAREGPT, "format": "sharegpt"}
    if data.path is None:
        reader.note(f"no data.path: {SHAREGPT}")
    asked, answered = data.input_distribution, data.output_distribution
    limits = {
        "min_prompt_tokens": None if asked is None else asked.min,
        "max_prompt_tokens": None if asked is None else asked.max,
        "min_output_tokens": None if answered is None else answered.min,
    }
    if answered is not None and answered.max is not None:
        reader.ignore(("data", "output_distribution", "max"), "long recorded answers are not left out")
    return Sent(workload | {name: max(1, limit) for name, limit in limits.items() if limit is not None})


def _chats(config: Config, reader: Reader) -> Sent:
    data = config.data or Data()
    path = _needed(data.path, "path", reader, ("data",))
    return Sent({"type": "dataset", "path": path, "default_output_tokens": DEFAULT_OUTPUT_TOKENS})


def _articles(config: Config, reader: Reader) -> Sent:
    data = config.data or Data()
    path = data.path
    if path is None:
        raise reader.wrong(("data",), "'path' is missing: download the articles and name their CSV or Parquet file")
    reader.note(f"cnn_dailymail: {DEFAULT_OUTPUT_TOKENS} output tokens, as the highlights are not counted")
    return Sent(
        {
            "type": "dataset",
            "path": path,
            "prompt_key": "article",
            "default_output_tokens": DEFAULT_OUTPUT_TOKENS,
        }
    )


def _shared_prefix(config: Config, reader: Reader) -> Sent:
    data = config.data or Data()
    given, at = data.shared_prefix or SharedPrefix(), ("data", "shared_prefix")
    groups = _either(given, ("num_groups", "num_unique_system_prompts"), reader, at) or 10
    prompts = _either(given, ("num_prompts_per_group", "num_users_per_system_prompt"), reader, at) or 10
    question = _either(given, ("question_len", "question_distribution"), reader, at)
    output = _either(given, ("output_len", "output_distribution"), reader, at)
    system = 100 if given.system_prompt_len is None else given.system_prompt_len
    sides = {
        "input_tokens": lengths(50 if question is None else question, reader, (*at, "question_len")),
        "output_tokens": lengths(50 if output is None else output, reader, (*at, "output_len")),
    }
    if given.enable_multi_turn_chat:
        return _multi_turn(config, reader, sides, system, (groups, prompts))
    if system == 0:
        reader.note("shared_prefix without a system prompt: prompts share nothing")
        return Sent({"type": "random"} | sides)
    prefix = {"prefix_tokens": lengths(system, reader, (*at, "system_prompt_len"))}
    return Sent({"type": "shared_prefix", "groups": groups, "prompts_per_group": prompts} | prefix | sides)


def _either(given: SharedPrefix, names: tuple[str, str], reader: Reader, at: Keys) -> Any:
    """The value under the one name or the other."""
    values = [(name, getattr(given, name)) for name in names if getattr(given, name) is not None]
    if len(values) > 1:
        raise reader.wrong((*at, values[1][0]), f"the same as {names[0]}: give one of them")
    return values[0][1] if values else None


def _multi_turn(config: Config, reader: Reader, sides: dict[str, Any], system: Any, users: tuple[int, int]) -> Sent:
    """Users who go on with their conversations: as many turns as fall on each of them in a stage."""
    at = ("data", "shared_prefix")
    if not isinstance(system, int):
        raise reader.wrong(
            (*at, "system_prompt_len"), "conversations have a system prompt of one length: give a number"
        )
    stages = (config.load.stages if config.load else None) or []
    requests = [stage.num_requests or (stage.rate or 0) * (stage.duration or 0) for stage in stages]
    talking = users[0] * users[1]
    turns = max(1, round(sum(requests) / max(1, len(requests)) / talking))
    reader.note(
        f"enable_multi_turn_chat: conversations of {turns} turns, which is what falls on each of {talking} users in a "
        "stage on average; every stage begins new ones"
    )
    workload = {"type": "conversation", "turns": {"mean": turns}, "system_tokens": system, "system_groups": users[0]}
    return Sent(workload | sides, float(turns))


def _conversations(config: Config, reader: Reader) -> Sent:
    data = config.data or Data()
    given, at = data.conversation_replay or ConversationReplay(), ("data", "conversation_replay")
    own = given.dynamic_system_prompt_len
    prompt = {}
    if own is not None and (own.mean is None or own.mean > 0):
        prompt = {"own_system_tokens": lengths(own, reader, (*at, "dynamic_system_prompt_len"))}
    turns = lengths(given.turns_per_conversation or 10, reader, (*at, "turns_per_conversation"))
    shared = given.shared_system_prompt_len
    workload: dict[str, Any] = {
        "type": "conversation",
        "turns": turns,
        "system_tokens": 8359 if shared is None else shared,
        "input_tokens": lengths(given.input_tokens_per_turn or 512, reader, (*at, "input_tokens_per_turn")),
        "output_tokens": lengths(given.output_tokens_per_turn or 256, reader, (*at, "output_tokens_per_turn")),
    }
    reader.ignore_given(given, at, {"max_model_len": "longer conversations are sent as they are, and fail visibly"})
    if given.num_conversations is not None:
        reader.note("conversation_replay: every conversation is a new one; their number follows from the load")
    pause = _pause(given.tool_call_latency_sec, reader, (*at, "tool_call_latency_sec"))
    return Sent(workload | prompt | ({"think": pause} if pause else {}), float(Lengths.model_validate(turns).mean or 1))


def _pause(given: Distribution | None, reader: Reader, keys: Keys) -> dict[str, Any] | None:
    """How long a tool works after each answer; normal pauses become equal ones."""
    if given is None or (given.max == 0 and not given.mean):
        return None
    if given.type == "uniform":
        return {"min_s": float(given.min or 0), "max_s": float(_MAX if given.max is None else given.max)}
    mean = _MEAN if given.mean is None else given.mean
    if given.type != "fixed" and (given.std_dev or given.std or given.variance):
        reader.ignore(keys, f"pauses of tools are all {mean:g} s long; only uniform ones can differ")
    return {"mean_s": mean} if mean else None


def _images(data: Data, reader: Reader) -> dict[str, Any] | None:
    own = data.shared_prefix.multimodal if data.shared_prefix else None
    at: Keys = ("data", "multimodal") if data.multimodal else ("data", "shared_prefix", "multimodal")
    given = data.multimodal or own or Multimodal()
    for medium in ("video", "audio"):
        if getattr(given, medium) is not None:
            raise reader.wrong((*at, medium), f"{medium} cannot be sent: only text and images")
    if given.image is None:
        return None
    at = (*at, "image")
    count = given.image.count
    if isinstance(count, Distribution):
        count = _fixed(count, reader, (*at, "count"))
    size = given.image.resolutions or "1080p"
    if isinstance(size, list):
        raise reader.wrong((*at, "resolutions"), "pictures of one run have one size: give one resolution")
    width, height = _PRESETS[size] if isinstance(size, str) else (size.width, size.height)
    told = {"insertion_point": "pictures stand behind the text", "representation": "pictures are PNGs"}
    reader.ignore_given(given.image, at, told)
    images = {"count": 1 if count is None else count, "width": width, "height": height}
    reader.made(Images, images, at)
    return images


def _fixed(given: Distribution, reader: Reader, keys: Keys) -> int:
    if given.type != "fixed" and not (given.min is not None and given.min == given.max):
        raise reader.wrong(keys, "the number of pictures is the same in all requests: give a number")
    return round(_MEAN if given.mean is None else given.mean) if given.type == "fixed" else given.min or 0


def _unknown(config: Config, reader: Reader) -> Sent:
    data = config.data or Data()
    known = ", ".join(kind for kind, make in _KINDS.items() if make is not _unknown)
    raise reader.wrong(("data", "type"), f"{data.type} cannot be sent; what can be: {known}")


_KINDS: dict[str, Callable[[Config, Reader], Sent]] = {
    "mock": _mock,
    "random": _random,
    "synthetic": _random,
    "shareGPT": _sharegpt,
    "shared_prefix": _shared_prefix,
    "conversation_replay": _conversations,
    "infinity_instruct": _chats,
    "billsum_conversations": _chats,
    "cnn_dailymail": _articles,
    "visionarena": _unknown,
    "otel_trace_replay": _unknown,
    "weka_trace_replay": _unknown,
}
