"""The APIs, one row each: where to post, how to write a body, how to read an answer, what can be asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from inferometer.client import anthropic, document, embeddings, generate, ndjson, ollama, openai, responses, sse, tgi
from inferometer.client.answers import UNREADABLE, Answer, Body, error_in, message_of
from inferometer.client.document import Whole
from inferometer.workload.asks import Ask

__all__ = ["APIS", "UNREADABLE", "Answer", "Api", "Body", "error_in", "message_of", "spoken"]


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


class Api(NamedTuple):
    """``write`` makes a request body for a model; ``read`` turns event payloads (and their types) into an answer.

    ``text`` is what the payloads of a good answer say, for the next turn of a conversation. ``written`` is all that
    the model wrote, reasoning and calls of tools too, as texts to be tokenized one by one: none where they cannot be
    told apart; without it that is ``text``. ``split`` finds the events of a body. ``headers`` go with every request,
    ``key_headers`` carry the key. Parts of a body: ``ignore_eos`` goes on to the full output length, ``structure``
    follows a JSON schema, ``adapter`` asks for one of several adapters; None where the API has no such thing.
    ``needs_ids``: it takes nothing but token ids. ``whole``: how it answers without a stream, if it streams at all;
    ``streams`` is false of the API that ``spoken`` makes of that.
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
    whole: Whole | None = None
    streams: bool = True
    written: Callable[[list[bytes]], list[str]] | None = None


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
        whole=Whole(openai.read_whole, openai.text_whole, written=openai.written_whole),
        written=openai.written,
    ),
    "openai-completions": Api(
        "/v1/completions",
        openai.write_completion,
        openai.read,
        openai.text,
        takes_ids=True,
        ignore_eos=_IGNORE_EOS,
        structure=openai.structure,
        whole=Whole(openai.read_whole, openai.text_whole, written=openai.written_whole),
        written=openai.written,
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
        whole=Whole(responses.read_whole, responses.text_whole, written=responses.written_whole),
        written=responses.written,
    ),
    "openai-embeddings": Api(
        "/v1/embeddings",
        embeddings.write,
        embeddings.read,
        embeddings.text,
        takes_ids=True,
        split=document.parse,
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
        whole=Whole(anthropic.read_whole, anthropic.text_whole, written=anthropic.written_whole),
        written=anthropic.written,
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
        whole=Whole(tgi.read_whole, tgi.text_whole, "/generate"),
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
        whole=Whole(ollama.read, ollama.text, written=ollama.written),
        written=ollama.written,
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
        whole=Whole(ollama.read, ollama.text, written=ollama.written),
        written=ollama.written,
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
        whole=Whole(generate.read, generate.text),
    ),
}


def spoken(name: str, *, stream: bool) -> Api:
    """The API of that name, with answers as streams or as one document each. Embeddings are documents in any case."""
    api = APIS[name]
    if stream or api.whole is None:
        return api
    return api._replace(
        path=api.whole.path or api.path,
        write=document.unstreamed(api.write),
        read=document.ended(api.whole.read),
        text=api.whole.text,
        written=api.whole.written,
        split=document.parse,
        streams=False,
    )
