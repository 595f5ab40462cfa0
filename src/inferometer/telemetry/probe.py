"""What must be asked of a server before a run: is it alive, which models, one answer, one stream."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, NamedTuple, TypeVar

import msgspec

from inferometer.client.answers import merged
from inferometer.client.apis import APIS, Answer, Api, spoken
from inferometer.config.models import Target
from inferometer.errors import UserError
from inferometer.telemetry import ask
from inferometer.workload.asks import Ask
from inferometer.workload.tokens import FIRST_ID, Messages, Prompt

T = TypeVar("T")

#: APIs of which a whole answer is asked for; the others are asked as in a run.
_WHOLE = ("openai-chat", "openai-completions")

#: Health and the list of models need no model: they answer at once or not at all.
QUICK_S = 30.0


class ModelInfo(NamedTuple):
    """One served model. ``max_model_len`` is in tokens per request; ``None``: not told."""

    id: str
    max_model_len: int | None
    n_vocab: int | None


class Completion(NamedTuple):
    """One whole answer; ``seconds`` from the request to its last byte. Token counts are ``None`` where not told."""

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None
    model: str | None
    seconds: float


class Stream(NamedTuple):
    """One streamed answer. ``token_s``: when each token event was read. Seconds count from the request."""

    answer: Answer
    token_s: list[float]
    seconds: float
    cut: str | None


class _Meta(msgspec.Struct):
    n_vocab: int | None = None
    n_ctx: int | None = None


class _Model(msgspec.Struct):
    id: str
    max_model_len: int | None = None
    meta: _Meta | None = None


class _Models(msgspec.Struct):
    data: list[_Model] | None


class _Message(msgspec.Struct):
    content: Any = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(msgspec.Struct):
    text: str | None = None
    message: _Message | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    model: str | None = None
    usage: _Usage | None = None


def url(target: Target, path: str) -> str:
    """The full URL of a path such as ``/v1/models``; see ``ask.url``."""
    return ask.url(target, path)


def health(target: Target) -> float:
    """Ask ``/health``; the seconds that its answer took.

    Raises:
        RefusedError: the server answers, but not with 200 (Ollama and hosted APIs have no such path).
        UnreachableError: it does not answer.
    """
    reply = ask.fetch(target, "/health", limit_s=QUICK_S)
    ask.refuse(target, reply)
    return reply.seconds


def models(target: Target) -> list[ModelInfo]:
    """The models that the server serves, in its order; empty if it lists none.

    Raises:
        UserError: no list of models came; the sentence says why and what to try.
    """
    reply = ask.fetch(target, "/v1/models", limit_s=QUICK_S)
    content = ask.decoded(target, reply)
    listed = {"data": content} if isinstance(content, list) else content  # some hosted APIs leave the envelope out
    return [_info(model) for model in _convert(listed, _Models, reply, "a list of models").data or ()]


def _info(model: _Model) -> ModelInfo:
    # vLLM tells max_model_len; llama.cpp tells the context of one slot and the vocabulary in meta.
    meta = model.meta or _Meta()
    return ModelInfo(model.id, model.max_model_len or meta.n_ctx, meta.n_vocab)


def complete(target: Target, prompt: Prompt | Messages, max_tokens: int = 50) -> Completion:
    """One answer of at most ``max_tokens`` tokens, not streamed where the API is OpenAI's chat or completions.

    Args:
        target: without a model, the first one that the server lists is asked.
        prompt: text, token ids or messages; OpenAI's chat takes no ids, and its completions no messages.
        max_tokens: limit of output tokens.

    Raises:
        UserError: no completion came; the sentence says why and what to try.
        ValueError: the target's API cannot take such a prompt.
    """
    named = with_model(target)
    if named.api not in _WHOLE:
        return _complete_by_stream(named, prompt, max_tokens)
    reply = _post(named, {**_body(named, prompt), "max_tokens": max_tokens}, path(named))
    content = _convert(ask.decoded(named, reply), _Answer, reply, "a completion")
    if not content.choices:
        raise UserError(f"{ask.shown(reply.url)} answers with an empty list of choices; does the model generate text?")
    usage = content.usage or _Usage()
    return Completion(
        _text(content.choices[0]), usage.prompt_tokens, usage.completion_tokens, content.model, reply.seconds
    )


def stream(target: Target, prompt: str, max_tokens: int = 50, *, streamed: bool = True) -> Stream:
    """One answer, asked for and read as in a run, but timed by hand: a check, not a measurement.

    Not ``streamed``: it comes at once, as one token event.

    Raises:
        UserError: no such answer came; the sentence says why and what to try.
    """
    named, api = with_model(target), spoken(target.api, stream=streamed)
    reply = _ask(named, api, prompt, max_tokens)
    answer, ends = _read(named, api, reply)
    return Stream(answer, _token_s(reply, ends), reply.seconds, reply.cut)


def _complete_by_stream(target: Target, prompt: Prompt | Messages, max_tokens: int) -> Completion:
    """The answer as a run will ask for it: what other APIs tell of it, they tell in their streams."""
    api = APIS[target.api]
    reply = _ask(target, api, prompt, max_tokens)
    if not api.split(reply.body).data:
        api = spoken(target.api, stream=False)  # some servers know no streams
    answer, _ = _read(target, api, reply)
    if answer.error is not None or answer.malformed is not None:
        raise UserError(f"{ask.shown(reply.url)} answers with an error: {answer.error or answer.malformed}")
    text = api.text(api.split(reply.body).data)
    return Completion(text, answer.prompt_tokens, answer.output_tokens, answer.model, reply.seconds)


def _ask(target: Target, api: Api, prompt: Prompt | Messages, max_tokens: int) -> ask.Reply:
    if api.needs_ids and isinstance(prompt, str):
        prompt = [FIRST_ID + number for number in range(len(prompt.split()))]  # any will do, one for each word
    body = api.write(str(target.model), Ask(prompt, None, max_tokens))
    if target.models and api.adapter is not None:
        body = merged(body, api.adapter(str(target.model)))
    reply = _post(target, body, target.endpoint or api.path)
    ask.refuse(target, reply)
    return reply


def _read(target: Target, api: Api, reply: ask.Reply) -> tuple[Answer, list[int]]:
    """What an answer says, and where its token events end in the body."""
    events = api.split(reply.body)
    if not events.data and not api.streams:
        ask.decoded(target, reply)
        raise UserError(f"{ask.shown(reply.url)} does not answer with one JSON object: leave --disable-stream out")
    if not events.data and "text/event-stream" not in reply.content_type:
        ask.decoded(target, reply)  # says so if it is not even JSON
        raise UserError(
            f"{ask.shown(reply.url)} does not stream: it answers with one JSON body; --disable-stream measures that"
        )
    answer = api.read(events.data, events.names)
    answer.error, answer.malformed = (
        None if said is None else ask.masked(target, said) for said in (answer.error, answer.malformed)
    )
    return answer, [int(events.ends[position]) for position in answer.token_events]


def _token_s(reply: ask.Reply, ends: list[int]) -> list[float]:
    """When the event that ends at each offset was complete: at the first read that reached so far."""
    sizes = [size for size, _ in reply.reads]
    return [reply.reads[min(bisect_left(sizes, end), len(sizes) - 1)][1] for end in ends]


def with_model(target: Target) -> Target:
    """The target itself if it names a model, else a copy with the first model that the server lists.

    Raises:
        UserError: the server lists none, or cannot be asked.
    """
    if target.model:
        return target
    served = models(target)
    if not served:
        raise UserError(f"{ask.shown(url(target, '/v1/models'))} lists no model: load one, or name the model to use")
    return target.model_copy(update={"model": served[0].id})


def _body(target: Target, prompt: Prompt | Messages) -> dict[str, Any]:
    is_messages = isinstance(prompt, list) and bool(prompt) and isinstance(prompt[0], dict)
    if target.api == "openai-completions" and not is_messages:
        return {"model": target.model, "prompt": prompt}
    if target.api == "openai-chat" and (is_messages or isinstance(prompt, str)):
        messages = prompt if is_messages else [{"role": "user", "content": prompt}]
        return {"model": target.model, "messages": messages}
    raise ValueError(f"the API {target.api} takes no prompt of {'messages' if is_messages else 'token ids'}")


def path(target: Target) -> str:
    """Path of the target's API: its own endpoint, or the usual one."""
    return target.endpoint or APIS[target.api].path


def _post(target: Target, body: dict[str, Any], at: str) -> ask.Reply:
    told = {name.lower() for name in target.headers}
    own = {name: value for name, value in APIS[target.api].headers.items() if name not in told}
    reply = ask.fetch(target.model_copy(update={"headers": own | target.headers}), at, body)
    try:
        ask.refuse(target, reply)
    except ask.RefusedError as error:
        if _is_about_model(error, target) and (sentence := _unknown_model(target)):
            raise ask.RefusedError(sentence, error.status, error.said) from error
        raise
    return reply


def _is_about_model(error: ask.RefusedError, target: Target) -> bool:
    """Servers say it with 400, 404 or 422 and in many words, but all of them repeat the name."""
    about = error.said.lower()
    return error.status in (400, 404, 422) and "model" in about and str(target.model).lower() in about


def _unknown_model(target: Target) -> str | None:
    try:
        names = [model.id for model in models(target)]
    except UserError:
        names = []
    if target.model in names:
        return None
    more = " ..." if len(names) > 10 else ""
    served = f"it serves {ask.plain(', '.join(names[:10]))}{more}" if names else "and it does not tell which it serves"
    return f"the server does not know the model {target.model!r}: {served}"


def _text(choice: _Choice) -> str:
    message = choice.message or _Message()
    content = message.content if isinstance(message.content, str) else ""
    return choice.text or content or message.reasoning_content or message.reasoning or ""


def _convert(content: Any, kind: type[T], reply: ask.Reply, what: str) -> T:
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise UserError(
            f"the answer of {ask.shown(reply.url)} is not {what} ({error}); is that an OpenAI-like server?"
        ) from error
