import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmstudio_provider import Limits, ProtocolError
from lmstudio_provider._readers import Event, SSEReader

LIMITS = Limits()
TRICKY = (
    b"\xef\xbb\xbf: a comment\r\n"
    b"event: greeting\rdata: Gr\xc3\xbc\xc3\x9fe\r\r"
    b"data:no blank\ndata:  two blanks\n\n"
    b"id: 7\nretry: 250\nunknown: x\nno colon\ndata\n\n"
    b"data: U+2028 \xe2\x80\xa8 U+0085 \xc2\x85 VT \x0b FF \x0c end\r\n\r\n"
    b"event: dropped, for want of data\n\n"
    b'data: {"text": "data: [DONE]\\n\\n"}\n\n'
    b"data: bad \xff byte\n\n"
    b"data: [DONE]\n"
)
EVENTS = [
    Event("greeting", "Grüße"),
    Event("message", "no blank\n two blanks"),
    Event("message", ""),
    Event("message", "U+2028 \u2028 U+0085 \x85 VT \x0b FF \x0c end"),
    Event("message", '{"text": "data: [DONE]\\n\\n"}'),
    Event("message", "bad \ufffd byte"),
    Event("message", "[DONE]"),
]


def read(*pieces, limits=LIMITS):
    reader = SSEReader(limits)
    return [event for piece in pieces for event in reader.feed(piece)] + reader.finish()


def test_a_line_over_the_limit_is_refused_however_it_comes():
    limits = Limits(max_line_bytes=10)
    for pieces in ([b"data: 78901\n"], [b"data: ", b"78901"], [b"x"] * 11):
        with pytest.raises(ProtocolError, match="10 bytes") as caught:
            read(*pieces, limits=limits)
        assert "max_line_bytes" in caught.value.hint


def test_an_event_of_endless_data_lines_is_refused():
    with pytest.raises(ProtocolError, match="an event"):
        read(*[b"data: 12345\n"] * 10, limits=Limits(max_line_bytes=20))


@pytest.mark.parametrize("line", [b"\n", b": still here\n", b"event: x\n", b"id: 1\n"])
def test_endless_lines_without_data_are_refused(line):
    with pytest.raises(ProtocolError, match="no data"):
        read(*[line] * 101, limits=Limits(max_events_without_data=100))


def test_data_starts_the_count_of_lines_without_data_anew():
    pieces = [b": comment\n"] * 90 + [b"data: x\n\n"] + [b": comment\n"] * 90
    assert read(*pieces, limits=Limits(max_events_without_data=100)) == [Event("message", "x")]


def test_every_rule_of_the_standard_holds():
    assert read(TRICKY) == EVENTS


def test_events_do_not_depend_on_how_the_network_cut_the_bytes():
    assert read(*[TRICKY[i : i + 1] for i in range(len(TRICKY))]) == EVENTS
    for cut in range(len(TRICKY)):
        assert read(TRICKY[:cut], TRICKY[cut:]) == EVENTS


@given(st.lists(st.integers(0, len(TRICKY)), max_size=8))
def test_events_do_not_depend_on_random_cuts(cuts):
    edges = [0, *sorted(cuts), len(TRICKY)]
    assert read(*[TRICKY[a:b] for a, b in zip(edges, edges[1:])]) == EVENTS


@given(st.lists(st.binary(max_size=50) | st.sampled_from([b"data: ", b"\n", b"\r", b":", b"\xef\xbb\xbf"])))
def test_any_bytes_give_events_or_a_protocol_error(pieces):
    joined = b"".join(pieces)
    assert read(*pieces) == read(joined)


def test_done_counts_at_once_although_no_blank_line_follows():
    reader = SSEReader(Limits())
    assert reader.feed(b"data: [DONE]\n") == [Event("message", "[DONE]")]


def test_a_last_event_without_its_end_is_given_at_the_end():
    assert read(b'data: {"a": 1}') == [Event("message", '{"a": 1}')]
    assert read(b'data: {"a": 1}\n') == [Event("message", '{"a": 1}')]


def test_id_and_retry_are_kept_where_they_are_valid():
    reader = SSEReader(Limits())
    reader.feed(b"id: 7\nretry: 250\n\nid: bad\0id\nretry: soon\nretry: 99999999999\n\n")
    assert (reader.last_event_id, reader.retry_ms) == ("7", 250)
