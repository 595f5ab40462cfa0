"""``inferometer check``: can this endpoint be benchmarked? A tick, a cross or a warning for each thing needed."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterator
from itertools import pairwise
from statistics import median
from typing import Literal, NamedTuple

from pydantic import ValidationError

from inferometer.client.apis import APIS
from inferometer.config.models import Target, Timeouts
from inferometer.errors import UserError
from inferometer.telemetry import ask, probe

OUTPUT_TOKENS = 50
SAMPLE_CHARACTERS = 500

#: 5,000 tokens per second in one stream: no engine decodes so fast, but a buffer hands events out faster.
BURST_GAP_S = 0.0002

#: Name of the backend -> APIs to try, in this order.
BACKENDS: dict[str | None, tuple[str, ...]] = {
    None: ("openai-completions", "openai-chat"),
    "openai": ("openai-completions",),
} | {api: (api,) for api in APIS if api != "openai-completions"}

#: Chat models answer a question; a model that only continues a text needs one that goes on.
QUESTION = "Name three colours of the rainbow and say what each reminds you of."
BEGINNING = "Once upon a time, in a small town by the sea, there was an old lighthouse keeper who"
#: APIs that continue a text.
CONTINUING = ("openai-completions", "ollama-generate", "tgi", "vllm-generate")

#: What a server may answer when it has no such route, or has it for other models than this one.
NOT_THIS_ROUTE = (400, 404, 405, 422, 501)

Sign = Literal["good", "warning", "bad", "none"]

#: Sign -> (as a character, in ASCII, ANSI colour).
SIGNS: dict[Sign, tuple[str, str, str]] = {
    "good": ("✓", "+", "32"),
    "warning": ("⚠", "!", "33"),
    "bad": ("✗", "x", "31"),
    "none": (" ", " ", "0"),
}


class Row(NamedTuple):
    """One line of the table."""

    sign: Sign
    name: str
    reason: str


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of the command."""
    parser.add_argument("url", metavar="URL", help="http(s)://HOST:PORT of the server, with or without /v1")
    parser.add_argument("model", metavar="MODEL", nargs="?", help="model to ask; the first of /v1/models if not given")
    parser.add_argument(
        "--api-key-env", metavar="NAME", default="OPENAI_API_KEY", help="variable that holds the key (OPENAI_API_KEY)"
    )
    parser.add_argument(
        "--backend", choices=[name for name in BACKENDS if name], help="API to ask; default: completions, then chat"
    )
    parser.add_argument(
        "--header",
        metavar="K=V",
        type=_header,
        action="append",
        default=[],
        help="one more HTTP header; may be repeated",
    )
    parser.add_argument("--insecure", action="store_true", help="do not check the server's certificate")
    parser.add_argument(
        "--timeout", metavar="S", type=_seconds, default=60.0, help="seconds to wait for each answer (default 60)"
    )


def _header(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not (name and separator):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 86400 seconds")
    return value


def run(args: argparse.Namespace) -> int:
    """Print the table; 0 when the endpoint can be benchmarked, else 1."""
    target = _target(args)
    signs = []
    for row in checks(target, BACKENDS[args.backend]):
        print(render(row, *_terminal()), flush=True)
        signs.append(row.sign)
    return 1 if "bad" in signs else 0


def _target(args: argparse.Namespace) -> Target:
    try:
        return Target(
            base_url=args.url,
            model=args.model,
            api_key_env=args.api_key_env,
            headers=dict(args.header),
            verify_tls=not args.insecure,
            timeouts=Timeouts(connect_s=min(args.timeout, 10.0), first_token_s=args.timeout, total_s=args.timeout),
        )
    except ValidationError as error:  # its own text would show the secret that it refuses
        first = error.errors(include_input=False, include_url=False)[0]
        raise UserError(first["msg"].removeprefix("Value error, ")) from None


def _terminal() -> tuple[bool, bool]:
    """Whether stdout shows colours, and whether it knows more than ASCII."""
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return colour, (sys.stdout.encoding or "").lower().startswith("utf")


def render(row: Row, colour: bool, unicode: bool) -> str:
    """A row as a line of the table."""
    character, ascii_character, code = SIGNS[row.sign]
    sign = character if unicode else ascii_character
    painted = f"\x1b[{code}m{sign}\x1b[0m" if colour else sign
    return f"{painted} {row.name:<10}  {row.reason}"


def checks(target: Target, apis: tuple[str, ...]) -> Iterator[Row]:
    """Ask one thing after the other; the rows end early when nothing further could be asked."""
    health = _health(target)
    yield health
    if health.sign == "bad":
        return
    served, row = _models(target)
    yield row
    if not (target.model or served):
        return
    named = target if target.model else target.model_copy(update={"model": served[0].id})
    yield _model(named, served, row.sign == "good")
    chosen, row, answer = _completion(named, apis)
    yield row
    if answer is None:
        return
    streamed = _stream(chosen)
    yield streamed
    yield Row("none", "answer", ask.plain(answer.text)[:SAMPLE_CHARACTERS] or "(no text)")
    if streamed.sign != "bad":
        yield Row("none", "next", _command(chosen))


def _health(target: Target) -> Row:
    try:
        seconds = probe.health(target)
    except ask.RefusedError as error:
        return Row("warning", "health", f"/health answers {error.status}; not every server has it")
    except ask.UnreachableError as error:
        return Row("bad", "server", str(error))
    except UserError as error:
        return Row("warning", "health", str(error))
    return Row("good", "health", f"/health answers 200 in {_duration(seconds)}")


def _models(target: Target) -> tuple[list[probe.ModelInfo], Row]:
    try:
        served = probe.models(target)
    except UserError as error:
        return [], Row("warning" if target.model else "bad", "models", str(error))
    if served:
        names = ", ".join(model.id for model in served[:5]) + (" ..." if len(served) > 5 else "")
        return served, Row("good", "models", f"{len(served)} served: {ask.plain(names)}")
    sign: Sign = "warning" if target.model else "bad"
    return [], Row(sign, "models", "/v1/models lists no model: load one, or name the model to ask")


def _model(target: Target, served: list[probe.ModelInfo], listed: bool) -> Row:
    name = ask.plain(str(target.model))
    found = next((model for model in served if model.id == target.model), None)
    if found is None:
        why = "is not in that list; it may still answer" if listed else "cannot be looked up; it may still answer"
        return Row("warning", "model", f"{name} {why}")
    length = f"{found.max_model_len} tokens" if found.max_model_len else "not told"
    return Row("good", "model", f"{name}, max_model_len {length}")


def _completion(target: Target, apis: tuple[str, ...]) -> tuple[Target, Row, probe.Completion | None]:
    """The first API that answers; a route that is absent, or is not for this model, leads to the next one."""
    reasons = []
    for api in apis:
        chosen = target.model_copy(update={"api": api})
        try:
            answer = probe.complete(chosen, _prompt(api), OUTPUT_TOKENS)
        except ask.RefusedError as error:
            reasons.append(str(error))
            if error.status in NOT_THIS_ROUTE:
                continue
            break
        except UserError as error:
            reasons.append(str(error))
            break
        return chosen, _completed(chosen, answer, fell_back=bool(reasons)), answer
    return target, Row("bad", "completion", "; ".join(dict.fromkeys(reasons))), None


def _completed(target: Target, answer: probe.Completion, fell_back: bool) -> Row:
    facts = [f"{probe.path(target)} answers in {_duration(answer.seconds)}"]
    if fell_back:
        facts[0] += " (the completions route does not serve this model)"
    if answer.completion_tokens is None:
        return Row("warning", "completion", f"{facts[0]}, without usage: the server does not tell token counts")
    prompt_tokens, output_tokens = answer.prompt_tokens or 0, answer.completion_tokens
    facts.append(f"{output_tokens} tokens, {output_tokens / max(answer.seconds, 1e-9):.1f} tokens/s")
    facts.append(f"prompt {prompt_tokens} tokens, total {prompt_tokens + output_tokens}")
    told = ", ".join(facts)
    if answer.model and answer.model != target.model:
        return Row("warning", "completion", f"{told}; but the model that answered is {ask.plain(answer.model)}")
    return Row("good", "completion", told)


def _prompt(api: str) -> str:
    return BEGINNING if api in CONTINUING else QUESTION


def _stream(target: Target) -> Row:
    try:
        told = probe.stream(target, _prompt(target.api), OUTPUT_TOKENS)
    except UserError as error:
        return Row("bad", "stream", str(error))
    faults = _faults(told)
    doubts = _doubts(told)
    facts = [f"first token after {_duration(told.token_s[0])}"] if told.token_s else []
    facts.append(f"{len(told.token_s)} token events in {_duration(told.seconds)}")
    if told.answer.output_tokens is not None:
        facts.append(f"usage told ({told.answer.output_tokens} tokens)")
    facts += ["clean end"] if not faults and told.answer.done else []
    sign: Sign = "bad" if faults else "warning" if doubts else "good"
    return Row(sign, "stream", "; ".join([", ".join(facts), *faults, *doubts]))


def _faults(told: probe.Stream) -> list[str]:
    """What makes a stream unfit to be measured."""
    faults = []
    if told.answer.error:
        faults.append(f"the stream holds an error: {ask.plain(told.answer.error)}")
    if told.answer.malformed:
        faults.append(f"an event is not as it should be: {ask.plain(told.answer.malformed)}")
    if told.cut:
        faults.append(f"cut off: {told.cut}")
    if not told.token_s and not faults:
        faults.append("no event carries text")
    return faults


def _doubts(told: probe.Stream) -> list[str]:
    """What can be lived with, but should be known."""
    doubts = []
    if told.answer.output_tokens is None:
        doubts.append("usage not told: tokens would have to be counted in another way")
    if not told.answer.done and not told.cut:
        doubts.append("it ends without [DONE]")
    if is_burst(told.token_s):
        doubts.append("all events came at once: something holds the stream back, so no time to first token is true")
    return doubts


def is_burst(token_s: list[float]) -> bool:
    """Whether most events came at once, from a buffer, instead of one by one as they were decoded (times in s)."""
    gaps = [after - before for before, after in pairwise(token_s)]
    return len(gaps) >= 3 and median(gaps) < BURST_GAP_S


def _command(target: Target) -> str:
    backend = next(name for name, apis in BACKENDS.items() if name and target.api in apis)
    base_url, model = shlex.quote(ask.shown(target.base_url)), shlex.quote(ask.plain(str(target.model)))
    return f"inferometer run --base-url {base_url} --model {model} --backend {backend}"


def _duration(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
