"""Flags of shared prefixes and conversations. Names of ``vllm bench serve`` where they mean the same."""

from __future__ import annotations

from inferometer.config.flag import PAUSES, Flag, pause

_WORKLOAD = "scenario.workload"
SHARED_PREFIX_FLAGS: tuple[Flag, ...] = (
    Flag("num-groups", f"{_WORKLOAD}.groups", int),
    Flag("prompts-per-group", f"{_WORKLOAD}.prompts_per_group", int),
    Flag("prefix-popularity", f"{_WORKLOAD}.popularity", float),
    Flag("new-prefixes", f"{_WORKLOAD}.new_prefixes", nargs="yes"),
    Flag("repeat-questions", f"{_WORKLOAD}.repeat_questions", nargs="yes"),
    Flag(
        "prefix-repetition-num-prefixes",
        f"{_WORKLOAD}.groups",
        int,
        help="--num-groups by its name in vLLM",
        alias=True,
    ),
    Flag(
        "prefix-repetition-prefix-len",
        f"{_WORKLOAD}.prefix_tokens.mean",
        int,
        help="mean tokens of a group's common beginning (default: 256)",
    ),
    Flag(
        "prefix-repetition-suffix-len",
        f"{_WORKLOAD}.input_tokens.mean",
        int,
        "+",
        help="mean tokens of the question that follows it (default: 64)",
    ),
    # not aliases: lists of lengths make stages, under whichever name they are given
    Flag(
        "prefix-repetition-output-len",
        f"{_WORKLOAD}.output_tokens.mean",
        int,
        "+",
        help="the same as --random-output-len",
    ),
)
CONVERSATION_FLAGS: tuple[Flag, ...] = (
    Flag("conversation-turns", f"{_WORKLOAD}.turns.mean", int, help="messages of the user in one conversation"),
    Flag("conversation-system-len", f"{_WORKLOAD}.system_tokens", int),
    Flag(
        "conversation-input-len",
        f"{_WORKLOAD}.input_tokens.mean",
        int,
        "+",
        help="mean tokens of each message of the user (default: 64)",
    ),
    Flag(
        "conversation-output-len",
        f"{_WORKLOAD}.output_tokens.mean",
        int,
        "+",
        help="the same as --random-output-len",
    ),
    Flag("think-time", f"{_WORKLOAD}.think", pause, help=f"pause between an answer and the next message; {PAUSES}"),
    Flag("tool-share", f"{_WORKLOAD}.tool_share", float),
    Flag("tool-time", f"{_WORKLOAD}.tool_pause", pause, help=f"how long a tool works; {PAUSES}"),
)
#: All rows that set fields of the workload, in the order of ``--help``.
SYNTHETIC_FLAGS: tuple[Flag, ...] = (
    Flag("random-prefix-len", f"{_WORKLOAD}.prefix_tokens", int),
    *SHARED_PREFIX_FLAGS,
    *CONVERSATION_FLAGS,
)
