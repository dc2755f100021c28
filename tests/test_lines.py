"""The lines of an event stream are the same however they end, and wherever the network cuts them."""

import itertools

import pytest

from lmstudio_provider import Limits
from lmstudio_provider._readers import Event, SSEReader

ENDS = [b"\n", b"\r", b"\r\n"]


@pytest.mark.parametrize("first", ENDS)
@pytest.mark.parametrize("second", ENDS)
def test_two_lines_of_data_are_one_event_wherever_they_are_cut(first, second):
    body = b"data: a" + first + b"data: b" + second + second + b"data: c\n\n"
    for cut, again in itertools.combinations_with_replacement(range(len(body) + 1), 2):
        reader = SSEReader(Limits())
        events = [event for piece in (body[:cut], body[cut:again], body[again:]) for event in reader.feed(piece)]
        assert events == [Event("message", "a\nb"), Event("message", "c")], (cut, again)
