from __future__ import annotations

from typing import Any

import msgspec
import pytest

from calibrations import calibration, limit, step
from inferometer.analysis.calibration import Calibration, Exceeded, limit_of
from inferometer.report.calibration import render

GOLDEN = """\
======================= Calibration Result =======================
CPU:                                     Fast 9000
CPUs that may be used:                   4
Kernel:                                  6.1.0
Python:                                  3.11.7
Inferometer:                             0.1.0
Cores busy with other processes:         0.01
Cores stolen by the host:                0.00
Duration (s):                            40.0
-------------------------Stamps and Sends-------------------------
                                         kernel       userland
Median stamp error (us):                 3.0          3.0
P99 stamp error (us):                    7.0          7.0
Median send error (us):                  3.0          3.0
P99 send error (us):                     7.0          7.0
Max send error (us):                     90.0         90.0
Token events compared:                   1000         1000
At a load of (req/s):                    390          390
At a load of (tok/s):                    12500        12500
----------------------Highest Load, 1 Worker----------------------
                                         measured     by CPU (estimate)
Long answers (tok/s):                    80000        120000
  held: 420 streams, client CPU 60 %, schedule lag p99 0.25 ms, stamp error p99 7 us
  ended: 840 streams, CPU 95 % (limit 90 %)
Short answers (req/s):                   >= 2500      3750
  held: 2500 req/s asked, client CPU 60 %, schedule lag p99 0.25 ms, stamp error p99 7 us
  ended: the time was over
---------------------Highest Load, 3 Workers----------------------
                                         measured     by CPU (estimate)
Long answers (tok/s):                    >= 160000    240000
  held: 840 streams, client CPU 60 %, schedule lag p99 0.25 ms, stamp error p99 7 us
  ended: 1680 streams, the simulator is the limit here: lateness p99 6.5 ms (limit 5 ms)
Short answers (req/s):                   none held
  ended: the time was over
==================================================================
>= the client's own limit was not reached
"""


def beyond(end: Exceeded, **load: Any) -> Any:
    """A limit between a load that held and twice as much."""
    low = step(**load)
    high = msgspec.structs.replace(low, load=2 * low.load, exceeded=end)
    return limit_of("tokens", low.workers, [low, high, high])


def shown(**changed: Any) -> Calibration:
    one, short, many, _ = calibration().limits
    assert one.highest is not None
    assert many.highest is not None
    busy = beyond(Exceeded("client", "CPU", 0.95, 0.9, "share"), **msgspec.structs.asdict(one.highest))
    late = beyond(Exceeded("simulator", "lateness p99", 6.5, 5.0, "ms"), **msgspec.structs.asdict(many.highest))
    return calibration(**{"limits": (busy, short, late, limit("requests", 3, None)), **changed})


def test_the_table() -> None:
    assert render(shown()) + "\n" == GOLDEN


def test_two_cpus_leave_one_worker_and_say_so() -> None:
    machine = msgspec.structs.replace(calibration().machine, cpus=2)
    lines = render(calibration(machine=machine, limits=calibration().limits[:2])).splitlines()
    assert "All workers: 1 as well, as 2 CPUs leave one core beside the simulator's." in lines
    assert not any("Workers-" in line for line in lines)


@pytest.mark.parametrize(("others", "stolen", "told"), [(0.05, 0.04, False), (0.3, 0.0, True), (0.0, 0.3, True)])
def test_a_machine_that_was_not_quiet_is_told(others: float, stolen: float, *, told: bool) -> None:
    text = render(shown(others_cores=others, steal_cores=stolen))
    assert ("The machine was not quiet" in text) is told


def test_what_is_not_told_has_no_line() -> None:
    one = calibration().errors[1]
    text = render(shown(others_cores=None, steal_cores=None, errors=(one,)))
    assert "Cores" not in text
    assert "kernel " not in text
    assert "                                         userland" in text.splitlines()


def test_a_limit_of_zero_is_a_limit() -> None:
    steps = beyond(Exceeded("client", "clock steps", 1.0, 0.0, ""), load=10, tokens_per_s=5.0)
    assert "ended: 20 streams, clock steps 1 (limit 0)" in render(shown(limits=(steps,)))
