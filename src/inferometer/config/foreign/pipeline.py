"""``vllm_benchmark.json`` of the vLLM evaluation pipeline, and its environment variables -> a plan for each scenario.

A value is that of the environment, else of the scenario, else of ``defaults``; flags win over all of them. Folders of
results (OUTPUT_DIR, PARSED_DIR) and the file itself (CONFIG_PATH) are up to the command.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, get_args

from inferometer.config.foreign.translated import Keys, NotUnderstood, Translated, Where, nearest, unknown
from inferometer.config.models import MetricName
from inferometer.config.names import as_file_name
from inferometer.config.thresholds import from_limit
from inferometer.errors import UserError

ENDPOINT = "http://localhost:8000"
CONFIG_PATH = "configs/vllm_benchmark.json"
#: Stands in names of run directories for the time of the whole run.
TIME = "{time}"

_TOP = ("name", "version", "description", "defaults", "scenarios", "thresholds")
_BACKENDS = {
    "openai-chat": "openai-chat",
    "vllm-chat": "openai-chat",
    "openai": "openai-completions",
    "vllm": "openai-completions",
    "tgi": "tgi",
}
#: How a path ends -> the API that is spoken there; the first that fits.
_PATHS = {"chat/completions": "openai-chat", "completions": "openai-completions", "/generate_stream": "tgi"}
_DATASETS = ("random", "synthetic")
#: Environment variables -> the key of the scenario that they stand above.
_VARIABLES = {
    "MODEL_NAME": "model",
    "SERVED_MODEL_NAME": "served_model_name",
    "TOKENIZER": "tokenizer",
    "REQUEST_RATE": "request_rate",
    "BACKEND": "backend",
    "ENDPOINT_PATH": "endpoint_path",
    "DATASET_TYPE": "dataset_type",
    "NUM_PROMPTS": "num_prompts",
    "MAX_CONCURRENCY": "max_concurrency",
    "RANDOM_INPUT_LEN": "random_input_len",
    "RANDOM_OUTPUT_LEN": "random_output_len",
}


#: Variables of its container that mean nothing here, and why.
_NO_USE = {
    "BACKEND_API": "results are sent to nobody, see inferometer aggregate",
    "BATCH_SIZE": "the server makes its batches itself",
}


class _Told(NamedTuple):
    """A value, and what it is called where it was found."""

    value: Any
    wrong: Callable[[str], UserError]


def looks_like(document: Mapping[str, Any]) -> bool:
    """A list of scenarios with prompts of random lengths, or defaults beside it; or all that below one key."""
    inner = _inner(document)
    scenarios = inner.get("scenarios")
    return isinstance(scenarios, list) and ("defaults" in inner or any(_is_scenario(one) for one in scenarios))


def translate(document: Mapping[str, Any], where: Where, environment: Mapping[str, str]) -> Translated:
    """A plan for each scenario, in their order. Raises ``UserError`` with file, line and key."""
    at: Keys = ("vllm_benchmark",) if _inner(document) is not document else ()
    inner, variables = _inner(document), {name: text for name, text in environment.items() if text.strip()}
    defaults = inner.get("defaults") or {}
    if not isinstance(defaults, Mapping):
        raise where.wrong((*at, "defaults"), "must be an object of keys and values")
    ignored = [*unknown(inner, _TOP, where, at), *unknown(defaults, _READ, where, (*at, "defaults"))]
    limits = thresholds(document, where)
    facts = {"benchmark": inner.get("name"), "benchmark_version": inner.get("version")}
    plans: list[dict[str, Any]] = []
    names: list[str] = []
    odd: list[str] = []
    for number, scenario in enumerate(_scenarios(inner, where, at)):
        place = (*at, "scenarios", number)
        ignored += unknown(scenario, _READ, where, place)
        merged = _Merged(scenario, defaults, variables, where, place, (*at, "defaults"))
        name = _name(scenario, names, where, place)
        described = facts | {"scenario_description": merged.find("description", None).value}
        plans.append(_plan(name, merged, limits, _texts(described)))
        names.append(name)
        odd += _paths(merged)
    notes = [*_notes(variables), *_doubts(inner, variables), *odd]
    return Translated(
        tuple(plans), _once(ignored), tuple(dict.fromkeys(notes)), tuple(f"scenario_{name}_{TIME}" for name in names)
    )


def thresholds(document: Mapping[str, Any], where: Where) -> tuple[str, ...]:
    """The thresholds of a document as plans have them. Raises ``UserError`` with file, line and key."""
    inner = _inner(document)
    at: Keys = ("thresholds",) if inner is document else ("vllm_benchmark", "thresholds")
    limits = inner.get("thresholds")
    if limits is None:
        return ()
    if not isinstance(limits, Mapping):
        raise where.wrong(at, "must be an object of figures and their limits")
    found = []
    for name, limit in limits.items():
        try:
            found.append(from_limit(str(name), _share(limit)))
        except ValueError as error:
            raise where.wrong((*at, name), str(error)) from None
    return tuple(found)


def _share(limit: Any) -> Any:
    """``95%`` as the number that it is; anything else as it is."""
    per_cent = limit.strip().removesuffix("%") if isinstance(limit, str) and limit.strip().endswith("%") else ""
    return float(per_cent) / 100 if per_cent.strip().replace(".", "", 1).isdigit() else limit


def metrics(document: Mapping[str, Any], where: Where) -> tuple[str, ...]:
    """``percentile_metrics`` of the defaults of a document. Raises ``UserError`` with file, line and key."""
    inner = _inner(document)
    at: Keys = ("defaults",) if inner is document else ("vllm_benchmark", "defaults")
    defaults = inner.get("defaults") or {}
    if not isinstance(defaults, Mapping):
        raise where.wrong(at, "must be an object of keys and values")
    wrong = partial(where.wrong, (*at, "percentile_metrics"))
    return tuple(_metrics(_Told(defaults.get("percentile_metrics") or "ttft,tpot,itl,e2el", wrong)))


def _inner(document: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = document.get("vllm_benchmark")
    return inner if isinstance(inner, Mapping) and "scenarios" not in document else document


def _is_scenario(one: Any) -> bool:
    return isinstance(one, Mapping) and bool({"max_concurrency", "random_input_len", "random_output_len"} & one.keys())


def _scenarios(inner: Mapping[str, Any], where: Where, at: Keys) -> list[Mapping[str, Any]]:
    scenarios = inner.get("scenarios")
    if not isinstance(scenarios, list) or not scenarios:
        raise where.wrong((*at, "scenarios"), "must be a list with at least one scenario")
    for number, one in enumerate(scenarios):
        if not isinstance(one, Mapping):
            raise where.wrong((*at, "scenarios", number), "a scenario is an object of keys and values")
    return scenarios


def _name(scenario: Mapping[str, Any], before: list[str], where: Where, place: Keys) -> str:
    name = scenario.get("name", "unknown")
    if not isinstance(name, str) or not name.strip():
        raise where.wrong((*place, "name"), f"a name is a text, not {name!r}")
    plain = as_file_name(name)
    if plain in before:
        raise where.wrong((*place, "name"), f"there is another scenario {plain!r}: they would share a folder")
    return plain


def _texts(facts: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in facts.items() if value not in (None, "")}


def _once(ignored: list[NotUnderstood]) -> tuple[NotUnderstood, ...]:
    return tuple(dict.fromkeys(ignored))


# --- values ----------------------------------------------------------------------------------------------------------


class _Merged(NamedTuple):
    """A scenario over the defaults, under the environment."""

    scenario: Mapping[str, Any]
    defaults: Mapping[str, Any]
    variables: Mapping[str, str]
    where: Where
    place: Keys
    defaults_place: Keys

    def find(self, key: str, default: Any) -> _Told:
        """The value of a key. A null or an empty text is none."""
        variable = next((name for name, meant in _VARIABLES.items() if meant == key and name in self.variables), None)
        if variable is not None:
            return _variable(self.variables, variable)
        for mapping, place in ((self.scenario, self.place), (self.defaults, self.defaults_place)):
            if mapping.get(key) not in (None, ""):
                return _Told(mapping[key], partial(self.where.wrong, (*place, key)))
        return _Told(default, lambda sentence: self.where.wrong(self.place, f"{key}: {sentence}"))


def _variable(variables: Mapping[str, str], name: str) -> _Told:
    return _Told(variables[name].strip(), lambda sentence: UserError(f"the environment variable {name}: {sentence}"))


def _count(told: _Told) -> int:
    value = told.value
    number = int(value) if isinstance(value, str) and value.isdigit() else value
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise told.wrong(f"must be a whole number from 1 on, not {value!r}")
    return number


def _positive(told: _Told) -> float:
    """A number above 0; ``inf`` is one."""
    try:
        number = math.nan if isinstance(told.value, bool) else float(told.value)
    except (TypeError, ValueError):
        number = math.nan
    if not number > 0:
        raise told.wrong(f"must be a number above 0, not {told.value!r}")
    return number


def _text(told: _Told) -> str | None:
    if told.value is not None and not isinstance(told.value, str):
        raise told.wrong(f"must be a text, not {told.value!r}")
    return told.value


def _choice(told: _Told, known: tuple[str, ...]) -> str:
    if told.value not in known:
        raise told.wrong(f"{told.value!r} is none of {', '.join(known)}{nearest(told.value, known)}")
    return str(told.value)


def _words(told: _Told) -> list[Any]:
    """A comma string, or a list."""
    if isinstance(told.value, str):
        return [word.strip() for word in told.value.split(",") if word.strip()]
    if not isinstance(told.value, list):
        raise told.wrong(f"must be values with commas in between, not {told.value!r}")
    return told.value


def _metrics(told: _Told) -> list[str]:
    known = get_args(MetricName)
    return list(dict.fromkeys(_choice(told._replace(value=word), known) for word in _words(told)))


def _percentiles(told: _Told) -> list[float]:
    found = [_positive(told._replace(value=word)) for word in _words(told)]
    wrong = [percent for percent in found if percent >= 100]
    if wrong:
        raise told.wrong(f"a percentile is below 100, not {wrong[0]:g}")
    return sorted(set(found))


#: Every key of a scenario that is read.
_READ = (
    *("name", "description", "max_concurrency", "num_prompts", "random_input_len", "random_output_len", "backend"),
    *("endpoint_path", "dataset_type", "percentile_metrics", "metric_percentiles", "model", "served_model_name"),
    *("tokenizer", "request_rate", "burstiness", "num_warmups"),
)


# --- the plan --------------------------------------------------------------------------------------------------------


def _plan(name: str, merged: _Merged, thresholds: tuple[str, ...], facts: dict[str, str]) -> dict[str, Any]:
    _choice(merged.find("dataset_type", "random"), _DATASETS)
    lengths = {
        "input_tokens": {"mean": _count(merged.find("random_input_len", 1024))},
        "output_tokens": {"mean": _count(merged.find("random_output_len", 128))},
    }
    return {
        "target": _target(merged, facts),
        "scenario": {
            "name": name,
            "workload": {"type": "random", **lengths},
            "stages": _stages(name, merged),
            "thresholds": list(thresholds),
        },
        "report": {
            "percentile_metrics": _metrics(merged.find("percentile_metrics", "ttft,tpot,itl,e2el")),
            "percentiles": _percentiles(merged.find("metric_percentiles", "25,50,75,90,95,99")),
        },
    }


def _target(merged: _Merged, facts: dict[str, str]) -> dict[str, Any]:
    endpoint = _text(merged.find("endpoint_path", None))
    api = _BACKENDS[_choice(merged.find("backend", "openai-chat"), tuple(_BACKENDS))]
    told = next((spoken for ending, spoken in _PATHS.items() if (endpoint or "").endswith(ending)), None)
    if told is not None and api == "tgi" and told != "tgi":
        endpoint = None  # the path of the defaults is for another API: that of TGI is always the same
    elif told is not None:
        api = told
    model = _text(merged.find("model", None))
    served = _text(merged.find("served_model_name", None)) or model
    known: dict[str, Any] = {"model": served, "endpoint": endpoint, "tokenizer": _tokenizer(merged)}
    known |= {"facts": facts | ({"model_name": model} if model and model != served else {})}
    given = {key: value for key, value in known.items() if value}
    return {"base_url": _base_url(merged.variables), "api": api, **given}


def _base_url(variables: Mapping[str, str]) -> str:
    return variables.get("MODEL_ENDPOINT", ENDPOINT).strip().rstrip("/").removesuffix("/v1")


def _tokenizer(merged: _Merged) -> str | None:
    """None for gpt2, which stands for "any" there: the server itself counts, which is exact."""
    tokenizer = _text(merged.find("tokenizer", None))
    return None if tokenizer == "gpt2" else tokenizer


def _stages(name: str, merged: _Merged) -> list[dict[str, Any]]:
    """One stage, or one for each of CONCURRENCY_LEVELS."""
    levels = _levels(merged.variables)
    if not levels:
        return [_stage(merged, _count(merged.find("max_concurrency", 1)))]
    return [_stage(merged, level) | {"name": f"{name}_c{level}"} for level in levels]


def _levels(variables: Mapping[str, str]) -> list[int]:
    if "CONCURRENCY_LEVELS" not in variables:
        return []
    told = _variable(variables, "CONCURRENCY_LEVELS")
    return list(dict.fromkeys(_count(told._replace(value=word)) for word in _words(told)))


def _stage(merged: _Merged, concurrency: int) -> dict[str, Any]:
    rate = _positive(merged.find("request_rate", "inf"))
    load: dict[str, Any] = {"type": "closed", "concurrency": concurrency}
    if math.isfinite(rate):
        shape = _positive(merged.find("burstiness", 1.0))
        drawn: dict[str, Any] = {"arrivals": {1.0: "poisson", math.inf: "constant"}.get(shape, "gamma")}
        drawn |= {"burstiness": shape} if drawn["arrivals"] == "gamma" else {}
        load = {"type": "open", "rate": rate, "max_in_flight": concurrency, **drawn}
    warm = merged.find("num_warmups", 0)
    return {"load": load, "warmup_requests": _count(warm) if warm.value else 0, **_end(merged, concurrency)}


def _end(merged: _Merged, concurrency: int) -> dict[str, Any]:
    """A number of requests, or DURATION in its place; both only where both are in the environment."""
    variables = merged.variables
    prompts = _count(merged.find("num_prompts", 2 * concurrency))
    if "DURATION" not in variables:
        return {"num_requests": prompts}
    duration_s = _positive(_variable(variables, "DURATION"))
    if math.isinf(duration_s):
        raise UserError("the environment variable DURATION: must be a number of seconds, not inf")
    return {"duration_s": duration_s} | ({"num_requests": prompts} if "NUM_PROMPTS" in variables else {})


# --- what is said about it -------------------------------------------------------------------------------------------


def _notes(variables: Mapping[str, str]) -> list[str]:
    known = ("MODEL_ENDPOINT", *_VARIABLES, "CONCURRENCY_LEVELS", "DURATION")
    given = [name for name in known if name in variables]
    return [f"from the environment, over the file: {', '.join(given)}"] if given else []


def _doubts(inner: Mapping[str, Any], variables: Mapping[str, str]) -> list[str]:
    """How something is read that could be read in another way, once for all scenarios."""
    notes = []
    sources = [variables.get("TOKENIZER"), *_each(inner, "tokenizer")]
    if "gpt2" in sources:
        notes.append(
            "the tokenizer gpt2 stands for any: the server counts its own tokens, which is exact; give a "
            "tokenizer.json or its folder to write prompts with it"
        )
    if "throughput_min" in (inner.get("thresholds") or {}):
        notes.append("the threshold throughput_min is in output tokens/s: the format does not say")
    if "DURATION" in variables and "NUM_PROMPTS" not in variables and _each(inner, "num_prompts"):
        notes.append("DURATION ends each load in place of num_prompts")
    notes += [f"{name} is set and changes nothing here: {why}" for name, why in _NO_USE.items() if name in variables]
    return notes


def _paths(merged: _Merged) -> list[str]:
    """Whether backend and path of a scenario go together; a backend that is not named goes with any."""
    backend, path = (merged.find(key, None).value for key in ("backend", "endpoint_path"))
    spoken = next((spoken for ending, spoken in _PATHS.items() if str(path or "").endswith(ending)), None)
    if backend is None or spoken in (None, _BACKENDS[backend]):
        return []
    return [f"the backend {backend} does not go with the path {path}: {_decides(backend, path)}"]


def _decides(backend: str, path: str) -> str:
    return "/generate_stream is asked" if backend == "tgi" else f"the path decides what is spoken at {path}"


def _each(inner: Mapping[str, Any], key: str) -> list[Any]:
    """What the defaults and all scenarios say of a key."""
    mappings = (inner.get("defaults") or {}, *inner.get("scenarios", ()))
    return [one[key] for one in mappings if one.get(key) not in (None, "")]
