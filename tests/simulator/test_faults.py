"""Which request meets which fault, and how faults are written: all of it without a socket."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferometer.errors import UserError
from inferometer.simulator.fault_specs import OPTIONS, read_file, read_spec
from inferometer.simulator.faults import CONDITIONS, KINDS, Asked, Chooser, Fault, Scope, draw, is_open, strikes
from inferometer.simulator.listening import APPOINTMENTS
from inferometer.simulator.misbehaviour import ALTERED, CUTS, INSTEAD
from inferometer.simulator.styles import STYLES

PAGE = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text()
CHAT = "/v1/chat/completions"
STREAM = Asked(CHAT, generates=True, model="m", streams=True)
WHOLE = Asked(CHAT, generates=True, model="m")


def struck(spec: str, requests: int, seed: int = 0, place: int = 0) -> list[int]:
    """Numbers of the requests that meet a fault, which has others in front of it that never strike."""
    others = [read_spec("silence,path=/nowhere")] * place
    chooser = Chooser([*others, read_spec(spec)], seed)
    return [number for number in range(1, requests + 1) if chooser.request(STREAM, 0.0)]


@pytest.mark.parametrize(
    ("spec", "numbers"),
    [
        ("stall", [1, 2, 3, 4, 5, 6]),
        ("stall,first=2", [1, 2]),
        ("stall,every=3", [3, 6]),
        ("stall,every=2,first=5", [2, 4]),
        ("stall,share=1", [1, 2, 3, 4, 5, 6]),
        ("die,after_requests=4", [5, 6]),
        ("stall,after_requests=2,first=2", [3, 4]),
        ("stall,after_requests=1,every=2", [3, 5]),
        ("stall,model=other", []),
        ("silence,path=/v1/models", []),
        (f"silence,path={CHAT}", [1, 2, 3, 4, 5, 6]),
        ("odd=crlf", [1, 2, 3, 4, 5, 6]),
        ("refuse", []),
        ("reset_on_accept", []),
    ],
)
def test_conditions(spec: str, numbers: list[int]) -> None:
    assert struck(spec, 6) == numbers


def test_a_share_is_the_same_requests_in_every_process() -> None:
    assert struck("stall,share=0.3", 20, seed=7) == [2, 5, 6, 9, 11, 12, 18]
    assert struck("stall,share=0.3", 20, seed=8) == [1, 7, 9, 12, 15, 18]
    assert struck("stall,share=0.3", 20, seed=7, place=1) == [4, 10, 13, 18, 19]


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_a_share_is_kept(share: float) -> None:
    found = len(struck(f"reset,share={share}", 20_000, seed=3)) / 20_000
    assert found == pytest.approx(share, abs=0.012)


@given(st.integers(), st.integers(0, 99), st.integers(1, 10**9), st.text(max_size=5))
def test_draws_are_shares(seed: int, place: int, number: int, purpose: str) -> None:
    drawn = draw(seed, place, number, purpose)
    assert 0 <= drawn < 1
    assert drawn == draw(seed, place, number, purpose)


def test_the_seed_decides_and_not_the_time() -> None:
    def run(times: list[float]) -> list[bool]:
        chooser = Chooser([read_spec("stall,share=0.5")], 5)
        return [chooser.request(STREAM, at_s) is not None for at_s in times]

    assert run([0.0] * 50) == run([float(at) for at in range(50)])


@pytest.mark.parametrize(
    ("spec", "open_at", "shut_at"),
    [
        ("stall", [0, 1e6], []),
        ("stall,after_s=2", [2, 1e6], [0, 1.999]),
        ("stall,for_s=2", [0, 1.999], [2, 3]),
        ("stall,after_s=2,for_s=3", [2, 4.999], [1.999, 5]),
    ],
)
def test_windows(spec: str, open_at: list[float], shut_at: list[float]) -> None:
    fault = read_spec(spec)
    assert [is_open(fault, at_s) for at_s in open_at + shut_at] == [True] * len(open_at) + [False] * len(shut_at)


def test_numbers_count_what_the_fault_concerns() -> None:
    """The first two of its model, in its window: what comes before or for others is not counted."""
    chooser = Chooser([read_spec("stall,model=m,after_s=10,first=2")], 0)
    other = Asked(CHAT, generates=True, model="other")
    asked = [(STREAM, 1.0), (other, 11.0), (WHOLE, 12.0), (other, 12.0), (STREAM, 13.0), (STREAM, 14.0)]
    assert [chooser.request(one, at_s) is not None for one, at_s in asked] == [False, False, True, False, True, False]


def test_the_first_fault_that_strikes_is_met_and_the_others_count_on() -> None:
    chooser = Chooser([read_spec("status=503,first=1"), read_spec("stall,first=2"), read_spec("reset,every=3")], 0)
    met = [chooser.request(STREAM, 0.0) for _ in range(4)]
    assert [one and one.fault.kind for one in met] == ["status", "stall", "reset", None]


def test_a_fault_of_streams_leaves_other_requests_alone() -> None:
    chooser = Chooser([read_spec("odd=crlf")], 0)
    assert chooser.request(WHOLE, 0.0) is None
    assert chooser.request(STREAM, 0.0) is not None


def test_a_path_has_only_its_own_faults() -> None:
    chooser = Chooser([read_spec("status=500,path=/v1/models"), read_spec("stall")], 0)
    kinds = []
    for asked in (Asked("/v1/models"), Asked("/health"), STREAM):
        met = chooser.request(asked, 0.0)
        kinds.append(met and met.fault.kind)
    assert kinds == ["status", None, "stall"]


def test_connections_are_counted_by_themselves() -> None:
    chooser = Chooser([read_spec("reset_on_accept,every=2"), read_spec("stall")], 0)
    assert [chooser.connection(0.0) is not None for _ in range(4)] == [False, True, False, True]
    assert chooser.request(STREAM, 0.0) is not None


def test_the_retries_of_a_request_are_decided_anew() -> None:
    """With half of all tries failing, ten tries of each of a hundred requests leave hardly one behind."""
    chooser = Chooser([read_spec("routing")], 1)
    tries = [next((n for n in range(1, 11) if chooser.request(STREAM, 0.0) is None), None) for _ in range(100)]
    assert None not in tries
    assert 1.5 < sum(n for n in tries if n) / 100 < 2.6


@given(st.integers(1, 1000), st.integers(1, 50), st.integers(1, 50), st.floats(0, 1, exclude_max=True))
def test_all_conditions_must_hold(number: int, first: int, every: int, drawn: float) -> None:
    fault = Fault(kind="stall", first=first, every=every, share=0.5)
    assert strikes(fault, number, drawn) == (number <= first and number % every == 0 and drawn < 0.5)


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("silence", Fault(kind="silence")),
        ("status=503", Fault(kind="status", code=503)),
        ("status,code=503", Fault(kind="status", code=503)),
        ("kind=status,code=503", Fault(kind="status", code=503)),
        (
            "status=429,retry_after=2,retry_after_date,body=detail,share=0.3",
            Fault(kind="status", code=429, retry_after_s=2, retry_after_date=True, body="detail", share=0.3),
        ),
        ("status=500,retry_after=1,retry_after_date=false", Fault(kind="status", retry_after_s=1)),
        ("slow-headers=250,path=/v1/models", Fault(kind="slow_headers", delay_ms=250, path="/v1/models")),
        ("stall,after-tokens=5,first=3", Fault(kind="stall", after_tokens=5, first=3)),
        ("stall, after_tokens=0, for_ms=1.5", Fault(kind="stall", after_tokens=0, for_ms=1.5)),
        ("odd=bom,every=2", Fault(kind="odd", style="bom", every=2)),
        ("wrong_model=a/b", Fault(kind="wrong_model", as_name="a/b")),
        ("wrong_model,as=x,model=y", Fault(kind="wrong_model", as_name="x", model="y")),
        ("short=4", Fault(kind="short", tokens=4)),
        ("routing", Fault(kind="routing", share=0.5)),
        ("routing,share=0.1", Fault(kind="routing", share=0.1)),
        ("memory_pressure,share=0.1,after_s=1,for_s=2", Fault(kind="memory_pressure", share=0.1, after_s=1, for_s=2)),
        ("die,after_requests=9,after_tokens=3", Fault(kind="die", after_requests=9, after_tokens=3)),
    ],
)
def test_specs(spec: str, fault: Fault) -> None:
    assert read_spec(spec) == fault


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("stal", "there is no fault 'stal'; did you mean 'stall'?"),
        ("", "there is no fault ''; it may be refuse, reset_on_accept"),
        ("kind=stal", "there is no fault 'stal'; did you mean 'stall'?"),
        ("first=3", "there is no fault 'first'"),
        ("stall,after_token=5", "stall has no option 'after_token'; did you mean 'after_tokens'?"),
        ("stall,path=/health", "stall has no option 'path'"),
        ("refuse,first=3", "refuse has no option 'first'"),
        ("reset_on_accept,model=m", "reset_on_accept has no option 'model'"),
        ("stall=5", "stall takes no value of its own; it takes after_tokens, for_ms, after_requests"),
        ("stall,silence", "stall has no option 'silence'"),
        ("stall,first=0", "first is '0'; it must be a whole number of at least 1"),
        ("stall,first", "first has no value; it must be a whole number of at least 1"),
        ("stall,first=1,first=2", "first is given twice"),
        ("status=503,code=404", "code is given twice"),
        ("stall,share=nan", "share is 'nan'; it must be a number above 0 and up to 1"),
        ("stall,after_s=-1", "it must be a number of seconds"),
        ("stall,after_s=inf", "it must be a number of seconds"),
        ("status=200", "code is '200'; it must be an HTTP status from 400 to 599"),
        ("status", "status needs code"),
        ("status=503,retry_after_date", "retry_after_date needs retry_after"),
        ("status=503,path=models", "a path that begins with /"),
        ("status=503,path=/v1/completions,model=m", "path and model exclude each other"),
        ("odd=crfl", "style is 'crfl'; it must be one of crlf, cr"),
        ("odd", "odd needs style"),
        ("slow_headers", "slow_headers needs delay_ms"),
        ("short", "short needs tokens"),
        ("wrong_model", "wrong_model needs as"),
        ("memory_pressure", "memory_pressure needs blocks (a whole number of at least 1) or share"),
        ("die,after_s=5,model=m", "die with after_s is for everything; leave model out"),
        ("memory_pressure,blocks=5,share=0.5", "blocks and share say the same twice"),
    ],
)
def test_wrong_specs_say_what_is_wrong_and_where(spec: str, words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        read_spec(spec)
    assert str(caught.value).startswith(f"--fault {spec}: ")


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "faults.yaml"
    path.write_text(text)
    return path


def test_a_file_has_the_same_words(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
- {status: 503, retry_after: 2, share: 0.3}
- stall:
  after_tokens: 5
  first: 3
- after-tokens: 5
  kind: reset
- routing: ~
- {status: 429, retry_after: 1, retry_after_date: true}
- {wrong_model: "503"}
""",
    )
    specs = (
        "status=503,retry_after=2,share=0.3",
        "stall,after_tokens=5,first=3",
        "reset,after_tokens=5",
        "routing",
        "status=429,retry_after=1,retry_after_date",
        "wrong_model=503",
    )
    assert read_file(path) == [read_spec(spec) for spec in specs]


def test_a_file_may_be_json(tmp_path: Path) -> None:
    path = written(tmp_path, '[{"stall": null, "first": 3}, {"status": 503}]')
    assert read_file(path) == [read_spec("stall,first=3"), read_spec("status=503")]


def test_an_empty_list_has_no_faults(tmp_path: Path) -> None:
    assert read_file(written(tmp_path, "[]")) == []


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("- stall:\n  first: 1\n  afer_tokens: 5\n", 3, "did you mean 'after_tokens'?"),
        ("- stall:\n- stal:\n", 2, "did you mean 'stall'?"),
        ("- stall:\n  first: no\n", 2, "first is 'no'"),
        ("- stall:\n  first:\n", 2, "first has no value"),
        ("- stall:\n  first: [1]\n", 2, "plain values"),
        ("- stall\n", 1, "a fault is a mapping"),
        ("- {}\n", 1, "a fault is a mapping"),
        ("stall:\n", 1, "faults are a list"),
        ("", 1, "faults are a list"),
        ("- stall: [\n", 2, "not YAML"),
        ("- status:\n  first: 3\n", 1, "status needs code"),
    ],
)
def test_wrong_files_say_where(tmp_path: Path, text: str, line: int, words: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        read_file(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")


@pytest.mark.parametrize("content", [b"\xff\xfe\xff", b"- stall: \x00"])
def test_files_that_are_no_text(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "faults.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(str(path))):
        read_file(path)


def test_folders_are_not_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        read_file(tmp_path)


def test_every_kind_is_played_by_somebody() -> None:
    played = {*INSTEAD, *ALTERED, *CUTS, *APPOINTMENTS, "odd", "slow_headers", "reset_on_accept"}
    assert played == set(KINDS)
    assert {kind for kind, row in KINDS.items() if row.path} <= {*INSTEAD, "slow_headers"}
    assert {kind for kind, row in KINDS.items() if row.scope is Scope.SERVER} <= set(APPOINTMENTS)


def test_every_option_can_be_read() -> None:
    used = {option for row in KINDS.values() for option in row.options} | {"path"}
    used |= {option for options in CONDITIONS.values() for option in options}
    assert used == set(OPTIONS)


def test_the_page_shows_every_kind_and_style_rightly() -> None:
    shown = re.findall(r"--fault (?!SPEC)([\w\-=.,/]+)", PAGE)
    kinds = {read_spec(spec).kind for spec in shown}
    assert kinds == set(KINDS)
    assert all(f"`{style}`" in PAGE for style in STYLES)
    assert all(f"`{option}" in PAGE for option in OPTIONS)


def test_the_file_on_the_page_can_be_read(tmp_path: Path) -> None:
    files = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert files
    for text in files:
        assert read_file(written(tmp_path, text))
