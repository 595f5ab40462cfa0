from pathlib import Path

import pytest

from inferometer.telemetry.machine import Reading, ports_used_share, read, since

FILES = {
    "stat": "cpu  1 2 3 4 5 6 7 800 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n",
    "self/schedstat": "1000 250 42\n",
    "net/snmp": "Ip: A B\nIp: 1 2\nTcp: X RetransSegs\nTcp: -1 17\n",
    "net/netstat": "TcpExt: A TCPToZeroWindowAdv B\nTcpExt: 1 5 2\nIpExt: A\nIpExt: 1\n",
    "net/sockstat": "sockets: used 9\nTCP: inuse 60 orphan 0 tw 40 alloc 70 mem 1\n",
    "sys/net/ipv4/ip_local_port_range": "1000\t1999\n",
}


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_what_the_files_say(proc: Path) -> None:
    told = read(proc)
    assert told[1:] == (250, 42, 17, 5)
    assert told.steal_ns is not None
    assert told.steal_ns > 0
    assert ports_used_share(proc) == 0.1
    (proc / "net" / "sockstat6").write_text("TCP6: inuse 100\nUDP6: inuse 7\n")
    assert ports_used_share(proc) == 0.2


def test_what_nobody_tells_is_none(tmp_path: Path) -> None:
    assert read(tmp_path) == Reading(None, None, None, None, None)
    assert ports_used_share(tmp_path) is None


@pytest.mark.parametrize("name", FILES)
def test_nonsense_is_none(proc: Path, name: str) -> None:
    (proc / name).write_text("garbage\nTcp:\nTcpExt: a\nTCP: x\ncpu x\n")
    assert None in (*read(proc), ports_used_share(proc))


def test_differences_need_both() -> None:
    assert since(Reading(1, None, 3, 4, 5), Reading(2, 2, None, 9, 5)) == (1, None, None, 5, 0)
