"""What is sent: random prompts, shared prefixes, conversations, files of prompts, recorded traces."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from inferometer.config.frozen import Frozen
from inferometer.config.headers import frames, is_secret, is_sendable
from inferometer.config.lengths import MOST_TOKENS, Lengths, RequestClass
from inferometer.config.pauses import Pause

#: What stands for something of the request in headers and bodies.
PLACE = re.compile(r"\{(index|stage|conversation|turn|model|request_id)\}")


class Images(Frozen):
    """Pictures beside the text of each prompt: PNGs of random pixels, all different."""

    count: int = Field(1, ge=1, le=64, description="pictures in each request")
    width: int = Field(256, ge=1, le=8192, description="width in pixels")
    height: int = Field(256, ge=1, le=8192, description="height in pixels")


class Asking(Frozen):
    """What every kind of workload can say about its requests.

    In values of ``extra_body`` and ``headers``, ``{index}``, ``{stage}``, ``{conversation}``, ``{turn}``, ``{model}``
    and ``{request_id}`` stand for those of the request.
    """

    stream: bool = Field(True, description="answers as streams of tokens; otherwise each is one document")
    ignore_eos: bool = Field(False, description="ask the server to go on to the full output length")
    require_length: bool = Field(False, description="an answer with fewer tokens than asked for is a failure")
    extra_body: dict[str, Any] = Field(default_factory=dict, description="JSON object merged into every request body")
    headers: dict[str, str] = Field(
        default_factory=dict, description="headers of each request, such as X-Session=user-{conversation}"
    )
    images: Images | None = Field(None, description="pictures in each prompt, for models that see")
    json_schema: dict[str, Any] | None = Field(
        None, description="JSON schema that every answer has to follow (structured output)"
    )

    @field_validator("headers")
    @classmethod
    def _can_be_sent_and_stored(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not is_sendable(name, value):
                raise ValueError(f"the header {name!r} has characters that no HTTP header can carry")
            if frames(name):
                raise ValueError(f"{name} comes with the body of each request: leave it out")
            if is_secret(name) and not PLACE.search(value):
                hint = f"put it into an environment variable and write --header '{name}=$VARIABLE'"
                raise ValueError(f"{name} is a secret, and plans are stored: {hint}")
        return headers

    @property
    def alike(self) -> bool:
        """Whether prompts begin alike on purpose, so that a prefix cache is meant to help."""
        return False

    @property
    def talks(self) -> bool:
        """Whether an item of the load is a conversation, which can have several requests."""
        return False

    @property
    def pausing(self) -> bool:
        """Whether users pause between requests, so that fewer are in flight than users are there."""
        return False


class RandomWorkload(Asking):
    """Random prompts of exact length, all different, from a seed."""

    type: Literal["random"] = "random"
    input_tokens: Lengths = Field(Lengths(mean=256), description="prompt tokens per request")
    output_tokens: Lengths = Field(Lengths(mean=128), description="output tokens asked for per request")
    prefix_tokens: int = Field(0, ge=0, description="tokens before the prompt that are the same in all requests")
    mix: tuple[RequestClass, ...] = Field((), description="classes of requests, by share, with lengths of their own")
    mix_in_turn: bool = Field(False, description="the classes one after the other, whatever their shares are")

    @property
    def alike(self) -> bool:
        """All prompts begin with the prefix, if there is one."""
        return self.prefix_tokens > 0

    @field_validator("mix")
    @classmethod
    def _classes_differ(cls, mix: tuple[RequestClass, ...]) -> tuple[RequestClass, ...]:
        if mix and not any(one.share for one in mix):
            raise ValueError("every class has a share of 0: give one of them more")
        if len({one.name for one in mix}) < len(mix):
            raise ValueError("two classes have the same name")
        return mix


class SharedPrefixWorkload(Asking):
    """Groups of prompts: within a group they begin with the same text, such as a system prompt or a document.

    Groups keep their beginnings in all stages; questions are new in every stage and every round, unless
    ``repeat_questions``. A round is ``groups`` x ``prompts_per_group`` requests.
    """

    type: Literal["shared_prefix"] = "shared_prefix"
    groups: int = Field(10, ge=1, description="how many different beginnings")
    prompts_per_group: int = Field(10, ge=1, description="requests to each group in one round")
    prefix_tokens: Lengths = Field(Lengths(mean=256), description="tokens of a group's common beginning")
    input_tokens: Lengths = Field(Lengths(mean=64), description="tokens of the question that follows it")
    output_tokens: Lengths = Field(Lengths(mean=128), description="output tokens asked for per request")
    popularity: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="group n is asked as often as n^-popularity (Zipf); 0: all equally"
    )
    shuffle: bool = Field(True, description="mix the groups in an order by the seed; otherwise one group after another")
    new_prefixes: bool = Field(False, description="every stage and warm-up has beginnings of its own: all are cold")
    repeat_questions: bool = Field(False, description="later rounds and stages ask the same questions again")

    @property
    def alike(self) -> bool:
        """Those of a group begin alike."""
        return True


class ConversationWorkload(Asking):
    """Conversations of several turns; what the server really answered is part of the next prompt.

    An item of the load is a conversation: a concurrency of 4 means four conversations at once, each with at most one
    request in flight. The latency of a turn begins when its message is sent; pauses are not part of it.
    """

    type: Literal["conversation"] = "conversation"
    turns: Lengths = Field(Lengths(mean=4), description="messages of the user in one conversation")
    system_tokens: int = Field(0, ge=0, description="tokens of a system message that all conversations share")
    system_groups: int = Field(
        1, ge=1, description="how many different system messages there are; conversations have them in turn"
    )
    own_system_tokens: Lengths | None = Field(
        None, description="tokens that each conversation has of its own behind the system message that it shares"
    )
    input_tokens: Lengths = Field(Lengths(mean=64), description="tokens of each message of the user")
    output_tokens: Lengths = Field(Lengths(mean=128), description="output tokens asked for per turn")
    think: Pause = Field(Pause(mean_s=0.0), description="pause between an answer and the next message")
    tool_share: float = Field(0.0, ge=0, le=1, description="share of later turns that bring the result of a tool")
    tool_pause: Pause = Field(Pause(mean_s=0.0), description="how long a tool works, instead of the user's thinking")

    @property
    def alike(self) -> bool:
        """Every turn begins with all that was said."""
        return True

    @property
    def talks(self) -> bool:
        """Every item is a conversation."""
        return True

    @property
    def pausing(self) -> bool:
        """Whether anybody thinks or waits for a tool."""
        return bool(self.think.expected_s or (self.tool_share and self.tool_pause.expected_s))


FileFormat = Literal["auto", "sharegpt", "openai", "custom", "batch", "csv", "parquet", "text"]
TraceFormatName = Literal["auto", "mooncake", "bailian", "azure", "burstgpt", "inferometer"]


class DatasetWorkload(Asking):
    """Prompts from a file: ShareGPT, JSON lines of messages or prompts, batch files, CSV, Parquet, text."""

    type: Literal["dataset"] = "dataset"
    path: str = Field(min_length=1, description="the file, or hf://NAME of a data set on the hub")
    format: FileFormat = Field("auto", description="its format, if its content does not tell")
    prompt_key: str | None = Field(None, description="key or column of the prompt")
    output_tokens_key: str | None = Field(None, description="key or column of the output length")
    output_tokens: int | None = Field(
        None, ge=1, le=MOST_TOKENS, description="output tokens asked for, whatever the file says"
    )
    default_output_tokens: int = Field(
        128, ge=1, le=MOST_TOKENS, description="output tokens asked for where the file says nothing"
    )
    skip_bad_lines: bool = Field(False, description="count records that cannot be read instead of stopping at them")
    shuffle: bool = Field(True, description="in an order by the seed; otherwise in that of the file")
    oversample: bool = Field(True, description="begin anew when all records were sent; otherwise that is an error")
    min_prompt_tokens: int | None = Field(None, ge=1, description="shorter prompts are left out, and counted")
    min_output_tokens: int | None = Field(
        None, ge=1, description="prompts whose recorded answer is shorter are left out, and counted"
    )
    max_prompt_tokens: int | None = Field(None, ge=1, description="longer prompts are left out, and counted")
    max_total_tokens: int | None = Field(None, ge=1, description="prompts longer than this with their answer, too")
    multi_turn: bool = Field(False, description="play whole conversations, with the server's own answers in between")
    think: Pause = Field(Pause(mean_s=0.0), description="pause between an answer and the next message, if multi_turn")

    @property
    def alike(self) -> bool:
        """Nobody knows what a file repeats; conversations do."""
        return self.multi_turn

    @property
    def talks(self) -> bool:
        """Items are conversations if they are played whole."""
        return self.multi_turn

    @property
    def pausing(self) -> bool:
        """Whether anybody thinks."""
        return self.multi_turn and bool(self.think.expected_s)


class TraceWorkload(Asking):
    """Requests of a real service: when they came, how long they were, which beginnings they shared."""

    type: Literal["trace"] = "trace"
    path: str = Field(min_length=1, description="the file")
    format: TraceFormatName = Field("auto", description="its format, if its content does not tell")
    unit: Literal["s", "ms", "us", "ns"] | None = Field(None, description="unit of its times, if not the usual one")
    block_tokens: int | None = Field(None, ge=1, description="tokens of a block of the prefix, if not the usual number")
    model: str | None = Field(None, description="only requests to this model, where the rows name one")
    max_tokens: int | None = Field(None, ge=2, description="requests longer than this are left out, and counted")
    skip_bad_lines: bool = Field(False, description="count rows that cannot be read instead of stopping at them")

    @property
    def alike(self) -> bool:
        """Blocks that came before come again."""
        return True


#: Workloads whose lengths are drawn, and can differ from stage to stage.
Synthetic = RandomWorkload | SharedPrefixWorkload | ConversationWorkload


def _kind(workload: Any) -> Any:
    """Prompts are random ones where nothing else is said."""
    return workload.get("type", "random") if isinstance(workload, dict) else getattr(workload, "type", None)


Workload = Annotated[
    Annotated[RandomWorkload, Tag("random")]
    | Annotated[SharedPrefixWorkload, Tag("shared_prefix")]
    | Annotated[ConversationWorkload, Tag("conversation")]
    | Annotated[DatasetWorkload, Tag("dataset")]
    | Annotated[TraceWorkload, Tag("trace")],
    Discriminator(_kind),
]
