"""Small servers, right and wrong, that tests talk to over loopback."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest
from hypothesis import settings

# Machines that run tests are busy: an example may take its time.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")


class Asked(NamedTuple):
    """A request as the server saw it; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class Said(NamedTuple):
    """An answer: whole, or in ``pieces`` with chunked coding, of which ``cut`` leaves out the last, empty one."""

    body: Any = b""
    status: int = 200
    content_type: str = "application/json"
    pieces: tuple[bytes, ...] | None = None
    cut: bool = False


Respond = Callable[[Asked], Said]
Serve = Callable[[Respond], str]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    respond: Respond

    def do_GET(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        said = type(self).respond(Asked(self.command, self.path, headers, json.loads(raw) if raw else None))
        try:
            self._send(said)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_POST = do_GET  # noqa: N815 (the name that http.server looks for)

    def _send(self, said: Said) -> None:
        body = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
        self.send_response(said.status)
        self.send_header("content-type", said.content_type)
        if said.pieces is None:
            self.send_header("content-length", str(len(body)))
        else:
            self.send_header("transfer-encoding", "chunked")
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in said.pieces)
            body += b"" if said.cut else b"0\r\n\r\n"
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = self.close_connection or said.cut

    def log_message(self, *_args: Any) -> None:
        """Tests have their own output."""


@contextmanager
def serving(respond: Respond, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server on a free port of loopback that answers as ``respond`` says; its base URL."""
    handler = type("Handler", (_Handler,), {"respond": staticmethod(respond)})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers that live as long as the test."""
    with ExitStack() as stack:
        yield lambda respond: stack.enter_context(serving(respond))


@pytest.fixture
def refusing_url() -> Iterator[str]:
    """An address at which nothing listens: bound, so that nobody else takes it, but never listening."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{holder.getsockname()[1]}"


@pytest.fixture
def silent_url() -> Iterator[str]:
    """A server that accepts connections (in its backlog) and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def sse_body(events: list[Any]) -> bytes:
    """Server-sent events as OpenAI-like servers write them; strings go as they are."""
    texts = [event if isinstance(event, str) else json.dumps(event) for event in events]
    return "".join(f"data: {text}\n\n" for text in texts).encode()


USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def chat_events(model: str = "tiny") -> list[Any]:
    """A stream as vLLM sends it: a role, three tokens, usage, the end."""
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "content": ""},
        *({"content": t} for t in ("one", " two", " three")),
    ]
    chunks: list[Any] = [{"model": model, "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks[-1]["choices"][0]["finish_reason"] = "stop"
    return [*chunks, {"model": model, "choices": [], "usage": USAGE}, "[DONE]"]


def completion_events(model: str = "tiny") -> list[Any]:
    """A stream as llama.cpp sends it: three tokens, then usage in an event with a choice, the end."""
    chunks = [{"model": model, "choices": [{"index": 0, "text": text}]} for text in ("one", " two", " three")]
    return [
        *chunks,
        {"model": model, "choices": [{"index": 0, "text": "", "finish_reason": "stop"}], "usage": USAGE},
        "[DONE]",
    ]


NOT_FOUND = Said({"detail": "Not Found"}, 404)


def good(asked: Asked) -> Said:
    """A right server with one model, ``tiny``."""
    if asked.path == "/health":
        return Said()
    if asked.path == "/v1/models":
        return Said({"object": "list", "data": [{"id": "tiny", "object": "model", "max_model_len": 4096}]})
    if asked.path not in ("/v1/completions", "/v1/chat/completions"):
        return NOT_FOUND
    if asked.body["model"] != "tiny":
        return Said({"error": {"message": f"The model `{asked.body['model']}` does not exist.", "code": 404}}, 404)
    chat = "chat" in asked.path
    if asked.body.get("stream"):
        return Said(
            content_type="text/event-stream", pieces=(sse_body(chat_events() if chat else completion_events()),)
        )
    choice = {"message": {"role": "assistant", "content": "one two three"}} if chat else {"text": "one two three"}
    return Said({"model": "tiny", "choices": [{"index": 0, **choice}], "usage": USAGE})


def ollama(asked: Asked) -> Said:
    """Like Ollama: no /health, chat alone, no lengths."""
    routes = {"/v1/models": Said({"object": "list", "data": [{"id": "tiny", "object": "model"}]})}
    return (
        good(asked)
        if asked.path == "/v1/chat/completions"
        else routes.get(asked.path, Said(b"404 page not found", 404, "text/plain"))
    )


PAGE = Said(b"<!DOCTYPE html><html><title>Welcome</title></html>", content_type="text/html")
