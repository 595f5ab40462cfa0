"""TGI's ``/generate_stream`` and ``/generate``, as the simulator speaks them: what is asked, and the answer. Pure."""

from __future__ import annotations

import re

import msgspec

from inferometer.simulator import events
from inferometer.simulator.bodies import Ask, Common, Limit, Served, ask_of, decode
from inferometer.simulator.model import Progress
from inferometer.simulator.streams import Dialect, Stream
from inferometer.simulator.tokens import tokenize

#: The default of the API.
_NEW_TOKENS = 100
#: How a text shows a picture.
_PICTURE = re.compile(r"!\[\]\([^)]*\)")
_FINISH_REASONS = {"stop": "eos_token", "length": "length"}


class _Parameters(msgspec.Struct, frozen=True, kw_only=True):
    max_new_tokens: Limit | None = None
    adapter_id: str | None = None
    details: bool = True


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    """POST /generate_stream or /generate, which differ in the path alone."""

    inputs: str
    parameters: _Parameters = _Parameters()


def _read(body: bytes, served: Served) -> Ask:
    return _asked(body, served, stream=True)


def _read_whole(body: bytes, served: Served) -> Ask:
    return _asked(body, served, stream=False)


def _asked(body: bytes, served: Served, *, stream: bool) -> Ask:
    """An adapter is one of the models that are served."""
    asked = decode(body, _Body)
    common = Common(model=asked.parameters.adapter_id, stream=stream)
    limit = asked.parameters.max_new_tokens or _NEW_TOKENS
    return ask_of(common, False, lambda: tokenize(_PICTURE.sub("", asked.inputs)), limit, served)


def _following(stream: Stream, progress: Progress, begin: int, end: int, last: bool) -> bytes:
    """One event for each token, also where several come at once."""
    data = b""
    for index in range(begin, end):
        closes = last and index == end - 1
        data += events.chunk(b"data:" + msgspec.json.encode(_event(stream, progress, index, closes)) + b"\n\n")
    return data + (events.LAST_CHUNK if last else b"")


def _event(stream: Stream, progress: Progress, index: int, last: bool) -> dict[str, object]:
    text = stream.texts[index].decode()
    token = {"id": tokenize(text)[0], "text": text, "logprob": -0.5, "special": False}
    details = {
        "finish_reason": _FINISH_REASONS[stream.answer.finish_reason],
        "generated_tokens": progress.generated,
        "input_length": progress.request.prompt_tokens,
        "seed": None,
    }
    said = b"".join(stream.texts).decode()
    return {
        "index": index + 1,
        "token": token,
        "generated_text": said if last else None,
        "details": details if last else None,
    }


def _whole(stream: Stream, progress: Progress) -> bytes:
    """Without the tokens of the prompt, as servers have it that are not asked for ``decoder_input_details``."""
    details = {
        "finish_reason": _FINISH_REASONS[stream.answer.finish_reason],
        "generated_tokens": progress.generated,
        "seed": None,
        "prefill": [],
        "tokens": [],
    }
    return msgspec.json.encode({"generated_text": b"".join(stream.texts).decode(), "details": details})


DIALECT = Dialect(events.named("tgi-"), _read, _following, _whole)
WHOLE = Dialect(events.named("tgi-"), _read_whole, _following, _whole)
