"""What is asked of the server, its GPUs and a Prometheus while a run lasts."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from inferometer.config.frozen import Frozen


def _plain_url(url: str) -> str:
    """Plans are stored, so a URL may hold no password; and a wrong one is better found before a run than in it."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{url!r} is not a URL ({error}); try http://HOST:PORT/metrics") from None
    if "@" in parts.netloc:
        raise ValueError("a password in a URL would be stored: use bearer_env or bearer_file")
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"{url!r} does not begin with http://HOST or https://HOST")
    return url


Url = Annotated[str, AfterValidator(_plain_url)]


class Access(Frozen):
    """How a source of metrics is reached. A token is named by where it stands, never given."""

    bearer_env: str | None = Field(None, description="environment variable with a bearer token for metrics")
    bearer_file: str | None = Field(None, description="file with a bearer token for metrics; wins over the variable")
    ca_file: str | None = Field(None, description="certificates of the authority behind metrics URLs (PEM)")
    verify_tls: bool = Field(True, description="check the certificates of metrics URLs")
    timeout_s: float = Field(2.0, gt=0, description="seconds that one question may take")


class PrometheusServer(Access):
    """A Prometheus that scrapes the server already, asked by PromQL for what it has seen during the run."""

    url: Url = Field(description="http(s)://HOST:PORT of the Prometheus, with its path prefix if it has one")
    selectors: dict[str, str] = Field(
        default_factory=dict, description="labels that pick the server's series, such as namespace=serving"
    )
    settle_s: float = Field(
        20.0, ge=0, description="seconds after the last stage to wait for a sample behind it: the scrape interval"
    )
    timeout_s: float = Field(10.0, gt=0, description="seconds that one question may take")


class Telemetry(Frozen):
    """What is sampled beside the load. Pages of metrics are the target's; see ``Target.metrics_urls``."""

    enabled: bool = Field(True, description="ask the server for its metrics during a run")
    interval_s: float = Field(1.0, ge=0.1, description="seconds between two samples")
    access: Access = Access()
    gpu: Literal["auto", "nvidia-smi", "none"] = Field(
        "auto", description="local GPUs by nvidia-smi; auto: only if the server is on this machine"
    )
    prometheus: PrometheusServer | None = None
