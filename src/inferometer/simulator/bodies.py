"""Request bodies: what may be asked, and the errors that vLLM answers when it may not. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from inferometer.simulator.tokens import tokenize, tokenize_chat

TokenId = Annotated[int, Meta(ge=0, lt=2**32)]
Limit = Annotated[int, Meta(ge=1)]
#: The default of the completions API.
COMPLETION_TOKENS = 16


class ApiError(Exception):
    """An answer with an OpenAI error object."""

    def __init__(self, status: int, message: str, kind: str = "BadRequestError", param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": status}})


class Part(msgspec.Struct, frozen=True):
    """A piece of a message; only text counts."""

    type: str
    text: str = ""


class Message(msgspec.Struct, frozen=True):
    """One message of a chat."""

    role: str
    content: str | list[Part] | None = None


class StreamOptions(msgspec.Struct, frozen=True):
    """When usage is sent in a stream."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class Common(msgspec.Struct, frozen=True, kw_only=True):
    """What both generation APIs understand; other fields are accepted and ignored."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Limit | None = None
    min_tokens: Annotated[int, Meta(ge=0)] = 0
    ignore_eos: bool = False
    n: int | None = None


class ChatBody(Common, frozen=True, kw_only=True):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: Limit | None = None
    reasoning_effort: str | None = None


class CompletionBody(Common, frozen=True, kw_only=True):
    """POST /v1/completions."""

    prompt: str | list[TokenId | str | list[TokenId]]


class TokenizeBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /tokenize: a prompt or messages."""

    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = None


class Served(msgspec.Struct, frozen=True):
    """The models behind the API (the first is meant where none is named), and their limit.

    ``max_model_len``: the tokens that a prompt and its answer may have together.
    """

    models: tuple[str, ...]
    max_model_len: int


class Hint(msgspec.Struct, frozen=True):
    """What can be told of a generation request before it is checked."""

    model: str | None = None
    stream: bool | None = None


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A generation request that can be served. ``model`` is the name that the answer carries.

    ``reasoning_share`` of the answer is reasoning, and comes first.
    """

    model: str
    chat: bool
    stream: bool
    include_usage: bool
    continuous_usage: bool
    prompt_ids: list[int]
    max_tokens: int
    min_tokens: int
    ignore_eos: bool
    reasoning_share: float = 0.0


#: Efforts of reasoning models -> how much of an answer is reasoning. All others mean none.
EFFORTS: dict[str | None, float] = {"low": 0.25, "medium": 0.5, "high": 0.75}

Body = TypeVar("Body", bound=msgspec.Struct)


def decode(body: bytes, kind: type[Body]) -> Body:
    """Decode a JSON body.

    Raises:
        ApiError: 400, if it is not JSON or a field is wrong.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        where = re.search(r"`\$\.?([^`]*)`$", str(error))
        raise ApiError(400, f"1 validation error: {error}", "Bad Request", where.group(1) if where else None) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(400, f"1 validation error: JSON decode error: {error}", "Bad Request", "body") from None


def hint(body: bytes) -> Hint:
    """What a body says of model and stream; nothing if it cannot be read."""
    try:
        return msgspec.json.decode(body, type=Hint)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Hint()


def read_chat(body: bytes, served: Served) -> Ask:
    """A chat request, checked.

    Raises:
        ApiError: 400 for a wrong body or one too long for the model, 404 for another model.
    """
    asked = decode(body, ChatBody)
    limit = asked.max_completion_tokens or asked.max_tokens
    share = EFFORTS.get(asked.reasoning_effort, 0.0)
    return reasoning(ask_of(asked, True, lambda: chat_ids(asked.messages), limit, served), share)


def read_completion(body: bytes, served: Served) -> Ask:
    """A completion request, checked; raises as ``read_chat``."""
    asked = decode(body, CompletionBody)
    limit = asked.max_tokens or COMPLETION_TOKENS
    return ask_of(asked, False, lambda: prompt_ids(asked.prompt), limit, served)


def read_tokenize(body: bytes, served: Served) -> list[int]:
    """Token ids of a text or a chat; raises as ``read_chat``."""
    asked = decode(body, TokenizeBody)
    _model(asked.model, served.models)
    if asked.messages is not None:
        return chat_ids(asked.messages)
    if asked.prompt is None:
        raise ApiError(400, "give a prompt or messages", param="prompt")
    return tokenize(asked.prompt)


def ask_of(asked: Common, chat: bool, ids: Callable[[], list[int]], limit: int | None, served: Served) -> Ask:
    """What is asked for, checked; raises as ``read_chat``. ``ids`` are made once everything else is right."""
    model = _model(asked.model, served.models)
    if asked.n not in (None, 1):
        raise ApiError(400, f"this simulator answers with one choice; n is {asked.n}", param="n")
    if asked.stream_options is not None and not asked.stream:
        raise ApiError(400, "Stream options can only be defined when `stream=True`.", param="stream_options")
    found = ids()
    options = asked.stream_options or StreamOptions()
    return Ask(
        model=model,
        chat=chat,
        stream=bool(asked.stream),
        include_usage=bool(options.include_usage),
        continuous_usage=bool(options.include_usage and options.continuous_usage_stats),
        prompt_ids=found,
        max_tokens=_room(len(found), limit, served.max_model_len),
        min_tokens=asked.min_tokens,
        ignore_eos=asked.ignore_eos,
    )


def reasoning(ask: Ask, share: float) -> Ask:
    """The same request, with a share of reasoning in its answer."""
    return msgspec.structs.replace(ask, reasoning_share=share) if share else ask


def _model(asked: str | None, models: tuple[str, ...]) -> str:
    """The model that is meant."""
    if asked is None:
        return models[0]
    if asked not in models:
        message = f"The model `{asked}` does not exist. Valid aliases: {', '.join(models)}."
        raise ApiError(404, message, "NotFoundError", "model")
    return asked


def _room(prompt_tokens: int, limit: int | None, max_model_len: int) -> int:
    """Output tokens that are asked for and fit."""
    start = f"This model's maximum context length is {max_model_len} tokens. However, "
    if prompt_tokens == 0:
        raise ApiError(400, "The decoder prompt cannot be empty.", param="prompt")
    if prompt_tokens >= max_model_len:
        raise ApiError(400, f"{start}your prompt contains {prompt_tokens} input tokens.", param="input_tokens")
    room = max_model_len - prompt_tokens
    if limit is not None and limit > room:
        asked = f"you requested {limit} output tokens and your prompt contains {prompt_tokens} input tokens."
        raise ApiError(400, f"{start}{asked} Please reduce one of them.", param="max_tokens")
    return limit or room


def chat_ids(messages: list[Message]) -> list[int]:
    """Token ids of a chat."""
    return tokenize_chat([(message.role, _text(message.content)) for message in messages])


def _text(content: str | list[Part] | None) -> str:
    if isinstance(content, list):
        return "\n".join(part.text for part in content)
    return content or ""


def prompt_ids(prompt: str | list[Any]) -> list[int]:
    """A text, token ids, or a list of one of these; several prompts at once are refused."""
    if isinstance(prompt, str):
        return tokenize(prompt)
    if all(type(item) is int for item in prompt):
        return prompt
    if len(prompt) == 1:
        return tokenize(prompt[0]) if isinstance(prompt[0], str) else prompt[0]
    raise ApiError(400, "this simulator takes one prompt per request", param="prompt")
