import pytest

from inferometer.client.counters import Totals
from inferometer.config.models import StopEarly
from inferometer.runner.rules import broken

RULES = StopEarly(failed_share=0.1, ttft_p95_ms=200, e2el_p95_ms=2000, consecutive_failures=5, after_requests=20)


@pytest.mark.parametrize(
    ("totals", "said"),
    [
        (Totals(30, 20, 18, 0), None),
        (Totals(30, 20, 17, 0), "3 of 20 requests failed (limit 10 %)"),
        (Totals(30, 19, 0, 0, failed_in_a_row=4), None),  # too few for a share, not enough in a row
        (Totals(30, 5, 0, 0, failed_in_a_row=5), "5 requests in a row failed (limit 5)"),
        (Totals(30, 20, 20, 0, ttft_p95_ms=250.0, e2el_p95_ms=300.0), "p95 TTFT reached about 250 ms (limit 200 ms)"),
        (
            Totals(30, 20, 20, 0, ttft_p95_ms=150.0, e2el_p95_ms=3000.0),
            "p95 E2EL reached about 3e+03 ms (limit 2000 ms)",
        ),
        (Totals(30, 19, 19, 0, ttft_p95_ms=250.0), None),
    ],
)
def test_rules(totals: Totals, said: str | None) -> None:
    assert broken(RULES, totals) == said


def test_without_rules_nothing_breaks() -> None:
    assert broken(StopEarly(), Totals(9999, 9999, 0, 0, 9999, 1e9, 1e9, 1e9)) is None
