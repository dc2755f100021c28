"""A record of usage, and what several processes do with it; it imports little, because they all do."""

from __future__ import annotations

import dataclasses
import warnings

from lmstudio_provider import UsageRecord

RECORD = UsageRecord(
    provider_id="lm-studio",
    model="qwen",
    operation="chat",
    prompt_tokens=10,
    completion_tokens=20,
    total_tokens=30,
    duration_s=2.0,
    time_to_first_token_s=0.5,
    status="ok",
    api_key_hash="lmstudio-local",
    created_at=1_764_400_000.0,
    request_model="qwen",
    server_address="localhost",
    server_port=1234,
)


def changed(**fields):
    return dataclasses.replace(RECORD, **fields)


def record_times(usage, count):
    for number in range(count):
        usage.record(changed(prompt_tokens=number))


def record_many(usage, model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(100):
            usage.record(changed(model=model))
    usage.close()
