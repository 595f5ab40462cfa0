"""Prompts in the forms that APIs take them: one text, messages, messages with pictures. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from typing_extensions import TypeIs

from inferometer.workload.asks import Ask
from inferometer.workload.tokens import Messages, Prompt

#: (the content of a message, pictures as data URLs) -> its content with both.
Illustrate = Callable[[Any, tuple[str, ...]], Any]


def is_messages(prompt: Prompt | Messages) -> TypeIs[Messages]:
    """Is it a conversation, and not a text or token ids?"""
    return isinstance(prompt, list) and bool(prompt) and isinstance(prompt[0], dict)


def messages_of(ask: Ask, illustrate: Illustrate) -> Messages:
    """The prompt as a conversation; pictures go with its last message."""
    prompt = ask.prompt
    messages: Messages = prompt if is_messages(prompt) else [{"role": "user", "content": prompt}]
    if not ask.images:
        return messages
    *before, last = messages
    return [*before, last | illustrate(last["content"], ask.images)]


def text_or_ids(ask: Ask) -> Prompt:
    """The prompt for an API that takes no messages."""
    return transcript(ask.prompt) if is_messages(ask.prompt) else ask.prompt


def transcript(messages: Messages) -> str:
    """A conversation as one text."""
    return "\n".join(text_of(message["content"]) for message in messages)


def text_of(content: Any) -> str:
    """The text of a message, which may be a list of parts."""
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content)


def parts_of(content: Any, kind: str) -> list[Any]:
    """The content of a message as a list of parts; a text becomes one of this ``kind``."""
    return content if isinstance(content, list) else [{"type": kind, "text": content}]


def base64_of(data_url: str) -> str:
    """The data of a ``data:`` URL (RFC 2397)."""
    return data_url.partition(",")[2]


def media_type_of(data_url: str) -> str:
    """Such as ``image/png``."""
    return data_url.removeprefix("data:").partition(";")[0]
