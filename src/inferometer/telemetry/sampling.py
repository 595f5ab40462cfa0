"""The server's side of one session: its sources are opened, sampled while the load lasts, and asked once more at last.

Nothing here ends a run: what cannot be asked or written is said, and absent from ``telemetry.parquet``.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from inferometer.client.clock import now_ns
from inferometer.config.models import Target
from inferometer.config.telemetry import Telemetry
from inferometer.errors import UserError
from inferometer.records.telemetry import Writer
from inferometer.telemetry import gpu, promql
from inferometer.telemetry.page import MetricsPage, open_pages
from inferometer.telemetry.prometheus import Sample
from inferometer.telemetry.scraper import Scraper, Source

Say = Callable[[str], None]

#: Name of a page among the sources; the engines on it have names of their own.
PAGE = "page"


class Sources(NamedTuple):
    """What can be asked. ``first``: the first page of each replica; ``notes``: what a user should know."""

    settings: Telemetry
    pages: list[MetricsPage]
    gpus: bool
    first: dict[str, list[Sample]]
    notes: list[str]

    def close(self) -> None:
        """Close all connections."""
        for page in self.pages:
            page.close()

    def all(self) -> list[Source]:
        """Those that are sampled while the load lasts."""
        pages = [Source(PAGE, page.replica, page.readings) for page in self.pages]
        return [*pages, *([Source(gpu.SOURCE, "local", gpu.readings)] if self.gpus else [])]


def open_sources(target: Target, urls: Sequence[str], settings: Telemetry) -> Sources:
    """Find out what can be asked.

    Args:
        target: the server.
        urls: pages of metrics of its replicas and exporters. Without any its own ``/metrics`` is tried; not if a
            Prometheus was named, which knows all replicas where one address leads to one of many.
        settings: of the target.

    Raises:
        UserError: a token, a header or a certificate cannot be used.
    """
    if not settings.enabled:
        return Sources(settings, [], gpus=False, first={}, notes=[])
    only_prometheus = settings.prometheus is not None and not urls
    opened = None if only_prometheus else open_pages(target, urls, settings.access)
    pages, first, notes = opened or ([], {}, [])
    there = gpu.wanted(settings.gpu, target.base_url) and gpu.is_there()
    if settings.gpu == "nvidia-smi" and not there:
        notes.append("no GPU figures: nvidia-smi is not on this machine; name the page of a DCGM exporter instead")
    return Sources(settings, pages, there, first, notes)


@contextlib.contextmanager
def sampling(sources: Sources, directory: Path, epoch_ns: int, note: Say) -> Iterator[Callable[[], None]]:
    """Sample all sources into the run directory while the block lasts.

    Yields:
        What is called at the edges of stages: it has a sample taken, and waits for it up to the timeout of the pages.
    """
    named = sources.all()
    began_s = time.time()
    if not named and sources.settings.prometheus is None:
        yield lambda: None
        return
    writer = Writer(directory, time.time_ns())
    try:
        with Scraper(named, sources.settings.interval_s, epoch_ns, writer.append) as scraper:
            yield lambda: _edge(scraper, sources.settings.access.timeout_s)
        if scraper.problem:
            note(f"note: {scraper.problem}")
        _ask_prometheus(sources.settings, writer, promql.Span(began_s, time.time()), epoch_ns, note)
    finally:
        sources.close()
        with contextlib.suppress(OSError):
            writer.close()


def _edge(scraper: Scraper, wait_s: float) -> None:
    scraper.edge(wait_s)


def _ask_prometheus(settings: Telemetry, writer: Writer, span: promql.Span, epoch_ns: int, note: Say) -> None:
    """What a Prometheus saw of the session. Ctrl-C ends the wait for it, and nothing else."""
    if settings.prometheus is None:
        return
    wall_ns = time.time_ns() - now_ns() + epoch_ns
    try:
        found = promql.history(settings.prometheus, span)
        writer.append([one._replace(t_ns=one.t_ns - wall_ns) for one in found.readings])
    except (UserError, OSError) as error:
        note(f"note: {error}")
    except Exception as error:  # noqa: BLE001 (whatever a Prometheus says, the run is over and shall be reported)
        note(f"note: what the Prometheus said cannot be used: {type(error).__name__}: {error}")
    except KeyboardInterrupt:
        note("note: interrupted while a Prometheus was asked: its figures are missing")
    else:
        for remark in found.notes:
            note(f"note: {remark}")
