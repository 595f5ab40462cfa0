import pytest
from pydantic import ValidationError

from inferometer.config.telemetry import PrometheusServer, Telemetry


def test_defaults_ask_the_page_once_a_second() -> None:
    settings = Telemetry()
    assert (settings.enabled, settings.interval_s, settings.gpu, settings.prometheus) == (True, 1.0, "auto", None)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://user:secret@h:9090", "a password in a URL would be stored"),
        ("h:9090", "does not begin with http"),
        ("http://", "does not begin with http"),
        ("http://h:99999", "is not a URL"),
    ],
)
def test_a_url_that_cannot_be_used_or_stored_is_refused(url: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        PrometheusServer(url=url)


def test_a_token_can_only_be_named() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        PrometheusServer.model_validate({"url": "http://h", "bearer": "secret"})
    server = PrometheusServer(url="https://h/prom", bearer_env="TOKEN", selectors={"job": "vllm"})
    assert PrometheusServer.model_validate(server.model_dump(mode="json")) == server
