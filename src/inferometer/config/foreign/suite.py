"""``targets.yaml`` and ``test_scenarios.yaml`` of the LLM Inference Benchmarking Suite -> plans."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from inferometer.config.foreign import suite_scenarios
from inferometer.config.foreign.suite_scenarios import Plain, Read
from inferometer.config.foreign.tables import Table
from inferometer.config.foreign.translated import NotUnderstood, Translated, Where, nearest
from inferometer.errors import UserError

#: What nobody acts on, and its name among the facts of a target.
_FACTS = {
    "name": "title",
    "accelerator": "gpu",
    **{
        key: key
        for key in (
            "backend",
            "gpu_memory",
            "kv_cache",
            "gpu_memory_utilization",
            "prefix_caching",
            "replicas",
            "routing",
            "expected_concurrency",
            "zone",
            "cluster",
            "infrastructure",
            "notes",
        )
    },
}
#: Keys of ``defaults``, any of which a target may have for itself -> the timeouts that they set.
_TIMEOUTS = {
    "timeout": ("first_token_s", "total_s"),
    "connect_timeout": ("connect_s",),
    "read_timeout": ("between_tokens_s",),
}
_SAMPLING = ("temperature", "top_p")
_DEFAULTS = (*_TIMEOUTS, *_SAMPLING, "stream")
_KNOWN = (*_FACTS, *_DEFAULTS, "base_url", "model", "max_tokens", "supported_models", "api_key_env")
#: Keys of which every scenario has one.
_SHAPES = {"num_requests", "concurrency_levels", "num_users"}
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


class Server(NamedTuple):
    """A target of the suite: its part of a plan as plain data, and what its scenarios should know of it."""

    name: str
    target: Plain
    workload: Plain
    models: tuple[str, ...]
    most_output_tokens: int | None
    not_understood: tuple[NotUnderstood, ...]
    notes: tuple[str, ...]


def looks_like(document: Mapping[str, Any]) -> bool:
    """A map of targets or of scenarios, or targets at the top, each with its address and model."""
    if isinstance(document.get("targets"), Mapping) or loose(document):
        return True
    scenarios = document.get("scenarios")
    shaped = scenarios.values() if isinstance(scenarios, Mapping) else ()
    return any(isinstance(one, Mapping) and _SHAPES & one.keys() for one in shaped)


def loose(document: Mapping[str, Any]) -> list[str]:
    """Targets that stand at the top of a document instead of below ``targets``, as pasted from the suite's page."""
    return [name for name, one in document.items() if isinstance(one, Mapping) and {"base_url", "model"} <= one.keys()]


def translate(document: Mapping[str, Any], where: Where, environment: Mapping[str, str]) -> Translated:
    """Every target with every scenario, and without scenarios every target with the usual load."""
    servers = [server(name, document, where, environment) for name in targets(document, where)]
    names = list(document.get("scenarios") or {})
    plans: list[Plain] = []
    labels: list[str] = []
    notes: list[str] = []
    strange = list(top_level(document, where))
    for one in servers:
        strange += one.not_understood
        notes += one.notes
        for name in names or [None]:
            found = scenario(name, document, where, one.most_output_tokens) if name is not None else None
            strange += found.not_understood if found else ()
            notes += found.notes if found else ()
            plans.append(plan(one, found))
            labels.append(f"{name}-{one.name}" if name else one.name)
    if not servers:
        for name in names:
            found = scenario(name, document, where)
            strange += found.not_understood
            notes += found.notes
            plans.append({"scenario": found.scenario})
            labels.append(name)
    return Translated(tuple(plans), tuple(dict.fromkeys(strange)), tuple(dict.fromkeys(notes)), tuple(labels))


def top_level(document: Mapping[str, Any], where: Where) -> list[NotUnderstood]:
    """Keys of the document that are neither tables nor targets."""
    known = ("targets", "defaults", "scenarios")
    return [one for one in Table(document, (), where).unknown(known) if one.key not in loose(document)]


def targets(document: Mapping[str, Any], where: Where) -> dict[str, Table]:
    """Targets by name, those at the top of the document included."""
    top = Table(document, (), where)
    tables = top.table("targets")
    return {name: tables.table(name) for name in tables.values} | {name: top.table(name) for name in loose(document)}


def scenario(name: str, document: Mapping[str, Any], where: Where, most_output_tokens: int | None = None) -> Read:
    """A scenario by name. Raises ``UserError`` if there is none, or values cannot be."""
    tables = Table(document, (), where).table("scenarios")
    known(name, tables.values, "scenario", where)
    return suite_scenarios.read(name, tables.table(name), most_output_tokens)


def known(name: str, names: Mapping[str, Any], kind: str, where: Where) -> None:
    """Raises ``UserError`` if a name is not there, with the nearest."""
    if name not in names:
        hint = nearest(name, names) or f"; known are {', '.join(names)}"
        raise UserError(f"{where.path}: no {kind} named {name!r}{hint}")


def server(
    name: str,
    document: Mapping[str, Any],
    where: Where,
    environment: Mapping[str, str],
    base_url: str | None = None,
) -> Server:
    """A target by name, at ``base_url`` if given. Raises ``UserError`` if there is none, or values cannot be."""
    found = targets(document, where)
    known(name, found, "target", where)
    table, defaults = found[name], Table(document, (), where).table("defaults")
    notes: list[str] = []
    if name in loose(document):
        notes.append(f"{name} stands at the top of {where.path.name}: read as one of its targets")
    if defaults.values.get("stream") is False and table.values.get("stream") is None:
        # every copy of the suite's file has it, beside scenarios that are about TTFT and TPOT
        notes.append("stream: false of the defaults is not followed: without a stream there are no TTFT and TPOT")
    model = table.text("model")
    target: Plain = {"name": name, "base_url": base_url or _address(table, environment, notes), "api": _api(table)}
    target |= {"model": model} if model else {}
    target |= {"api_key_env": table.text("api_key_env")} if table.values.get("api_key_env") else {}
    strange = (*table.unknown(_KNOWN), *defaults.unknown(_DEFAULTS))
    told = target | {"facts": _facts(table)} | _timeouts(table, defaults)
    models = tuple(table.texts("supported_models")) or ((model,) if model else ())
    sampling = {key: table.number(key) if key in table.values else defaults.number(key) for key in _SAMPLING}
    body = {key: value for key, value in sampling.items() if value is not None}
    workload: Plain = {"extra_body": body} if body else {}
    workload |= {"stream": False} if table.values.get("stream") is False else {}
    return Server(name, told, workload, models, table.whole("max_tokens"), strange, tuple(notes))


def plan(one: Server, found: Read | None, model: str | None = None) -> Plain:
    """The partial plan of a target with a scenario, asking ``model`` instead of its usual one if given."""
    read: Plain = found.scenario if found else {"workload": {}, "levels": {}}
    chosen = {"model": model} if model else {}
    return {"target": one.target | chosen, "scenario": read | {"workload": read["workload"] | one.workload}}


def _address(table: Table, environment: Mapping[str, str], notes: list[str]) -> str:
    text = table.text("base_url")
    if not text:
        raise table.wrong("base_url", "the address of the server is needed: http(s)://HOST:PORT")
    url = _VARIABLE.sub(lambda found: environment.get(found[1]) or found[2] or "", text).rstrip("/")
    if not url:
        variable = _VARIABLE.findall(text)[0][0]
        name = table.at[-1]
        raise UserError(f"target {name} has no address: set {variable} to http(s)://HOST:PORT, or give --base-url")
    if url.endswith("/v1"):
        notes.append(f"{url}: /v1 is part of the API, not of the address")
    return url.removesuffix("/v1")


def _api(table: Table) -> str:
    """Completions of vLLM, as in the suite; chats of servers that only chat, and of those that nobody knows."""
    return "openai-completions" if "vllm" in (table.text("backend") or "").lower() else "openai-chat"


def _facts(table: Table) -> dict[str, str]:
    return {told: _words(table.values[key]) for key, told in _FACTS.items() if table.values.get(key) is not None}


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _timeouts(table: Table, defaults: Table) -> Plain:
    seconds: Plain = {}
    for key, fields in _TIMEOUTS.items():
        value = table.number(key, above=0) if key in table.values else defaults.number(key, above=0)
        seconds |= dict.fromkeys(fields, value) if value is not None else {}
    return {"timeouts": seconds} if seconds else {}
