"""The lines of an event stream are the same however they end, and wherever the network cuts them."""

import itertools

import pytest
from tables import for_each

from lmstudio_provider import Limits
from lmstudio_provider._http.readers import Event, SSEReader

LINE_ENDS = [b"\n", b"\r", b"\r\n"]
# The ends of three lines, without those in which the last two are one: CR and LF.
ENDS = [each for each in itertools.product(LINE_ENDS, repeat=3) if each[1:] != (b"\r", b"\n")]


@pytest.mark.slow
@for_each("ends", ENDS)
def test_two_lines_of_data_are_one_event_wherever_they_are_cut(ends):
    body = b"data: a%bdata: b%b%bdata: c\n\n" % ends
    for cut, again in itertools.combinations_with_replacement(range(len(body) + 1), 2):
        reader = SSEReader(Limits())
        events = [event for piece in (body[:cut], body[cut:again], body[again:]) for event in reader.feed(piece)]
        assert events == [Event("message", "a\nb"), Event("message", "c")], (cut, again)
