"""The usage record of a call."""

from __future__ import annotations

import time
from typing import NamedTuple
from urllib.parse import urlsplit

from .._core.types import Call, Completion, Usage
from .._core.usage import UsageRecord, status_of
from .session import CallOptions


class BegunCall(NamedTuple):
    """What the record of a call needs to know from its beginning."""

    operation: str
    model: str
    base_url: str
    time_s: float

    def record(
        self, provider_id: str, api_key_hash: str, completion: Completion, error: BaseException | None
    ) -> UsageRecord:
        """Return the record of the call, which ends now with ``completion`` or a part of it."""
        usage, server = completion.usage or Usage(), urlsplit(self.base_url)
        return UsageRecord(
            provider_id=provider_id,
            model=completion.model,
            operation=self.operation,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            total_tokens=usage.total_tokens,
            duration_s=time.monotonic() - self.time_s,
            time_to_first_token_s=completion.stats.time_to_first_token_s,
            status="cancelled" if completion.finish_reason == "cancelled" else status_of(error),
            api_key_hash=api_key_hash,
            created_at=time.time(),
            request_model=self.model,
            server_address=server.hostname,
            server_port=server.port or (443 if server.scheme == "https" else 80),
            error_type=None if error is None else type(error).__name__,
        )


def begin(operation: str, call: Call, options: CallOptions) -> BegunCall:
    """Return the beginning of ``call``, which is now."""
    return BegunCall(operation, call.model, options.config.base_url.text, time.monotonic())
