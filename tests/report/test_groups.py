"""Tables of parts of a stage: every line aligned, empty columns left out, nothing where there is nothing to tell."""

from typing import Any

from inferometer.report.groups import tables


def estimate(value: float, few: bool = False) -> dict[str, Any]:
    return {"value": value, "low": None if few else value, "high": None if few else value, "count": 9}


def latency(p50: float, p95: float) -> dict[str, Any]:
    return {"median_ms": estimate(p50), "percentiles_ms": {"50": estimate(p50), "95": estimate(p95, few=True)}}


def part(**own: Any) -> dict[str, Any]:
    common = {"requests": 9, "ok": 8, "failed": 1, "prompt_tokens_mean": 96.4, "output_tokens_mean": None}
    rates = {"cached_tokens": None, "hit_rate": None}
    return common | rates | {"metrics": {"ttft": latency(12.34, 56.78)}} | own


def plain(line: str) -> str:
    return " ".join(line.split())


def test_nothing_is_told_of_a_plain_stage() -> None:
    assert list(tables({"prefixes": None, "replicas": None, "classes": None, "turns": None})) == []
    assert list(tables({})) == []


def test_turns_have_their_numbers_and_the_last_ones_stand_together() -> None:
    turns = [part(turn=0, and_later=False), part(turn=20, and_later=True, hit_rate=0.5)]
    [(title, lines)] = tables({"turns": turns})
    assert title == "Turns"
    assert plain(lines[0]) == "| turn | ok | failed | prompt tok | hit rate | TTFT p50 | TTFT p95 |"
    assert plain(lines[2]) == "| 0 | 8 | 1 | 96 | - | 12.3 | 56.8~ |"
    assert plain(lines[3]) == "| 20 ... | 8 | 1 | 96 | 50.0 % | 12.3 | 56.8~ |"
    assert len({len(line) for line in lines}) == 1


def test_requests_without_a_class_are_others() -> None:
    [(_, lines)] = tables({"classes": [part(request_class="short"), part(request_class=None)]})
    assert [line.split()[1] for line in lines[2:]] == ["short", "other"]


def test_replicas_end_with_how_even_they_are() -> None:
    even = {"largest_of_fair": 1.5, "smallest_of_fair": 0.5, "p": 0.002}
    own = part(replica="a", share=0.75, groups=None)
    [(_, lines)] = tables({"replicas": [own], "evenness": even})
    assert lines[-1] == "Largest / fair share: 1.50, smallest: 0.50; p of an even choice: below 0.01"
    [(_, alone)] = tables({"replicas": [own], "evenness": None})
    assert alone == lines[:-1]


def test_a_name_that_a_server_gave_stays_in_its_cell() -> None:
    [(_, lines)] = tables({"replicas": [part(replica="a|b\n\x9b31mc", share=1.0, groups=None)], "evenness": None})
    assert "| a/b 31mc |" in lines[2]


def test_prefixes_end_with_what_warmth_saves() -> None:
    more = {"perfect_hit_rate": None, "same_replica_share": None}
    cold = part(part="cold", **more) | {"metrics": {"ttft": latency(40, 50)}}
    warm = part(part="warm", **more) | {"metrics": {"ttft": latency(10, 20)}}
    [(_, lines)] = tables({"prefixes": [cold, warm]})
    assert lines[-1] == "Median TTFT warm / cold: 0.25"
    [(_, one_side)] = tables({"prefixes": [warm | {"metrics": {}}, cold]})
    assert "Median" not in one_side[-1]
