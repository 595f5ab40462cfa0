"""The simulator as a server: plays an engine in real time and speaks vLLM's dialect."""

from __future__ import annotations

import asyncio
import functools
import gc
import hmac
import signal
import time
from collections.abc import Callable
from typing import IO

import msgspec

from inferometer import __version__
from inferometer.errors import UserError
from inferometer.schedule.timer import Timer
from inferometer.simulator import bodies, events
from inferometer.simulator.blocks import chain_hashes
from inferometer.simulator.bodies import ApiError, Ask, Served
from inferometer.simulator.connection import STREAM_HEAD, Connection, HttpRequest
from inferometer.simulator.exact import ExactEngine
from inferometer.simulator.exact import Timeline as ExactTimeline
from inferometer.simulator.metrics import Metrics, exposition
from inferometer.simulator.model import Engine, Playable, Profile, Progress, Request
from inferometer.simulator.tokens import WORDS, Answer, tokenize, write_answer

_SPACED = {word: b" " + word.encode() for word in WORDS}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How the simulator is run. ``mode`` is an engine's profile or a timeline; ``log_served`` a path."""

    host: str
    port: int
    model: str
    mode: Profile | ExactTimeline
    max_model_len: int
    seed: int = 0
    api_key: str | None = None
    log_served: str | None = None


class Stream(msgspec.Struct, eq=False):
    """One answer under way. ``texts`` are the pieces to send, one per token."""

    connection: Connection
    ask: Ask
    answer: Answer
    identity: events.Identity
    log_id: str
    parts: events.Template
    texts: list[bytes]
    last_ns: int = 0
    due_ns: list[int] = []
    written_ns: list[int] = []


class Server:
    """Holds the engine, its streams and its counters; all of it lives in one event loop."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop, log: IO[bytes] | None = None) -> None:
        self._settings = settings
        self._engine = _engine(settings)
        self._served = Served(settings.model, settings.max_model_len)
        self._log = log
        self._metrics = Metrics(settings.max_model_len)
        self._timer = Timer(loop, self._play)
        self._armed_ns: int | None = None
        self._streams: dict[int, tuple[Stream, Progress]] = {}
        self._keys: dict[Connection, int] = {}
        self._count = 0
        self._started_s = int(time.time())
        self._routes: dict[bytes, tuple[bytes, Callable[[Connection, HttpRequest], None]]] = {
            b"/v1/chat/completions": (b"POST", functools.partial(self._generate, events.CHAT)),
            b"/v1/completions": (b"POST", functools.partial(self._generate, events.COMPLETION)),
            b"/v1/models": (b"GET", self._models),
            b"/tokenize": (b"POST", self._tokenize),
            b"/health": (b"GET", lambda connection, _request: connection.respond(200, b"")),
            b"/version": (b"GET", self._version),
            b"/metrics": (b"GET", self._exposition),
        }

    def connect(self) -> Connection:
        """The protocol of a new connection."""
        return Connection(self._serve, self._dropped)

    def close(self) -> None:
        """Stop playing and drop every client in the middle of an answer."""
        self._timer.close()
        for stream, _progress in list(self._streams.values()):
            stream.connection.close()

    def _serve(self, connection: Connection, request: HttpRequest) -> None:
        route = self._routes.get(request.path)
        if route is None:
            return connection.respond(404, b'{"detail":"Not Found"}')
        method, handler = route
        if request.method != method:
            return connection.respond(405, b'{"detail":"Method Not Allowed"}')
        try:
            self._authorize(request)
            return handler(connection, request)
        except ApiError as error:
            return connection.respond(error.status, error.body)

    def _authorize(self, request: HttpRequest) -> None:
        """As in vLLM, the key guards /v1 and nothing else."""
        key = self._settings.api_key
        if key is None or not request.path.startswith(b"/v1"):
            return
        sent = request.headers.get(b"authorization", b"")
        if not hmac.compare_digest(sent, b"Bearer " + key.encode()):
            raise ApiError(401, "Unauthorized: the bearer key is missing or wrong.", "AuthenticationError")

    def _generate(self, shape: events.Shape, connection: Connection, request: HttpRequest) -> None:
        settings = self._settings
        read = bodies.read_chat if shape is events.CHAT else bodies.read_completion
        ask = read(request.body, self._served)
        answer = write_answer(ask.prompt_ids, settings.seed, ask.max_tokens, ask.min_tokens, ask.ignore_eos)
        self._count += 1
        stream = self._stream(shape, connection, request, ask, answer)
        progress = self._engine.submit(self._engine_request(ask, answer), request.arrived_ns)
        self._streams[self._count] = (stream, progress)
        self._keys[connection] = self._count
        if ask.stream:
            connection.send(STREAM_HEAD)
        self._arm()

    def _stream(
        self, shape: events.Shape, connection: Connection, request: HttpRequest, ask: Ask, answer: Answer
    ) -> Stream:
        request_id = f"{shape.id_prefix}{self._started_s:x}{self._count:08x}"
        log_id = request.headers.get(b"x-request-id", request_id.encode()).decode("latin-1")
        identity = events.Identity(shape, request_id, int(time.time()), self._settings.model)
        parts = events.template(identity, answer.finish_reason)
        texts = [_SPACED[word] for word in answer.words]
        texts[0] = texts[0][1:]
        return Stream(connection, ask, answer, identity, log_id, parts, texts)

    def _engine_request(self, ask: Ask, answer: Answer) -> Request:
        """The answer is hashed with the prompt: the next turn of a conversation finds both in the cache."""
        hashes: tuple[bytes, ...] = ()
        if isinstance(self._settings.mode, Profile):
            ids = ask.prompt_ids + tokenize(" ".join(answer.words))
            hashes = chain_hashes(ids, self._settings.mode.block_tokens)
        return Request(
            key=self._count, prompt_tokens=len(ask.prompt_ids), output_tokens=len(answer.words), hashes=hashes
        )

    def _dropped(self, connection: Connection) -> None:
        """The client has gone: its sequence leaves the engine."""
        key = self._keys.pop(connection, None)
        if key is None:
            return
        stream, progress = self._streams.pop(key)
        self._engine.abort(progress)
        self._metrics.finish(progress, time.monotonic_ns(), "abort")
        self._log_served(stream, progress)

    def _arm(self) -> None:
        due_ns = self._engine.due_ns()
        if due_ns is not None and due_ns != self._armed_ns:
            self._armed_ns = due_ns
            self._timer.arm(due_ns)

    def _play(self) -> None:
        """Play what is due by now, each at its ideal time. New requests are read in between, even if we are late."""
        self._armed_ns = None
        now_ns = time.monotonic_ns()
        while (due_ns := self._engine.due_ns()) is not None and due_ns <= now_ns:
            at_ns, emissions = self._engine.play()
            for progress, tokens, last in emissions:
                self._emit(progress, at_ns, tokens, last)
        self._arm()

    def _emit(self, progress: Progress, at_ns: int, tokens: int, last: bool) -> None:
        """One event, in one write, with everything that comes before the first or after the last."""
        key = progress.request.key
        stream = self._streams[key][0]
        end = progress.generated
        first = end == tokens
        self._metrics.generation_tokens += tokens
        if first:
            self._metrics.first_token(progress, at_ns)
        else:
            self._metrics.itl.observe((at_ns - stream.last_ns) / 1e9)
        stream.last_ns = at_ns
        if stream.ask.stream:
            data = _event(stream, progress, end - tokens, end, last)
            if self._log is not None:
                stream.due_ns.append(at_ns)
                stream.written_ns.append(time.monotonic_ns())
            stream.connection.send(data)
        if last:
            self._finish(key, stream, progress, at_ns)

    def _finish(self, key: int, stream: Stream, progress: Progress, at_ns: int) -> None:
        del self._streams[key]
        self._keys.pop(stream.connection, None)
        reason = stream.answer.finish_reason
        self._metrics.finish(progress, at_ns, reason)
        if stream.ask.stream:
            stream.connection.end()
        else:
            text = b"".join(stream.texts).decode()
            body = events.whole_answer(stream.identity, text, reason, _usage(progress))
            if self._log is not None:
                stream.due_ns.append(at_ns)
                stream.written_ns.append(time.monotonic_ns())
            stream.connection.respond(200, body)
        self._log_served(stream, progress)

    def _log_served(self, stream: Stream, progress: Progress) -> None:
        if self._log is None:
            return
        line = {
            "request_id": stream.log_id,
            "arrival_ns": progress.arrived_ns,
            "due_ns": stream.due_ns,
            "written_ns": stream.written_ns,
        }
        self._log.write(msgspec.json.encode(line) + b"\n")

    def _models(self, connection: Connection, _request: HttpRequest) -> None:
        model = {
            "id": self._settings.model,
            "object": "model",
            "created": self._started_s,
            "owned_by": "inferometer",
            "root": self._settings.model,
            "parent": None,
            "max_model_len": self._settings.max_model_len,
        }
        connection.respond(200, msgspec.json.encode({"object": "list", "data": [model]}))

    def _tokenize(self, connection: Connection, request: HttpRequest) -> None:
        ids = bodies.read_tokenize(request.body, self._served)
        answer = {
            "count": len(ids),
            "max_model_len": self._settings.max_model_len,
            "tokens": ids,
            "token_strs": None,
        }
        connection.respond(200, msgspec.json.encode(answer))

    def _version(self, connection: Connection, _request: HttpRequest) -> None:
        connection.respond(200, msgspec.json.encode({"version": f"{__version__}+simulator"}))

    def _exposition(self, connection: Connection, _request: HttpRequest) -> None:
        mode = self._settings.mode
        profile = mode if isinstance(mode, Profile) else None
        text = exposition(self._metrics, self._engine.figures(), self._settings.model, profile)
        connection.respond(200, text, b"text/plain; version=0.0.4; charset=utf-8")


def _engine(settings: Settings) -> Playable:
    if isinstance(settings.mode, ExactTimeline):
        return ExactEngine(settings.mode)
    return Engine(settings.mode, settings.seed)


def _usage(progress: Progress) -> dict[str, object]:
    return events.usage(progress.request.prompt_tokens, progress.generated, progress.cached_tokens)


def _event(stream: Stream, progress: Progress, begin: int, end: int, last: bool) -> bytes:
    """The bytes for the tokens from ``begin`` to ``end``: usually one event, more at either end of the stream."""
    ask, parts = stream.ask, stream.parts
    text = stream.texts[begin] if end - begin == 1 else b"".join(stream.texts[begin:end])
    usage = events.usage_field(_usage(progress)) if ask.continuous_usage else b""
    data = events.token_event(parts, text, last, usage)
    if begin == 0 and ask.chat:
        zero = events.usage(progress.request.prompt_tokens, 0, progress.cached_tokens)
        data = events.role_event(parts, events.usage_field(zero) if ask.continuous_usage else b"") + data
    if last:
        data += (events.usage_event(parts, _usage(progress)) if ask.include_usage else b"") + events.DONE
    return data


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; prints one line with the address when ready.

    Raises:
        UserError: if the address cannot be listened on or the log cannot be written.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    log = _open_log(settings.log_served)
    server = Server(settings, loop, log)
    try:
        listener = await loop.create_server(server.connect, settings.host, settings.port, backlog=4096)
    except OSError as error:
        raise UserError(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror}): try --port 0 for a free port"
        ) from error
    # What exists now stays: the collector need not look at it in the middle of a step.
    gc.freeze()
    port = listener.sockets[0].getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    print(f"listening on http://{host}:{port}", flush=True)  # noqa: T201 (the promise to whoever started us)
    await stop.wait()
    listener.close()
    server.close()
    if log is not None:
        log.close()


def _open_log(path: str | None) -> IO[bytes] | None:
    if path is None:
        return None
    try:
        return open(path, "ab", buffering=0)  # noqa: PTH123 (open while the server runs)
    except OSError as error:
        raise UserError(
            f"cannot write {path} ({error.strerror}): give --log-served a file that can be written"
        ) from error


def run(settings: Settings) -> int:
    """Serve in a new event loop (uvloop, where there is one) and return the exit code."""
    try:
        import uvloop

        new_loop: Callable[[], asyncio.AbstractEventLoop] | None = uvloop.new_event_loop
    except ImportError:
        new_loop = None
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(serve(settings))
    return 0
