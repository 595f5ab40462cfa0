"""What a server tells of itself on the pages of its engine: model, limits, version, settings. Never guessed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from inferometer.config.models import Target
from inferometer.errors import UserError
from inferometer.telemetry import ask

#: Seconds that one page may take.
LIMIT_S = 3.0
_VERSION_PAGE = "/version"
_DTYPE = re.compile(r"\bdtype=(?:torch\.)?(\w+)")
#: Settings of a server that decide what it can do; the rest of hundreds is left out.
_ARGUMENTS = (
    "tp_size",
    "dp_size",
    "pp_size",
    "mem_fraction_static",
    "max_running_requests",
    "chunked_prefill_size",
    "context_length",
    "quantization",
    "kv_cache_dtype",
    "disable_radix_cache",
    "attention_backend",
    "speculative_algorithm",
    "max_concurrent_requests",
    "max_total_tokens",
    "max_batch_prefill_tokens",
    "total_slots",
)


class Known(NamedTuple):
    """The value of a field, as it is shown, and where it is from."""

    value: str
    source: str


class Asked(NamedTuple):
    """What came. ``content`` is a JSON object, empty without one. ``deaf``: the server did not answer at all."""

    content: dict[str, Any]
    deaf: bool = False


def asked(target: Target, path: str) -> Asked:
    """Ask for a JSON object, for at most ``LIMIT_S``; never raises."""
    try:
        reply = ask.fetch(target, path, limit_s=LIMIT_S)
    except UserError:
        return Asked({}, deaf=True)
    try:
        content = ask.decoded(target, reply)
    except UserError:
        return Asked({})
    return Asked(content if isinstance(content, dict) else {})


def server(target: Target, *, speaks_vllm: bool) -> dict[str, Known]:
    """Model, its limits and the engine, as far as the server's own pages tell.

    Args:
        target: the server.
        speaks_vllm: its metrics have the names of vLLM, whose page of the version does not say whose it is.
    """
    models = asked(target, "/v1/models")
    known = {"model": Known(target.model, "plan")} if target.model else {}
    if models.deaf:
        return known
    known |= _model(models.content, target.model)
    for path, read in _PAGES:
        answer = asked(target, path)
        if answer.deaf:
            break
        told = dict(read(answer.content))
        if path == _VERSION_PAGE and "engine" in told:
            told["engine"] = _named(told["engine"], speaks_vllm=speaks_vllm)
        known |= {name: Known(value, path) for name, value in told.items()}
        if path != _VERSION_PAGE and ("engine" in told or speaks_vllm):
            break
    return known


def _model(listed: Mapping[str, Any], name: str | None) -> dict[str, Known]:
    entries = listed.get("data")
    found = [one for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
    chosen = next((one for one in found if one.get("id") == name), None)
    if chosen is None:
        return {}
    meta = chosen.get("meta")
    limit = chosen.get("max_model_len") or (meta.get("n_ctx") if isinstance(meta, dict) else None)
    root = text(chosen, "root")
    shown = f"{name} ({root})" if root and root != name else f"{name}"
    known = {"model": Known(shown, "/v1/models")}
    return known | ({"max_model_len": Known(f"{limit}", "/v1/models")} if isinstance(limit, int) else {})


Told = Iterator[tuple[str, str]]


def _named(version: str, *, speaks_vllm: bool) -> str:
    number, _, local = version.partition("+")
    if local == "simulator":
        return f"Inferometer simulator {number}"
    return f"vLLM {version}" if speaks_vllm else f"version {version} of an engine that does not give its name"


def _version_page(page: Mapping[str, Any]) -> Told:
    """The page of vLLM and of those that answer like it: a version without a name."""
    if version := text(page, "version"):
        yield "engine", version


def _settings_page(page: Mapping[str, Any]) -> Told:
    """What the server was started with: of vLLM in its development mode as one text, of SGLang with its version."""
    if found := _DTYPE.search(text(page, "vllm_config", 20_000) or ""):
        yield "dtype", found[1]
        return
    if version := text(page, "version"):
        yield "engine", f"SGLang {version}"
    if dtype := text(page, "dtype"):
        yield "dtype", dtype
    if arguments := _arguments(page):
        yield "server_args", arguments


def _tgi_page(page: Mapping[str, Any]) -> Told:
    if (version := text(page, "version")) and "max_total_tokens" in page:
        yield "engine", f"TGI {version}"
        yield "max_model_len", str(page["max_total_tokens"])
    if dtype := text(page, "model_dtype"):
        yield "dtype", dtype
    if arguments := _arguments(page):
        yield "server_args", arguments


def _llamacpp_page(page: Mapping[str, Any]) -> Told:
    if build := text(page, "build_info"):
        yield "engine", f"llama.cpp {build}"
    if arguments := _arguments(page):
        yield "server_args", arguments


def _litellm_page(page: Mapping[str, Any]) -> Told:
    if version := text(page, "litellm_version"):
        yield "engine", f"LiteLLM {version} (a gateway)"


#: Pages on which engines tell what they are, in the order of asking. Behind the first, the first that names one is
#: the last.
_PAGES: tuple[tuple[str, Callable[[Mapping[str, Any]], Told]], ...] = (
    (_VERSION_PAGE, _version_page),
    ("/server_info", _settings_page),
    ("/get_server_info", _settings_page),
    ("/info", _tgi_page),
    ("/props", _llamacpp_page),
    ("/health/readiness", _litellm_page),
)


def _arguments(page: Mapping[str, Any]) -> str:
    told = [(name, page[name]) for name in _ARGUMENTS if page.get(name) is not None]
    return " ".join(f"{name}={value}" for name, value in told if isinstance(value, str | int | float | bool))


def text(page: Any, name: str, most: int = 200) -> str | None:
    """A text of a JSON object, on one line; None if there is none."""
    value = page.get(name) if isinstance(page, dict) else None
    return ask.plain(value)[:most] or None if isinstance(value, str) else None
