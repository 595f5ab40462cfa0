"""The APIs, one row each: where to post, how to write a body, how to read an answer, what can be asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from inferometer.client import anthropic, embeddings, generate, ndjson, ollama, openai, responses, sse, tgi
from inferometer.client.answers import UNREADABLE, Answer, Body, error_in, message_of
from inferometer.workload.asks import Ask

__all__ = ["APIS", "UNREADABLE", "Answer", "Api", "Body", "error_in", "message_of"]


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


class Api(NamedTuple):
    """``write`` makes a request body for a model; ``read`` turns event payloads (and their types) into an answer.

    ``text`` is what the payloads of a good answer say, for the next turn of a conversation. ``split`` finds the
    events of a body. ``headers`` go with every request, ``key_headers`` carry the key. Parts of a body: ``ignore_eos``
    goes on to the full output length, ``structure`` follows a JSON schema, ``adapter`` asks for one of several
    adapters; None where the API has no such thing. ``needs_ids``: it takes nothing but token ids.
    """

    path: str
    write: Callable[[str, Ask], Body]
    read: Callable[[list[bytes], list[bytes] | None], Answer]
    text: Callable[[list[bytes]], str]
    takes_ids: bool
    split: Callable[[bytes], sse.Events] = sse.parse
    headers: Mapping[str, str] = MappingProxyType({})
    key_headers: Callable[[str], dict[str, str]] = _bearer
    ignore_eos: Body | None = None
    structure: Callable[[dict[str, Any]], Body] | None = None
    adapter: Callable[[str], Body] | None = None
    images: bool = False
    generates: bool = True
    needs_ids: bool = False


_IGNORE_EOS: Body = {"ignore_eos": True}

APIS: dict[str, Api] = {
    "openai-chat": Api(
        "/v1/chat/completions",
        openai.write_chat,
        openai.read,
        openai.text,
        takes_ids=False,
        ignore_eos=_IGNORE_EOS,
        structure=openai.structure,
        images=True,
    ),
    "openai-completions": Api(
        "/v1/completions",
        openai.write_completion,
        openai.read,
        openai.text,
        takes_ids=True,
        ignore_eos=_IGNORE_EOS,
        structure=openai.structure,
    ),
    "openai-responses": Api(
        "/v1/responses",
        responses.write,
        responses.read,
        responses.text,
        takes_ids=False,
        ignore_eos=_IGNORE_EOS,
        structure=responses.structure,
        images=True,
    ),
    "openai-embeddings": Api(
        "/v1/embeddings",
        embeddings.write,
        embeddings.read,
        embeddings.text,
        takes_ids=True,
        split=embeddings.parse,
        generates=False,
    ),
    "anthropic": Api(
        "/v1/messages",
        anthropic.write,
        anthropic.read,
        anthropic.text,
        takes_ids=False,
        headers=anthropic.HEADERS,
        key_headers=anthropic.key_headers,
        structure=anthropic.structure,
        images=True,
    ),
    "tgi": Api(
        "/generate_stream",
        tgi.write,
        tgi.read,
        tgi.text,
        takes_ids=False,
        structure=tgi.structure,
        adapter=tgi.adapter,
        images=True,
    ),
    "ollama-chat": Api(
        "/api/chat",
        ollama.write_chat,
        ollama.read,
        ollama.text,
        takes_ids=False,
        split=ndjson.parse,
        structure=ollama.structure,
        images=True,
    ),
    "ollama-generate": Api(
        "/api/generate",
        ollama.write_generate,
        ollama.read,
        ollama.text,
        takes_ids=False,
        split=ndjson.parse,
        structure=ollama.structure,
        images=True,
    ),
    "vllm-generate": Api(
        "/inference/v1/generate",
        generate.write,
        generate.read,
        generate.text,
        takes_ids=True,
        ignore_eos={"sampling_params": {"ignore_eos": True}},
        structure=generate.structure,
        needs_ids=True,
    ),
}
