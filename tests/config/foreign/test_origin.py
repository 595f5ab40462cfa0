"""What is kept of another tool's file: all of it but its secrets."""

from __future__ import annotations

from typing import Any

import pytest

from inferometer.config.foreign.origin import Origin, dump, parsed, plain_address, without_secrets


@pytest.mark.parametrize(
    "document",
    [
        {"server": {"api_key": "hush", "auth_token": "hush", "hfToken": "hush"}},
        {"storage": [{"aws_secret_access_key": "hush", "aws-session-token": "hush", "password": 1234}]},
        {"backend_kwargs": {"extra_headers": {"X-Auth-Token": "hush"}, "default-headers": ["Cookie=hush"]}},
        {"header": ["Authorization=Bearer hush"], "headers": "X-Api-Key=hush"},
        {"prometheus": {"url": "http://user:hush@host:9090/api?token=hush", "endpoint-url": "http://h?key=hush"}},
        {"path": "https://user:hush@host/data.json", "bearer": "hush"},
    ],
)
def test_no_secret_is_kept(document: dict[str, Any]) -> None:
    kept = repr(without_secrets(document))
    assert "hush" not in kept
    assert "1234" not in kept


def test_all_else_is_kept() -> None:
    document = {
        "api": {"session_id_header_key": "x-session", "headers": {"x-team": "a"}},
        "tokenizer": {"pretrained_model_name_or_path": "org/model"},
        "data": ["prompt_tokens=5,output_tokens=5", {"max_tokens": 8, "time_per_output_token": 0.1}],
        "server": {"base_url": "http://host:8000/v1"},
        "question": "what is a@b://c?",
    }
    assert without_secrets(document) == document
    told = Origin(format="guidellm", file="a.yaml", harness="guidellm", workload="a", document=document)
    assert parsed(dump(told)) == told


def test_addresses_of_hosts_with_six() -> None:
    assert plain_address("http://me:pw@[::1]:8000/v1?key=1") == "http://[::1]:8000/v1"
