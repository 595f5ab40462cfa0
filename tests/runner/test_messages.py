import math

import msgspec
import pytest

from inferometer.config.models import Phase
from inferometer.records.record import WorkerStage
from inferometer.runner.messages import (
    Broken,
    Done,
    Order,
    Prepare,
    Ready,
    Reply,
    Setup,
    Start,
    decode_order,
    decode_reply,
    encode,
)
from inferometer.workload.asks import Materials
from inferometer.workload.tokens import PromptSpec

SETUP = Setup(
    plan="{}\n",
    materials=Materials(prompts=PromptSpec(kind="token_ids")),
    worker=1,
    workers=2,
    directory="/d",
    board="/b",
    epoch_ns=2**60,
)
REPORT = WorkerStage(**dict.fromkeys(WorkerStage.__struct_fields__, 1))


@pytest.mark.parametrize(
    "order", [SETUP, Prepare(2, Phase.WARMUP), Start(2**62)], ids=lambda order: type(order).__name__
)
def test_orders_are_one_line(order: Order) -> None:
    assert b"\n" not in encode(order)
    assert decode_order(encode(order)) == order


@pytest.mark.parametrize("reply", [Ready(), Ready("no\nroute"), Done(REPORT), Broken("sorry")])
def test_replies_are_one_line(reply: Reply) -> None:
    assert b"\n" not in encode(reply)
    assert decode_reply(encode(reply)) == reply


def test_an_order_is_no_reply() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_reply(encode(Start(math.floor(1e9))))
