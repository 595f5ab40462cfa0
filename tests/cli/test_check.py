from __future__ import annotations

import re
import sys
from collections.abc import Callable

import pytest

from conftest import NOT_FOUND, PAGE, Asked, Respond, Said, Serve, chat_events, good, ollama, sse_body
from inferometer.cli import check, main


def signs(out: str) -> str:
    """First column of the table, without the rows that carry none."""
    return "".join(line[0] for line in out.splitlines()).replace(" ", "")


Checked = Callable[..., tuple[int, str]]


@pytest.fixture
def checked(serve: Serve, capsys: pytest.CaptureFixture[str]) -> Checked:
    """Runs the command against a server; its exit code and what it printed."""

    def run(respond: Respond, *arguments: str) -> tuple[int, str]:
        code = main(["check", serve(respond), *arguments, "--api-key-env", "NO_SUCH_KEY"])
        return code, capsys.readouterr().out

    return run


def unlike_good(path: str, said: Said, streams_only: bool = False) -> Respond:
    def respond(asked: Asked) -> Said:
        streams = bool(asked.body and asked.body.get("stream"))
        return said if asked.path == path and (streams or not streams_only) else good(asked)

    return respond


def stream_of(events: list[object], **fields: object) -> Said:
    return Said(content_type="text/event-stream", pieces=(sse_body(events),))._replace(**fields)  # type: ignore[arg-type]


CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"


@pytest.mark.parametrize(
    ("respond", "arguments", "expected", "says"),
    [
        (good, [], "✓✓✓✓✓", r"max_model_len 4096 tokens.*3 token events.*--model tiny --backend openai$"),
        (good, ["tiny", "--backend", "openai-chat"], "✓✓✓✓✓", r"/v1/chat/completions answers.*--backend openai-chat$"),
        (ollama, [], "⚠✓✓✓✓", r"/health answers 404.*not told.*does not serve this model.*--backend openai-chat$"),
        (unlike_good(COMPLETIONS, Said({"error": "chat only"}, 400)), [], "✓✓✓✓✓", r"--backend openai-chat$"),
        (unlike_good("/v1/models", NOT_FOUND), ["tiny"], "✓⚠⚠✓✓", r"cannot be looked up"),
        (unlike_good("/health", Said(b"", 503)), [], "⚠✓✓✓✓", r"/health answers 503"),
        (
            unlike_good(CHAT, stream_of(chat_events()[:-2]), streams_only=True),
            ["--backend", "openai-chat"],
            "✓✓✓✓⚠",
            r"usage not told.*without \[DONE\]",
        ),
        (
            unlike_good(
                COMPLETIONS, Said({"model": "big", "choices": [{"text": "x"}], "usage": {"completion_tokens": 1}})
            ),
            [],
            "✓✓✓⚠✗",
            r"the model that answered is big",
        ),
    ],
)
def test_endpoints_that_answer(
    checked: Checked, respond: Respond, arguments: list[str], expected: str, says: str
) -> None:
    code, out = checked(respond, *arguments)
    assert signs(out) == expected
    assert re.search(says, out.strip(), re.DOTALL)
    assert code == (1 if "✗" in expected else 0)


@pytest.mark.parametrize(
    ("respond", "arguments", "expected", "says"),
    [
        (lambda _: NOT_FOUND, [], "⚠✗", "no such path"),
        (lambda _: NOT_FOUND, ["tiny"], "⚠⚠⚠✗", "v1/completions answers 404.*v1/chat/completions answers 404"),
        (lambda _: Said(b"", 401), [], "⚠✗", "set the environment variable NO_SUCH_KEY"),
        (lambda _: PAGE, [], "✓✗", "a web page"),
        (unlike_good("/v1/models", Said({"data": []})), [], "✓✗", "lists no model"),
        (good, ["other"], "✓✓⚠✗", "does not know the model 'other': it serves tiny"),
        (unlike_good(COMPLETIONS, Said({"error": "boom"}, 500)), [], "✓✓✓✗", "boom"),
        (unlike_good(COMPLETIONS, Said({"choices": [{"text": "x"}]})), [], "✓✓✓⚠✗", "does not stream"),
        (
            unlike_good(COMPLETIONS, stream_of(["[DONE]"]), streams_only=True),
            [],
            "✓✓✓✓✗",
            "no event carries text",
        ),
        (
            unlike_good(COMPLETIONS, stream_of(chat_events()[:2], cut=True), streams_only=True),
            [],
            "✓✓✓✓✗",
            "cut off",
        ),
        (
            unlike_good(
                COMPLETIONS, stream_of([*chat_events()[:2], {"error": {"message": "died"}}]), streams_only=True
            ),
            [],
            "✓✓✓✓✗",
            "holds an error: died",
        ),
        (
            unlike_good(COMPLETIONS, stream_of(["{nonsense"]), streams_only=True),
            [],
            "✓✓✓✓✗",
            "not as it should be",
        ),
    ],
)
def test_endpoints_that_cannot_be_benchmarked(
    checked: Checked, respond: Respond, arguments: list[str], expected: str, says: str
) -> None:
    code, out = checked(respond, *arguments)
    assert signs(out) == expected
    assert re.search(says, out, re.DOTALL)
    assert code == 1


@pytest.mark.parametrize(
    "url", ["", "foo", "http://", "http://[::1", "http://a..b", "http://h:99999", "ht!tp://x", "http://\ud800"]
)
def test_rubbish_urls_get_one_cross_and_a_sentence(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", url]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("✗ server")
    assert captured.err == ""


def test_nothing_listens(refusing_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", refusing_url]) == 1
    assert signs(capsys.readouterr().out) == "✗"


def test_a_silent_server_ends_in_time(silent_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", silent_url, "tiny", "--timeout", "0.1"]) == 1
    assert signs(capsys.readouterr().out) == "⚠⚠⚠✗"


def test_the_sample_is_at_most_500_characters_of_one_line(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    said = Said({"choices": [{"text": "\x1b[2J\n" + "x" * 999}], "usage": {"completion_tokens": 9}})
    base = serve(lambda asked: said if asked.path == COMPLETIONS and not asked.body.get("stream") else good(asked))
    assert main(["check", base]) == 0
    sample = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("  answer"))
    assert len(sample.split(maxsplit=1)[1]) == 500
    assert sample.isprintable()


@pytest.mark.parametrize(
    "flags", [["--header", "novalue"], ["--header", "=x"], ["--timeout", "0"], ["--timeout", "nan"], ["--timeout", "x"]]
)
def test_wrong_flags_are_usage_errors(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "http://h", *flags]) == 2
    assert flags[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["http://user:sk-planted@h"], "a password in the URL would be stored"),
        (["http://h", "--header", "Authorization=sk-planted"], r"Authorization is a secret.*Authorization=\$VARIABLE"),
    ],
)
def test_a_secret_that_is_written_out_is_refused_and_not_shown(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *arguments]) == 2
    told = capsys.readouterr().err
    assert re.search(says, told)
    assert len(told.splitlines()) == 1
    assert "sk-planted" not in told


@pytest.mark.parametrize(
    ("colour", "unicode", "line"),
    [
        (False, True, "✗ stream      cut"),
        (False, False, "x stream      cut"),
        (True, True, "\x1b[31m✗\x1b[0m stream      cut"),
    ],
)
def test_a_row(colour: bool, unicode: bool, line: str) -> None:
    assert check.render(check.Row("bad", "stream", "cut"), colour, unicode) == line


@pytest.mark.parametrize(
    ("variables", "colour"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colour_is_for_terminals(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], colour: bool) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert check._terminal()[0] is colour


@pytest.mark.parametrize(
    ("times", "burst"),
    [
        ([], False),
        ([0.5, 0.5, 0.5], False),
        ([0.5, 0.5, 0.5, 0.5], True),
        ([0.5, 0.5001, 0.5001, 0.6], True),
        ([0.5, 0.51, 0.51, 0.52], False),
        ([0.1, 0.11, 0.12, 0.13], False),
    ],
)
def test_a_burst_is_what_no_model_decodes(times: list[float], burst: bool) -> None:
    assert check.is_burst(times) is burst
