"""The simulator as a server: plays an engine in real time and speaks vLLM's dialect."""

from __future__ import annotations

import asyncio
import functools
import hmac
import sys
import time
from collections.abc import Callable
from typing import IO, Any

import msgspec

from inferometer import __version__
from inferometer.schedule.timer import Timer
from inferometer.simulator import bodies, events
from inferometer.simulator.blocks import chain_hashes
from inferometer.simulator.bodies import ApiError, Ask, Served
from inferometer.simulator.connection import Connection, HttpRequest, ResetOnAccept
from inferometer.simulator.dialects import DIALECTS
from inferometer.simulator.exact import ExactEngine
from inferometer.simulator.exact import Timeline as ExactTimeline
from inferometer.simulator.faults import Asked, Chooser, Fault, Met
from inferometer.simulator.metrics import Metrics, exposition
from inferometer.simulator.misbehaviour import ALTERED, INSTEAD, Calls, spoiled
from inferometer.simulator.model import Engine, Playable, Profile, Progress, Request
from inferometer.simulator.replicas import ROUTINGS, Replicas
from inferometer.simulator.streams import Stream, new_stream
from inferometer.simulator.tokens import Answer, tokenize, write_answer


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How the simulator is run. ``mode`` is an engine's profile or a timeline; ``log_served`` a path.

    ``model`` is the default, ``other_models`` are served beside it by the same engine. ``replicas`` are engines that
    name themselves in the header ``x-replica``, if there are several; ``routing`` is one of ``replicas.ROUTINGS``.
    """

    host: str
    port: int
    model: str
    mode: Profile | ExactTimeline
    max_model_len: int
    other_models: tuple[str, ...] = ()
    seed: int = 0
    api_key: str | None = None
    log_served: str | None = None
    faults: tuple[Fault, ...] = ()
    replicas: int = 1
    routing: str = "round-robin"
    session_header: str = "x-session-id"


class Server:
    """Holds the engine, its streams and its counters; all of it lives in one event loop."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop, log: IO[bytes] | None = None) -> None:
        self._settings = settings
        self._engine = _engine(settings)
        self._served = Served((settings.model, *settings.other_models), settings.max_model_len)
        self._log = log
        self._metrics = [Metrics(settings.max_model_len) for _ in range(settings.replicas)]
        self._metrics[0].faults = {fault.kind: 0 for fault in settings.faults}
        self._chooser = Chooser(settings.faults, settings.seed) if settings.faults else None
        self._loop = loop
        self._timer = Timer(loop, self._play)
        self._armed_ns: int | None = None
        self._streams: dict[int, tuple[Stream, Progress, Connection]] = {}
        self._keys: dict[Connection, int] = {}
        self._count = 0
        self._started_s = int(time.time())
        self._began_ns = time.monotonic_ns()
        self._routes: dict[bytes, tuple[bytes, Callable[[Connection, HttpRequest], None]]] = {
            **dict.fromkeys(DIALECTS, (b"POST", self._generate)),
            b"/v1/models": (b"GET", self._models),
            b"/tokenize": (b"POST", self._tokenize),
            b"/health": (b"GET", lambda connection, _request: connection.respond(200, b"")),
            b"/version": (b"GET", self._version),
            b"/metrics": (b"GET", self._exposition),
        }

    def connect(self) -> asyncio.Protocol:
        """The protocol of a new connection."""
        if self._chooser is not None:
            met = self._chooser.connection(self._age_s())
            if met is not None:
                self.count_fault(met.fault.kind)
                return ResetOnAccept()
        return Connection(self._serve, self._dropped)

    def close(self) -> None:
        """Stop playing and drop every client in the middle of an answer."""
        self._timer.close()
        for connection in list(self._keys):
            connection.close()

    def count_fault(self, kind: str) -> None:
        """Count a fault that strikes, for /metrics."""
        self._metrics[0].faults[kind] += 1

    def limit_cache(self, num_blocks: int | None, share: float | None) -> None:
        """Leave the engine so many blocks (or such a share) of its KV cache, or with two None all of them again."""
        mode = self._settings.mode
        if isinstance(self._engine, Engine | Replicas) and isinstance(mode, Profile):
            self._engine.limit_cache(max(1, round(share * mode.num_gpu_blocks)) if share else num_blocks)

    def _age_s(self) -> float:
        return (time.monotonic_ns() - self._began_ns) / 1e9

    def _serve(self, connection: Connection, request: HttpRequest) -> None:
        if self._chooser is not None:
            asked = self._asked(request)
            met = self._chooser.request(asked, self._age_s())
            if met is not None:
                return self._misbehave(connection, request, asked, met)
        return self._answer(connection, request)

    def _asked(self, request: HttpRequest) -> Asked:
        path = request.path.decode("latin-1")
        dialect = DIALECTS.get(request.path)
        if dialect is None or request.method != b"POST":
            return Asked(path)
        hint = bodies.hint(request.body)
        streams = bool(hint.stream) and dialect.head is events.STREAM_HEAD
        return Asked(path, True, hint.model or self._settings.model, streams)

    def _misbehave(self, connection: Connection, request: HttpRequest, asked: Asked, met: Met) -> None:
        """Do what the fault says in place of the answer, or see to it that the answer goes wrong."""
        fault = met.fault
        if asked.generates and fault.kind not in INSTEAD:
            return self._answer(connection, msgspec.structs.replace(request, fault=fault))
        self.count_fault(fault.kind)
        if asked.generates:
            log_id = request.headers.get(b"x-request-id", b"").decode("latin-1")
            line = {"request_id": log_id, "arrival_ns": request.arrived_ns, "due_ns": [], "written_ns": []}
            self._write_log(line, fault.kind)
        if fault.kind in INSTEAD:
            return INSTEAD[fault.kind](connection, asked, met)
        self._loop.call_later(fault.delay_ms / 1000, self._answer, connection, request)
        return None

    def _answer(self, connection: Connection, request: HttpRequest) -> None:
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
        sent = request.headers.get(b"authorization", b"Bearer " + request.headers.get(b"x-api-key", b""))
        if not hmac.compare_digest(sent, b"Bearer " + key.encode()):
            raise ApiError(401, "Unauthorized: the bearer key is missing or wrong.", "AuthenticationError")

    def _generate(self, connection: Connection, request: HttpRequest) -> None:
        dialect, fault = DIALECTS[request.path], request.fault
        shape, ask = dialect.shape, dialect.read(request.body, self._served)
        answer = write_answer(ask.prompt_ids, self._settings.seed, ask.max_tokens, ask.min_tokens, ask.ignore_eos)
        self._count += 1
        request_id = f"{shape.id_prefix}{self._started_s:x}{self._count:08x}"
        log_id = request.headers.get(b"x-request-id", request_id.encode()).decode("latin-1")
        written = (ask, answer)
        if fault is not None and fault.kind in ALTERED:
            ask, answer = ALTERED[fault.kind](fault, ask, answer)
        identity = events.Identity(shape, request_id, int(time.time()), ask.model)
        stream = new_stream(connection, dialect, (ask, answer), identity, log_id)
        progress = self._engine.submit(self._engine_request(request, ask, answer), request.arrived_ns)
        self._streams[self._count] = (stream, progress, connection)
        self._keys[connection] = self._count
        if fault is not None:
            self._spoil(connection, stream, progress, fault, (ask, answer) != written)
        if ask.stream:
            stream.wire.send(self._stream_head(stream, progress))
        self._arm()

    def _spoil(self, connection: Connection, stream: Stream, progress: Progress, fault: Fault, altered: bool) -> None:
        """Let an answer go wrong on its way, unless what is wrong is in it already."""
        struck = functools.partial(self._struck, stream, progress, fault.kind)
        if fault.kind not in ALTERED:
            calls = Calls(struck, functools.partial(self._dropped, connection))
            stream.wire = spoiled(connection, fault, progress, calls)
        elif altered:
            struck()

    def _struck(self, stream: Stream, progress: Progress, kind: str) -> None:
        """A fault strikes an answer under way. If this ends the process, now is the time to write it down."""
        stream.fault = kind
        self.count_fault(kind)
        if kind == "die":
            self._log_served(stream, progress)

    def _replica_header(self, progress: Progress) -> bytes:
        return b"x-replica: replica-%d\r\n" % progress.replica if self._settings.replicas > 1 else b""

    def _stream_head(self, stream: Stream, progress: Progress) -> bytes:
        head, more = stream.dialect.head, self._replica_header(progress)
        return head[:-2] + more + b"\r\n" if more else head

    def _engine_request(self, request: HttpRequest, ask: Ask, answer: Answer) -> Request:
        """The answer is hashed with the prompt: the next turn of a conversation finds both in the cache."""
        hashes: tuple[bytes, ...] = ()
        if isinstance(self._settings.mode, Profile):
            ids = ask.prompt_ids + tokenize(" ".join(answer.words))
            hashes = chain_hashes(ids, self._settings.mode.block_tokens)
        return Request(
            key=self._count,
            prompt_tokens=len(ask.prompt_ids),
            output_tokens=len(answer.words),
            hashes=hashes,
            session=request.headers.get(self._settings.session_header.encode()),
        )

    def _dropped(self, connection: Connection) -> None:
        """The client has gone: its sequence leaves the engine."""
        key = self._keys.pop(connection, None)
        if key is None:
            return
        stream, progress, _ = self._streams.pop(key)
        self._engine.abort(progress)
        self._metrics[progress.replica].finish(progress, time.monotonic_ns(), "abort")
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
        metrics = self._metrics[progress.replica]
        metrics.generation_tokens += tokens
        if first:
            metrics.first_token(progress, at_ns)
        else:
            metrics.itl.observe((at_ns - stream.last_ns) / 1e9)
        stream.last_ns = at_ns
        if stream.ask.stream:
            data = stream.dialect.following(stream, progress, end - tokens, end, last)
            if self._log is not None:
                stream.due_ns.append(at_ns)
                stream.written_ns.append(time.monotonic_ns())
            stream.wire.send(data)
        if last:
            self._finish(key, progress, at_ns)

    def _finish(self, key: int, progress: Progress, at_ns: int) -> None:
        entry = self._streams.pop(key, None)
        if entry is None:  # it went wrong at its last token
            return
        stream, _, connection = entry
        self._keys.pop(connection, None)
        self._metrics[progress.replica].finish(progress, at_ns, stream.answer.finish_reason)
        if stream.ask.stream:
            stream.wire.end()
        else:
            body = stream.dialect.whole(stream, progress)
            if self._log is not None:
                stream.due_ns.append(at_ns)
                stream.written_ns.append(time.monotonic_ns())
            if stream.wire is connection:
                connection.respond(200, body, headers=self._replica_header(progress))
            else:
                stream.wire.respond(200, body)
        self._log_served(stream, progress)

    def _log_served(self, stream: Stream, progress: Progress) -> None:
        line = {"request_id": stream.log_id, "arrival_ns": progress.arrived_ns}
        self._write_log(line | {"due_ns": stream.due_ns, "written_ns": stream.written_ns}, stream.fault)

    def _write_log(self, line: dict[str, Any], fault: str | None) -> None:
        if self._log is None:
            return
        try:
            self._log.write(msgspec.json.encode(line | ({"fault": fault} if fault else {})) + b"\n")
        except OSError as error:  # a full disk costs the log, not the answers that are under way
            self._log = None
            print(f"nothing more is logged of what is served: {error.strerror}", file=sys.stderr)  # noqa: T201

    def _models(self, connection: Connection, _request: HttpRequest) -> None:
        models = [
            {
                "id": name,
                "object": "model",
                "created": self._started_s,
                "owned_by": "inferometer",
                "root": name,
                "parent": None,
                "max_model_len": self._settings.max_model_len,
            }
            for name in self._served.models
        ]
        connection.respond(200, msgspec.json.encode({"object": "list", "data": models}))

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
        engines = self._engine.engines if isinstance(self._engine, Replicas) else [self._engine]
        told = [(metrics, engine.figures()) for metrics, engine in zip(self._metrics, engines, strict=True)]
        text = exposition(*told[0], self._settings.model, profile, told[1:])
        connection.respond(200, text, b"text/plain; version=0.0.4; charset=utf-8")


def _engine(settings: Settings) -> Playable:
    engines = [_replica(settings, number) for number in range(settings.replicas)]
    return engines[0] if len(engines) == 1 else Replicas(engines, ROUTINGS[settings.routing](settings.seed))


def _replica(settings: Settings, number: int) -> Playable:
    if isinstance(settings.mode, ExactTimeline):
        return ExactEngine(settings.mode)
    return Engine(settings.mode, settings.seed + number)
