from synthetic_run import MS, failure, frame, record

from inferometer.analysis.attempts import attempts, by_model
from inferometer.analysis.metrics import BY_NAME


def test_nothing_to_tell_without_retries() -> None:
    assert attempts(frame(record(0), record(1, attempts=2))) is None  # a dead connection is not a retry


def test_what_retries_hid() -> None:
    rows = frame(
        record(0),
        record(1, attempts=3, retried="http_5xx,http_429"),
        record(2, attempts=2, retried="http_5xx"),
        failure(3, attempts=3, retried="http_5xx,http_5xx"),
    )
    assert attempts(rows) == {
        "mean": 2.25,
        "max": 3,
        "requests_retried": 3,
        "ok_after_retry": 2,
        "first_try_success_share": 0.25,
        "success_share": 0.75,
        "failures": [{"kind": "http_5xx", "count": 4}, {"kind": "http_429", "count": 1}],
    }


def test_latency_counts_from_the_first_try_and_from_the_last() -> None:
    again = record(0, sent_ms=100, ttft_ms=50, first_try_ns=20 * MS, attempts=2, retried="http_5xx")
    assert BY_NAME["ttft"].samples(frame(again)).values.tolist() == [130]
    assert BY_NAME["ttft_from_send"].samples(frame(again)).values.tolist() == [50]


def test_each_model_has_its_own_rows() -> None:
    rows = frame(*(record(i, model="ab"[i % 2]) for i in range(5)))
    assert [(name, len(own)) for name, own in by_model(rows)] == [("a", 3), ("b", 2)]
    assert by_model(frame(record(0))) == []
