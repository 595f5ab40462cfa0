"""Whether an API can be asked for what a plan wants; said before the load, not by its rows. Pure."""

from __future__ import annotations

from inferometer.client.apis import APIS
from inferometer.config.models import ConversationWorkload, Plan
from inferometer.errors import UserError

#: Metrics that need more than one event.
_OF_STREAMS = ("ttft", "tpot", "itl")


def check_fit(plan: Plan) -> list[str]:
    """Remarks on what the API of the target cannot be told.

    Raises:
        UserError: it cannot be asked for this workload at all; the sentence says what to change.
    """
    api, name, workload = APIS[plan.target.api], plan.target.api, plan.scenario.workload
    talks = isinstance(workload, ConversationWorkload) or getattr(workload, "multi_turn", False)
    wants = {
        "takes no pictures: leave images out": workload.images is not None and not api.images,
        "has no structured output: leave json_schema out": workload.json_schema is not None and api.structure is None,
        "answers without text, so nothing can follow in a conversation": talks and not api.generates,
        "answers without output tokens: leave require_length out": workload.require_length and not api.generates,
        "takes token ids alone: leave the tokenizer out": api.needs_ids and plan.target.tokenizer is not None,
        "takes token ids alone, and a conversation is text": api.needs_ids and talks,
    }
    for what, wanted in wants.items():
        if wanted:
            raise UserError(f"the API {name} {what}")
    remarks = {
        f"the API {name} cannot be told to ignore the end of the text: answers end where the model ends them": (
            workload.ignore_eos and api.ignore_eos is None and api.generates
        ),
        "without a stream there are no TTFT, TPOT and ITL: limits on them do not apply": (
            not workload.stream and any(slo.metric in _OF_STREAMS for slo in plan.scenario.slos)
        ),
    }
    return [remark for remark, holds in remarks.items() if holds]
