import math

from hypothesis import given
from hypothesis import strategies as st

from inferometer.telemetry.prometheus import Sample, info, is_page, parse

LABELS = st.dictionaries(st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True), st.text(max_size=12), max_size=3)


def escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def line(name: str, labels: dict[str, str], value: str) -> str:
    inner = ",".join(f'{label}="{escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{inner}}} {value}" if labels else f"{name} {value}"


def test_a_page_of_a_python_server() -> None:
    page = parse(
        "# HELP vllm:num_requests_running Number of requests.\n"
        "# TYPE vllm:num_requests_running gauge\n"
        'vllm:num_requests_running{engine="0",model_name="a/b {c}, \\"d\\""} 3.0\n'
        "\n"
        'vllm:ttft_bucket{le="+Inf"} 1e+06 1700000000123\n'
    )
    assert page.samples == [
        Sample("vllm:num_requests_running", {"engine": "0", "model_name": 'a/b {c}, "d"'}, 3.0),
        Sample("vllm:ttft_bucket", {"le": "+Inf"}, 1e6),
    ]
    assert (page.lines, page.broken) == (2, 0)


def test_openmetrics_with_exemplars_units_and_an_end() -> None:
    page = parse(
        "# TYPE x histogram\n# UNIT x seconds\n"
        'x_bucket{le="0.1"} 4 # {trace_id="}\\" 9"} 0.05 1520879607.789\n'
        "x_created 1520872607.123\nx_sum 0.2 1520879607.789\n# EOF\n"
    )
    assert [(sample.name, sample.value) for sample in page.samples] == [
        ("x_bucket", 4.0),
        ("x_created", 1520872607.123),
        ("x_sum", 0.2),
    ]


@given(st.lists(st.tuples(LABELS, st.floats(allow_nan=False)), max_size=6))
def test_what_was_written_is_read_back(rows: list[tuple[dict[str, str], float]]) -> None:
    text = "\n".join(line("a:b_c", labels, repr(value)) for labels, value in rows)
    assert parse(text).samples == [Sample("a:b_c", labels, value) for labels, value in rows]


@given(st.text(max_size=300))
def test_any_text_is_read_without_an_error(text: str) -> None:
    page = parse(text)
    assert len(page.samples) <= page.lines
    assert not any(math.isnan(sample.value) for sample in page.samples)


def test_a_line_that_cannot_be_read_costs_that_line() -> None:
    page = parse('a 1\nb{c="d 2\nc x\nd 1_000\ne{f=g} 1\nh NaN\n<html>\nz +Inf\n')
    assert [sample.name for sample in page.samples] == ["a", "z"]
    assert page.broken == 5
    assert page.lines == 7


def test_names_that_are_not_wanted_are_not_even_read() -> None:
    page = parse('a{broken 1\nb 2\n# a\na_total{x="} 1', lambda name: name == "b")
    assert page.samples == [Sample("b", {}, 2.0)]
    assert (page.lines, page.broken) == (3, 0)


def test_a_web_site_is_no_page_of_metrics() -> None:
    assert not is_page(parse("<!DOCTYPE html><html>\n<p>Welcome\n</html>"))
    assert not is_page(parse('{"detail": "Not Found"}'))
    assert not is_page(parse("Not Found"))
    assert is_page(parse(""))
    assert is_page(parse("# nothing yet\n"))
    assert is_page(parse("up 1\n"))


def test_labels_that_say_things_in_words() -> None:
    samples = parse('x 1\ncfg_info{block_size="16"} 1.0\ncfg_info{block_size="32"} 1.0\n').samples
    assert info(samples, "cfg_info") == {"block_size": "16"}
    assert info(samples, "nothing") == {}
