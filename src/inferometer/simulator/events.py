"""The bytes of answers, in vLLM's shapes: parts built once per request, so that a token costs one join. Pure."""

from __future__ import annotations

import msgspec


class Shape(msgspec.Struct, frozen=True):
    """What differs between the APIs: names, and what stands before and after the text of an event."""

    id_prefix: str
    chunk: str
    whole: str
    before: bytes
    after: bytes
    after_last: bytes


CHAT = Shape(
    "chatcmpl-",
    "chat.completion.chunk",
    "chat.completion",
    b'{"index":0,"delta":{"content":"',
    b'"},"logprobs":null,"finish_reason":null,"token_ids":null}]',
    b'"},"logprobs":null,"finish_reason":"%b","stop_reason":null,"token_ids":null}]',
)
COMPLETION = Shape(
    "cmpl-",
    "text_completion",
    "text_completion",
    b'{"index":0,"text":"',
    b'","logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,"token_ids":null}]',
    b'","logprobs":null,"finish_reason":"%b","stop_reason":null,"prompt_token_ids":null,"token_ids":null}]',
)


def named(id_prefix: str) -> Shape:
    """The shape of an API whose events are written elsewhere: it has nothing but names."""
    return Shape(id_prefix, "", "", b"", b"", b"%b")


_REASONING = b'{"index":0,"delta":{"reasoning":"'
_ROLE = b'{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]'
#: Headers of an SSE answer; what follows are HTTP chunks, and the empty one ends it.
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nserver: inferometer-simulator\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
LAST_CHUNK = b"0\r\n\r\n"
DONE = b"e\r\ndata: [DONE]\n\n\r\n" + LAST_CHUNK


class Identity(msgspec.Struct, frozen=True):
    """What every event of one answer repeats."""

    shape: Shape
    request_id: str
    created_s: int
    model: str


class Template(msgspec.Struct, frozen=True, gc=False):
    """The parts of one request's events. ``common`` runs from ``data:`` to the opening bracket of the choices."""

    common: bytes
    prefix: bytes
    suffix: bytes
    suffix_last: bytes


def template(identity: Identity, finish_reason: str) -> Template:
    """The parts of the events of one answer; ``finish_reason`` goes into the last one."""
    shape = identity.shape
    created_s = identity.created_s
    common = (
        f'data: {{"id":"{identity.request_id}","object":"{shape.chunk}","created":{created_s},"model":'.encode()
        + msgspec.json.encode(identity.model)
        + b',"choices":['
    )
    return Template(common, common + shape.before, shape.after, shape.after_last % finish_reason.encode())


def thinking(parts: Template) -> Template:
    """The parts of events that carry reasoning."""
    return msgspec.structs.replace(parts, prefix=parts.common + _REASONING)


def usage(prompt_tokens: int, output_tokens: int, cached_tokens: int, reasoning_tokens: int = 0) -> dict[str, object]:
    """The usage object: cached tokens are part of the prompt's, reasoning tokens of the output's."""
    details = {"completion_tokens_details": {"reasoning_tokens": reasoning_tokens}} if reasoning_tokens else {}
    return {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + output_tokens,
        "completion_tokens": output_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
        **details,
    }


def usage_field(counts: dict[str, object] | None) -> bytes:
    """The usage as the last field of an event; nothing if there are no counts."""
    return b"" if counts is None else b',"usage":' + msgspec.json.encode(counts)


def token_event(parts: Template, text: bytes, last: bool, usage_bytes: bytes = b"") -> bytes:
    """One event as one HTTP chunk. ``text`` is JSON-safe; ``usage_bytes`` is empty or from ``usage_field``."""
    suffix = parts.suffix_last if last else parts.suffix
    size = len(parts.prefix) + len(text) + len(suffix) + len(usage_bytes) + 3
    return b"".join((b"%x\r\n" % size, parts.prefix, text, suffix, usage_bytes, b"}\n\n\r\n"))


def role_event(parts: Template, usage_bytes: bytes = b"") -> bytes:
    """The first event of a chat: a role and an empty text, which is not a token."""
    return chunk(parts.common + _ROLE + usage_bytes + b"}\n\n")


def usage_event(parts: Template, counts: dict[str, object]) -> bytes:
    """The event with ``choices: []`` that ends a stream with usage."""
    return chunk(parts.common + b"]" + usage_field(counts) + b"}\n\n")


def whole_answer(
    identity: Identity, text: str, finish_reason: str, counts: dict[str, object], reasoning: str = ""
) -> bytes:
    """The body of an answer that is not streamed."""
    choice: dict[str, object] = {"index": 0, "logprobs": None, "finish_reason": finish_reason, "stop_reason": None}
    if identity.shape is CHAT:
        choice["message"] = {"role": "assistant", "content": text, "refusal": None, "reasoning": reasoning or None}
    else:
        choice["text"] = text
    return msgspec.json.encode(
        {
            "id": identity.request_id,
            "object": identity.shape.whole,
            "created": identity.created_s,
            "model": identity.model,
            "choices": [choice],
            "usage": counts,
        }
    )


def event(name: str, content: dict[str, object]) -> bytes:
    """A server-sent event with a type, which its content repeats, as one HTTP chunk."""
    return chunk(b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode({"type": name, **content})))


def chunk(data: bytes) -> bytes:
    """Data as one HTTP chunk (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def unchunk(chunks: bytes) -> list[bytes]:
    """The data of whole HTTP chunks without extensions or trailers; the last, empty one comes as ``b""``."""
    pieces = []
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        end = int(size, 16)
        pieces.append(rest[:end])
        chunks = rest[end + 2 :]
    return pieces
