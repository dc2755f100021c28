import contextlib
import itertools
import json
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import for_each

from lmstudio_provider import Limits, ProtocolError
from lmstudio_provider._http.readers import Event, NDJSONReader, SSEReader, dechunk, decompress

LIMITS = Limits()
TRICKY = (
    b"\xef\xbb\xbf: a comment\r\n"
    b"event: greeting\rdata: Gr\xc3\xbc\xc3\x9fe\r\r"
    b"data:no blank\ndata:  two blanks\n\n"
    b"id: 7\nretry: 250\nunknown: x\nno colon\ndata\n\n"
    b"data: U+2028 \xe2\x80\xa8 U+0085 \xc2\x85 VT \x0b FF \x0c end\r\n\r\n"
    b"event: dropped, for want of data\n\n"
    b'data: {"text": "data: [DONE]\\n\\n"}\n\n'
    b'data: {"text": "\xe2\x82 \xe2\x80\xa8"}\n\n\ndata: {\ndata: }\n\nevent: e\ndata: {"n": 1}\n\nnot a field\n\n'
    b"data: bad \xff byte\n\n"
    b"data: [DONE]\n"
)
# The same with only LF at the ends of lines.
STREAMS = [TRICKY, TRICKY.replace(b"\r\n", b"\n").replace(b"\r", b"\n")]
EVENTS = [
    Event("greeting", "Grüße"),
    Event("message", "no blank\n two blanks"),
    Event("message", "", "7"),
    Event("message", "U+2028 \u2028 U+0085 \x85 VT \x0b FF \x0c end", "7"),
    Event("message", '{"text": "data: [DONE]\\n\\n"}', "7"),
    Event("message", '{"text": "\ufffd \u2028"}', "7"),
    Event("message", "{\n}", "7"),
    Event("e", '{"n": 1}', "7"),
    Event("message", "bad \ufffd byte", "7"),
    Event("message", "[DONE]", "7"),
]


def read(*pieces, limits=LIMITS):
    reader = SSEReader(limits)
    return [event for piece in pieces for event in reader.feed(piece)] + reader.finish()


def before_error(items):
    """Return what came of an iterable before it raised ProtocolError, which it must, and the error."""
    came = []
    with pytest.raises(ProtocolError) as caught:
        came.extend(items)
    return came, caught.value


def test_a_line_over_the_limit_is_refused_however_it_comes():
    limits = Limits(max_line_bytes=10)
    for pieces in ([b"data: 78901\n"], [b"data: ", b"78901"], [b"x"] * 11):
        with pytest.raises(ProtocolError, match="10 bytes") as caught:
            read(*pieces, limits=limits)
        assert "max_line_bytes" in caught.value.hint


def test_an_event_of_endless_data_lines_is_refused():
    with pytest.raises(ProtocolError, match="an event"):
        read(*[b"data: 12345\n"] * 10, limits=Limits(max_line_bytes=20))


FAULTS = {
    "a line without its end": (b"data: " + b"x" * 60, "a line"),
    "a line and events after it": (b"data: " + b"x" * 60 + b"\n\ndata: c\n\n", "a line"),
    "an event": (b"data: 1234567890\n" * 6 + b"\ndata: c\n\n", "an event"),
}


@for_each(("fault", "says"), FAULTS.values(), ids=FAULTS)
def test_events_before_a_fault_in_the_same_piece_come_before_its_error(fault, says):
    came, error = before_error(SSEReader(Limits(max_line_bytes=50)).feed(b"data: a\n\ndata: {}\n\ndata: b\n\n" + fault))
    assert [event.data for event in came] == ["a", "{}", "b"]
    assert says in error.message


def test_events_come_before_the_error_of_endless_lines_without_data():
    reader = SSEReader(Limits(max_events_without_data=20))
    assert [event.data for event in reader.feed(b"data: a\n\n" + b": comment\n" * 30)] == ["a"]
    with pytest.raises(ProtocolError, match="no data"):
        list(reader.feed(b": comment\n"))


def test_an_event_has_the_id_that_came_last():
    stream = b"data: a\n\nid: 1\ndata: b\n\ndata: c\n\nid: 2\n\ndata: d\n\nid: x\0y\ndata: e\n\nid\ndata: f\n\n"
    assert [(event.data, event.id) for event in read(stream)] == list(zip("abcdef", ["", "1", "1", "2", "2", ""]))


@for_each("line", [b"data: [DONE]\n", b"data:[DONE]\r", b"data:  [DONE]\n", b"data: [DONE] \t\r\n"])
def test_the_last_event_needs_no_blank_line_whatever_blanks_are_in_it(line):
    (event,) = SSEReader(LIMITS).feed(line)
    assert event.is_done()


@for_each("line", [b"\n", b": still here\n", b"event: x\n", b"id: 1\n", b"data:\n\n", b"data:   \n\n"])
def test_endless_lines_without_data_are_refused(line):
    with pytest.raises(ProtocolError, match="no data"):
        read(*[line] * 101, limits=Limits(max_events_without_data=100))


@pytest.mark.parametrize("data", ["x", "{}"])
def test_data_starts_the_count_of_lines_without_data_anew(data):
    reader = SSEReader(Limits(max_events_without_data=100))
    for piece in (b": comment\n" * 100, f"data: {data}\n".encode(), b": comment\n" * 100):
        assert reader.feed(piece) == []
    assert reader.feed(b"\n") == [Event("message", data)]


def test_the_limit_of_an_event_holds_for_each_event_alone():
    assert len(read(*[b"data: 12345678901234\n\n"] * 10, limits=Limits(max_line_bytes=20))) == 10


def test_an_event_may_be_as_long_as_is_allowed():
    assert read(b"data: 1234\ndata: 67890\n\n", limits=Limits(max_line_bytes=11)) == [Event("message", "1234\n67890")]


@pytest.mark.parametrize("data", [b"{}", b"x"])
def test_a_byte_order_mark_is_skipped_at_the_beginning_alone(data):
    mark = b"\xef\xbb\xbf"
    text = data.decode()
    assert read(mark + b"data: " + data + b"\n\n") == [Event("message", text)]
    assert read(b"data: " + data + b"\n" + mark + b"data: y\n\n") == [Event("message", text)]
    assert read(b"\n" + mark + b"data: " + data + b"\n\n") == []


@pytest.mark.parametrize(
    ("line", "data"), [("error: too long", "too long"), ('{"error": 1} ', '{"error": 1}'), ("{", None), ("}", None)]
)
def test_a_line_that_reports_an_error_is_an_event_at_once_and_another_line_is_kept(line, data):
    reader = SSEReader(LIMITS)
    assert reader.feed(f"{line}\n".encode()) == ([] if data is None else [Event("error", data)])
    assert reader.strange == ([line] if data is None else [])


def test_the_first_hundred_of_endless_lines_that_are_no_fields_are_kept():
    reader = SSEReader(LIMITS)
    reader.feed(b"".join(b"%d\n" % number for number in range(101)))
    assert reader.strange == [str(number) for number in range(100)]


def test_an_error_is_not_blank_although_it_has_no_data():
    assert [Event(kind, " ").is_blank() for kind in ("message", "error")] == [True, False]


@pytest.mark.parametrize("stream", STREAMS)
def test_every_rule_of_the_standard_holds(stream):
    assert read(stream) == EVENTS


@pytest.mark.parametrize("stream", STREAMS)
def test_events_do_not_depend_on_how_the_network_cut_the_bytes(stream):
    assert read(*[stream[i : i + 1] for i in range(len(stream))]) == EVENTS
    for cut in range(len(stream)):
        assert read(stream[:cut], stream[cut:]) == EVENTS


@given(st.sampled_from(STREAMS), st.lists(st.integers(0, len(TRICKY)), max_size=8))
def test_events_do_not_depend_on_random_cuts(stream, cuts):
    edges = [0, *sorted(cuts), len(TRICKY)]
    assert read(*[stream[a:b] for a, b in zip(edges, edges[1:])]) == EVENTS


PARTS = [
    b"data: ",
    b"\n",
    b"\r",
    b":",
    b"\xef\xbb\xbf",
    b"\n\n",
    b"data: {",
    b"data: {}\n\n",
    b"event: x\n",
    b"error: x\n",
]


@given(st.lists(st.binary(max_size=50) | st.sampled_from(PARTS)))
def test_any_bytes_give_events_or_a_protocol_error(pieces):
    joined = b"".join(pieces)
    assert read(*pieces) == read(joined)


def test_done_counts_at_once_although_no_blank_line_follows():
    reader = SSEReader(Limits())
    assert reader.feed(b"data: [DONE]\n") == [Event("message", "[DONE]")]


def test_a_last_event_without_its_end_is_given_at_the_end():
    assert read(b'data: {"a": 1}') == [Event("message", '{"a": 1}')]
    assert read(b'data: {"a": 1}\n') == [Event("message", '{"a": 1}')]


def test_id_and_retry_are_kept_if_they_are_valid():
    reader = SSEReader(Limits())
    assert (reader.last_event_id, reader.retry_ms) == ("", None)
    reader.feed(b"id: 7\nretry: 250\n\nid: bad\0id\nretry: soon\nretry: 9999999999\n\n")
    assert (reader.last_event_id, reader.retry_ms) == ("7", 250)


# NDJSON

LINES = b'{"a": "Gr\xc3\xbc\xc3\x9fe \xe2\x80\xa8 \xc2\x85"}\n\r\n  \n[1,\r2]\r\nnull\n"last"'
VALUES = [{"a": "Grüße \u2028 \x85"}, [1, 2], None, "last"]


def values(*pieces, limits=LIMITS):
    reader = NDJSONReader(limits)
    return [value for piece in pieces for value in reader.feed(piece)] + reader.finish()


@for_each("bad", [b"oops", b"{", b"\xff", b"[" * 100_000, b"\xef\xbb\xbf{}", b"{} {}", "ü".encode()[:1]])
def test_a_line_that_is_not_json_is_refused_with_its_number_and_beginning(bad):
    for end in (b"\n", b""):
        with pytest.raises(ProtocolError, match="line 3 of the stream") as caught:
            values(b"{}\n\n" + bad + end)
        assert caught.value.__context__ is None
        assert len(str(caught.value)) < 1000


BAD_LINES = {
    "not JSON": (b"oops\n2\n", "line 3 of the stream"),
    "not UTF-8": (b'"\xff"\n2\n', "line 3 of the stream"),
    "too long": (b'"' + b"x" * 60 + b'"\n2\n', "a line"),
    "too long, without its end": (b'"' + b"x" * 60, "a line"),
    "blank lines": (b"\n" * 30 + b"2\n", "no data"),
}


@for_each(("bad", "says"), BAD_LINES.values(), ids=BAD_LINES)
def test_the_values_before_a_bad_line_are_kept_and_nothing_after_it_is_read(bad, says):
    reader = NDJSONReader(Limits(max_line_bytes=50, max_events_without_data=20))
    came, error = before_error(reader.feed(b"1\n\n" + bad))
    assert came == [1]
    assert says in error.message


def test_the_beginning_of_a_bad_line_is_its_first_200_characters():
    with pytest.raises(ProtocolError) as caught:
        values(b"x" * 200 + b"y")
    assert str(caught.value).endswith(repr("x" * 200 + "…"))


def test_the_beginning_of_a_bad_line_is_shown_whole_if_it_has_200_characters():
    with pytest.raises(ProtocolError) as caught:
        values(b"x" * 200)
    assert str(caught.value).endswith(repr("x" * 200))


@pytest.mark.parametrize(("line", "kept"), [(b"oops", ["oops"]), (b' {"a": 1', []), (b"  ", [])])
def test_a_last_line_without_its_end_is_kept_if_it_is_not_an_object(line, kept):
    reader = NDJSONReader(LIMITS)
    assert list(reader.feed(b"{}\n" + line)) == [{}]
    with contextlib.suppress(ProtocolError):
        reader.finish()
    assert reader.strange == kept


def test_a_line_of_json_over_the_limit_is_refused_however_it_comes():
    limits = Limits(max_line_bytes=10)
    for pieces in ([b"[1, 2, 3, 4]\n"], [b"[1, 2, ", b"3, 4"], [b"1"] * 11):
        with pytest.raises(ProtocolError, match="10 bytes"):
            values(*pieces, limits=limits)


def test_endless_blank_lines_are_refused():
    limits = Limits(max_events_without_data=100)
    assert values(*[b"\r\n"] * 100, b"1\n", *[b"\r\n"] * 100, limits=limits) == [1]
    with pytest.raises(ProtocolError, match="no data"):
        values(*[b"\r\n"] * 101, limits=limits)


def test_values_do_not_depend_on_how_the_network_cut_the_bytes():
    assert values(LINES) == VALUES
    assert values(*[LINES[i : i + 1] for i in range(len(LINES))]) == VALUES
    for cut in range(len(LINES)):
        assert values(LINES[:cut], LINES[cut:]) == VALUES


@given(st.lists(st.integers(0, len(LINES)), max_size=8))
def test_values_do_not_depend_on_random_cuts(cuts):
    edges = [0, *sorted(cuts), len(LINES)]
    assert values(*[LINES[a:b] for a, b in zip(edges, edges[1:])]) == VALUES


@given(st.lists(st.binary(max_size=50) | st.sampled_from([b"\n", b"\r\n", b"{}", b"1", b'"'])))
def test_any_bytes_give_values_or_a_protocol_error(pieces):
    def outcome(*given):
        try:
            return repr(values(*given))  # NaN is a value, and not equal to itself
        except ProtocolError as error:
            return str(error)

    assert outcome(*pieces) == outcome(b"".join(pieces))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_whatever_json_can_say_is_read(value):
    assert values(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n") == [value]


# Time and memory


@pytest.mark.slow
@for_each("make", [SSEReader, NDJSONReader])
@for_each("size", [1, 65536])
def test_a_long_line_costs_memory_in_proportion_to_its_length(make, size):
    """A reader that copied its buffer at each piece would copy 20 GB for 200 kB in pieces of one byte."""
    length = 200_000 if size == 1 else 8_000_000
    reader = make(Limits())
    line = b'data: "' + b"x" * length + b'"\n\n'
    line = line if make is SSEReader else line[6:]
    found = [each for start in range(0, len(line), size) for each in reader.feed(line[start : start + size])]
    assert len(found) == 1


# Chunks

CHUNKS = b"5\r\nHello\r\n00A;name=value\r\n, \r\n0\r\n\r\n!\r\n1 \n.\r\n0;last\r\nExpires: never\r\nX: y\r\n\r\n"
CONTENT = b"Hello, \r\n0\r\n\r\n!."


def content(*pieces):
    """Return the content of a chunked body, the bytes after it, and the error in it."""
    found, chunks = [], dechunk(iter(pieces))
    try:
        while True:
            found.append(next(chunks))
    except StopIteration as end:
        return b"".join(found), end.value, None
    except (ValueError, EOFError) as error:
        return b"".join(found), b"", type(error)


SIZES = [b"zz\r\n", b"\r\n", b"-1\r\n", b"+1\r\n1", b"0x1\r\n1", b"1_0\r\n", b"1 1\r\n", b"1" * 17 + b"\r\n"]
ENDLESS = [b"1" * 20_000, b"1;" + b"x" * 20_000]


@pytest.mark.slow
@for_each("bad", [*SIZES, *ENDLESS, b"1\r\n22\r\n", b"1\r\n1\n1\r\n"])
def test_a_malformed_chunk_is_refused_after_the_content_before_it(bad):
    for pieces in ([b"2\r\nHi\r\n" + bad], [b"2\r\nHi\r\n", *[bad[i : i + 1] for i in range(len(bad))]]):
        found, _, error = content(*pieces)
        assert found.startswith(b"Hi")
        assert error is ValueError


@for_each("length", range(CHUNKS.index(b"0;last")))
def test_chunks_without_the_last_one_are_an_error_after_their_content(length):
    found, _, error = content(CHUNKS[:length])
    assert error is EOFError
    assert CONTENT.startswith(found)


@for_each("end", [b"0\r\n", b"0\r\nX: y", b"0\r\nX: y\r\n", b"0\r\n\r", b"0\r\n\r\n", b"0\n\n"])
def test_after_the_last_chunk_nothing_has_to_come(end):
    assert content(b"2\r\nHi\r\n" + end) == (b"Hi", b"", None)


def test_chunks_do_not_depend_on_how_the_network_cut_the_bytes():
    assert content(CHUNKS) == (CONTENT, b"", None)
    assert content(*[CHUNKS[i : i + 1] for i in range(len(CHUNKS))]) == (CONTENT, b"", None)
    for cut in range(len(CHUNKS)):
        assert content(CHUNKS[:cut], CHUNKS[cut:]) == (CONTENT, b"", None)


@given(st.lists(st.integers(0, len(CHUNKS)), max_size=8))
def test_chunks_do_not_depend_on_random_cuts(cuts):
    edges = [0, *sorted(cuts), len(CHUNKS)]
    assert content(*[CHUNKS[a:b] for a, b in zip(edges, edges[1:])]) == (CONTENT, b"", None)


@given(st.lists(st.binary(min_size=1, max_size=300)), st.integers(1, 20))
def test_any_content_comes_out_of_its_chunks(parts, size):
    body = b"".join(b"%X\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    assert content(*[body[i : i + size] for i in range(0, len(body), size)]) == (b"".join(parts), b"", None)


def test_the_bytes_after_the_last_chunk_are_returned():
    assert content(CHUNKS + b"HTTP/1.1 200 OK\r\n") == (CONTENT, b"HTTP/1.1 200 OK\r\n", None)


def test_content_is_handed_on_as_it_arrives_although_its_chunk_is_not_whole():
    pieces = iter([b"F", b"FFFFFFF\r\nHel", b"lo"])
    chunks = dechunk(pieces)
    assert next(chunks) == b"Hel"
    assert next(chunks) == b"lo"


# Compression


def packed(data, wbits=zlib.MAX_WBITS | 16):
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    return packer.compress(data) + packer.flush()


@for_each("encoding", ["gzip", "x-gzip", "deflate"])
@for_each("size", [1, 7, 1000, 65536, 65537, 300_000])
def test_compressed_data_comes_out_in_bounded_pieces(encoding, size):
    data = bytes(range(256)) * (size // 256 + 1)
    whole = packed(data, zlib.MAX_WBITS if encoding == "deflate" else zlib.MAX_WBITS | 16)
    for pieces in ([whole], [whole[i : i + 1] for i in range(len(whole))], [whole[:9], b"", whole[9:]]):
        out = list(decompress(iter(pieces), encoding))
        assert b"".join(out) == data
        assert all(0 < len(piece) <= 65536 for piece in out)


def test_flushed_data_comes_out_at_once():
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    first = packer.compress(b"data: 1\n\n") + packer.flush(zlib.Z_SYNC_FLUSH)

    def arriving():
        yield first
        raise AssertionError("the second piece was asked for before the first was handed out")

    assert next(decompress(arriving(), "gzip")) == b"data: 1\n\n"


def test_several_members_are_one_body():
    assert b"".join(decompress([packed(b"one") + packed(b"two")[:5], packed(b"two")[5:]], "gzip")) == b"onetwo"


@pytest.mark.parametrize("data", [b"no gzip", packed(b"raw", -15), packed(b"x" * 1000)[:-9] + b"garbage!!"])
def test_data_that_is_not_compressed_is_a_protocol_error(data):
    with pytest.raises(ProtocolError, match="compression"):
        list(decompress([data], "gzip"))


@for_each("sync", [zlib.Z_SYNC_FLUSH, zlib.Z_NO_FLUSH])
@for_each("wbits", [zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS])
def test_what_was_compressed_before_a_fault_in_the_same_piece_comes_before_its_error(sync, wbits):
    packer = zlib.compressobj(wbits=wbits)
    events = b"".join(b"data: %d, Gr\xc3\xbc\xc3\x9fe\n\n" % number for number in range(300))
    good = packer.compress(events) + packer.flush(zlib.Z_SYNC_FLUSH)
    # 0xff begins a block of a type that does not exist.
    came, error = before_error(decompress([good + b"\xff" * 1000], "gzip" if wbits > 15 else "deflate"))
    assert b"".join(came) == events
    assert all(came)
    assert "compression is broken" in error.message


def test_a_body_with_a_wrong_checksum_comes_before_the_error():
    body = packed(b"Hello" * 30_000)
    came, _ = before_error(decompress([body[:-8] + b"12345678"], "gzip"))
    assert b"".join(came) == b"Hello" * 30_000
    assert all(0 < len(piece) <= 65536 for piece in came)


def test_what_comes_before_a_fault_does_not_depend_on_how_the_network_cut_the_bytes():
    good, faults = packed(bytes(97 + (number * number // 7) % 3 for number in range(400))), 0
    for at, bit in itertools.product(range(10, len(good)), range(8)):
        bad = good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1 :]
        outcomes = set()
        for size in (1, 7, len(bad)):
            came = []
            with contextlib.suppress(EOFError, ProtocolError):
                came.extend(decompress([bad[i : i + size] for i in range(0, len(bad), size)], "gzip"))
                faults -= 1
            faults += 1
            outcomes.add(b"".join(came))
        assert len(outcomes) == 1
    assert faults > 100


def test_an_encoding_that_was_not_requested_is_a_protocol_error():
    with pytest.raises(ProtocolError, match="'br'"):
        list(decompress([b""], "br"))


def test_an_end_that_is_missing_is_noticed():
    with pytest.raises(EOFError):
        list(decompress([packed(b"x" * 1000)[:-1]], "gzip"))


@pytest.mark.slow
def test_a_bomb_is_never_whole_in_memory():
    bomb = packed(bytes(40_000_000))
    tracemalloc.start()
    try:
        assert sum(len(piece) for piece in decompress([bomb], "gzip")) == 40_000_000
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4_000_000


def squeezed(wbits, data=b"Hello, hello, hello"):
    packer = zlib.compressobj(wbits=wbits)
    return packer.compress(data) + packer.flush()


GZIP = squeezed(zlib.MAX_WBITS | 16)


@for_each("size", [1, 2, 3, 7, 1000])
@for_each(
    ("encoding", "data"),
    [
        ("gzip", GZIP),
        ("x-gzip", GZIP + bytes(512)),
        ("gzip", squeezed(zlib.MAX_WBITS | 16, b"Hello, hello") + bytes(9) + squeezed(31, b", hello") + bytes(9)),
        ("deflate", squeezed(zlib.MAX_WBITS)),
        ("deflate", squeezed(-zlib.MAX_WBITS)),
        ("deflate", GZIP),
    ],
)
def test_compressed_data_does_not_depend_on_how_the_network_cut_it(encoding, data, size):
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert b"".join(decompress(pieces, encoding)) == b"Hello, hello, hello"


@for_each("wbits", [zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS])
@for_each("left", [1, 2, 10])
def test_compressed_data_that_is_cut_off_is_an_error(wbits, left):
    encoding = "gzip" if wbits > zlib.MAX_WBITS else "deflate"
    with pytest.raises(EOFError):
        b"".join(decompress([squeezed(wbits)[:left]], encoding))


@for_each(("encoding", "wbits"), [("gzip", 31), ("deflate", zlib.MAX_WBITS), ("deflate", -zlib.MAX_WBITS)])
def test_nothing_is_nothing_compressed_or_not(encoding, wbits):
    for pieces in ([], [b""], [squeezed(wbits, b"")]):
        assert list(decompress(pieces, encoding)) == []


@for_each("size", [b"3", b" 3", b"\t 3", b"3 ", b"0" * 40 + b"3"])
def test_a_size_may_have_blanks_and_zeros_around_it(size):
    assert list(dechunk([size + b"\r\nabc\r\n0\r\n\r\n"])) == [b"abc"]


@for_each("step", [1, 1000, 100_000])
def test_content_is_kept_however_long_the_trailers_are_and_however_they_come(step):
    body = b"3\r\nabc\r\n0\r\n" + b"A: b\r\n" * 2000 + b"\r\n"
    assert b"".join(dechunk(body[at : at + step] for at in range(0, len(body), step))) == b"abc"


def test_trailers_that_are_too_long_to_wait_for_are_returned_because_another_reply_may_follow_them():
    trailers = b"A: b\r\n" * 1000
    assert content(b"3\r\nabc\r\n0\r\n" + trailers) == (b"abc", b"\n" + trailers, None)
