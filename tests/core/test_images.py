import base64
import dataclasses
import gzip
import io
import pickle
import tempfile
import traceback
from pathlib import Path

import pytest
from tables import for_each

from lmstudio_provider import InvalidRequestError, LMStudioProvider, Message
from lmstudio_provider._native.types import NativeRequest

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 4
PNG_TEXT = base64.b64encode(PNG).decode()
JPEG_TEXT = base64.b64encode(JPEG).decode()
PNG_URL = f"data:image/png;base64,{PNG_TEXT}"
JPEG_URL = f"data:image/jpeg;base64,{JPEG_TEXT}"
LARGE = PNG + bytes(4_000_000)


def urls(images):
    return [part["image_url"]["url"] for part in Message.user("What is this?", images=images).content[1:]]


def refused(image):
    """The error, and all that a traceback of it prints."""
    with pytest.raises(InvalidRequestError) as caught:
        Message.user("What is this?", images=[image])
    error = caught.value
    return error, "".join(traceback.format_exception(type(error), error, error.__traceback__))


@for_each(
    ("image", "why"),
    [
        ("http://example.org/a.png", "http URL"),
        ("HTTPS://example.org/a.png", "http URL"),
        (" https://example.org/a.png\n", "http URL"),
        ("data:image/png,raw", "not base64"),
        ("data:image/svg+xml,<svg/>", "not base64"),
        ("data:image/png;base64", "not a PNG or JPEG image"),
        ("data:image/png;base64,%%%", "not valid base64"),
        ("data:image/png;base64,aGVsbG8=", "the data: URL is not a PNG or JPEG image"),
        ("data:image/webp;base64,UklGRgAAAABXRUJQ", "webp"),
        (b"RIFF\0\0\0\0WEBP", "webp"),
        (b"GIF89a", "gif"),
        ("R0lGODlhAQABAIAAAAAAAP", "gif"),
        (b"hello", "not a PNG or JPEG image"),
        (b"", "not a PNG or JPEG image"),
        (io.BytesIO(b"hello"), "the file is not a PNG or JPEG image"),
        ("no/such/file.png", r"cannot read 'no/such/file\.png': No such file"),
        (Path("no/such/file"), "cannot read 'no/such/file': No such file"),
        ("photo", "cannot read 'photo'"),
        ("", "cannot read ''"),
        ("a\0b.png", "cannot read .*null"),
        (".", "cannot read '.'"),
        (7, "int"),
        (None, "NoneType"),
        (object(), "object"),
        ({"type": "image_url"}, "dict"),
    ],
)
def test_an_image_that_the_server_refuses_is_refused_before(image, why):
    with pytest.raises(InvalidRequestError, match=why):
        Message.user("What is this?", images=[image])


@for_each("image", [5, {"type": "image_url"}, 5.0])
def test_one_that_is_not_an_image_is_refused_as_one_in_a_list(image):
    with pytest.raises(InvalidRequestError, match=type(image).__name__):
        Message.user("Hi", images=image)


def test_images_become_data_urls_of_the_kind_that_their_bytes_show(tmp_path):
    path = tmp_path / "photo.png"  # the name is wrong, the bytes decide
    path.write_bytes(JPEG)
    assert Message.user("What is this?", images=PNG).content[0] == {"type": "text", "text": "What is this?"}
    assert urls([PNG, path, str(path), PNG_URL]) == [PNG_URL, JPEG_URL, JPEG_URL, PNG_URL]
    assert urls([bytearray(PNG), memoryview(PNG), PNG_URL.replace("png", "jpeg")]) == [PNG_URL] * 3


def test_one_image_need_not_be_in_a_list(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(PNG)
    for image in (PNG, path, str(path), PNG_URL, PNG_TEXT, io.BytesIO(PNG), Picture(PNG), memoryview(PNG)):
        assert urls(image) == [PNG_URL]
    assert urls(image for image in (PNG, JPEG)) == [PNG_URL, JPEG_URL]


# Files


def test_a_file_in_text_mode_is_refused_with_the_mode_to_open_it_in(tmp_path):
    path = tmp_path / "photo.png"
    for content in (PNG, b"hello", b""):
        path.write_bytes(content)
        for encoding in ("utf-8", "latin-1"):
            with path.open(encoding=encoding) as file, tempfile.NamedTemporaryFile("w+", encoding=encoding) as other:
                for image in (file, other, io.StringIO("hello")):
                    error, printed = refused(image)
                    assert "text mode" in error.message
                    assert "'rb'" in error.hint
                    assert "\\x89" not in printed


def test_a_file_that_fails_to_be_decoded_is_in_text_mode_and_its_content_is_not_shown():
    class Text:
        def read(self):
            return LARGE.decode("utf-8")

    error, printed = refused(Text())
    assert "text mode" in error.message
    assert error.__context__ is None
    assert len(printed) < 4000


def test_a_file_is_read_from_its_position_on_and_stays_open(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(b"header" + PNG)
    with path.open("rb") as file:
        file.seek(len(b"header"))
        assert urls([file]) == [PNG_URL]
        assert not file.closed
        error, _ = refused(file)
    assert "nothing to read" in error.message
    assert "seek(0)" in error.hint


def test_anything_with_read_is_a_file(tmp_path):
    class Upload:
        def read(self):
            return bytearray(PNG)

    (tmp_path / "photo.gz").write_bytes(gzip.compress(PNG))
    with gzip.open(tmp_path / "photo.gz") as zipped, tempfile.SpooledTemporaryFile() as spooled:
        spooled.write(PNG)
        spooled.seek(0)
        assert urls([Upload(), zipped, spooled, io.BufferedReader(io.BytesIO(PNG))]) == [PNG_URL] * 4


def test_an_error_names_the_exception_or_the_type_from_read():
    class Broken:
        def read(self):
            raise OSError("disk")

    class Odd:
        def read(self):
            return 7

    closed = io.BytesIO(PNG)
    closed.close()
    error, _ = refused(Broken())
    assert "read() of the Broken raised OSError: disk" in error.message
    assert isinstance(error.__cause__, OSError)
    assert "closed file" in refused(closed)[0].message
    assert "read() of the Odd returned int, not bytes" in refused(Odd())[0].message


class Picture:
    """As a ``PIL.Image``, of which nothing but ``save`` is known here."""

    def __init__(self, content):
        self._content = content

    def save(self, fp, format=None, **params):
        assert format == "PNG"
        fp.write(self._content)


def test_a_picture_is_saved_as_png():
    assert urls([Picture(PNG)]) == [PNG_URL]


def test_an_error_names_the_exception_or_the_output_of_save():
    class Cmyk:
        def save(self, fp, format=None):
            raise OSError(f"cannot write mode CMYK as {format}")

    class Model:
        def save(self):
            raise AssertionError

    error, _ = refused(Cmyk())
    assert "save() of the Cmyk raised OSError: cannot write mode CMYK as PNG" in error.message
    assert "convert('RGB')" in error.hint
    assert "save() of the Model raised TypeError" in refused(Model())[0].message
    assert "not a PNG or JPEG image" in refused(Picture(b"hello"))[0].message


# Base64


@for_each("content", [PNG, JPEG, PNG + b"x", PNG + b"xy", PNG[:8], JPEG[:3]])
def test_bare_base64_is_taken_in_all_its_forms(content):
    (url,) = urls([content])
    plain = base64.b64encode(content)
    forms = [
        plain,
        base64.urlsafe_b64encode(content),
        plain.rstrip(b"="),
        base64.urlsafe_b64encode(content).rstrip(b"="),
        base64.encodebytes(content),
        base64.encodebytes(content).replace(b"\n", b"\r\n"),
        b"\n  " + plain + b" \n",
        b" ".join(plain[at : at + 4] for at in range(0, len(plain), 4)),
    ]
    assert urls(forms) == [url] * len(forms)
    assert urls([form.decode() for form in forms]) == [url] * len(forms)
    assert urls([f"data:image/png;base64,{form.decode()}" for form in forms]) == [url] * len(forms)


def test_a_data_url_may_be_bytes_in_capitals_and_percent_encoded():
    escaped = PNG_URL.replace("=", "%3D").replace("+", "%2B").replace("/", "%2F").replace("image%2Fpng", "image/png")
    capitals = PNG_URL.replace("data:image/png;base64", "DATA:IMAGE/PNG;BASE64")
    charset = PNG_URL.replace(";base64", ";charset=utf-8;base64")
    assert urls([PNG_URL.encode(), escaped, capitals, charset, f" {PNG_URL}\n"]) == [PNG_URL] * 5


@pytest.mark.parametrize("name", [PNG_TEXT[:40], JPEG_TEXT[1:3] * 20, base64.urlsafe_b64encode(PNG).decode()[:80]])
def test_a_file_of_that_name_wins_over_base64(tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(JPEG)
    monkeypatch.chdir(tmp_path)
    assert urls([name]) == [JPEG_URL]


@pytest.mark.slow
@for_each(
    "spoil",
    [
        lambda text: text[:100] + "!" + text[101:],
        lambda text: text[:100] + "é" + text[100:],
        lambda text: text[: len(text) // 4 * 4 - 3],
        lambda text: text[:100] + "=" + text[100:],
        lambda text: text + ".png",
        lambda text: text[:32] + "...",
        lambda text: text[:64] + "<truncated>",
        lambda text: text + "\0",
        lambda text: text + "\ud800",
    ],
)
@for_each("begin", ["", "data:image/png;base64,", "DATA:image/png;base64,"])
def test_broken_base64_of_an_image_is_said_to_be_broken_and_never_shown(spoil, begin):
    text = begin + spoil(base64.b64encode(LARGE).decode())
    error, printed = refused(text)
    assert "base64" in error.message
    assert "iVBORw0KGgo"[:8] not in printed
    assert "AAAAAAAA" not in printed
    assert len(str(error)) < 400
    assert error.__context__ is None or "iVBOR" not in str(error.__context__)


@for_each(
    "text",
    [
        "QUJD" * 1_000_000,
        "x" * 5_000_000,
        "word " * 100_000,
        base64.b64encode(b"BM" + b"7" * 200).decode(),
        "/" * 40_000,
    ],
)
def test_a_long_text_that_is_neither_a_path_nor_an_image_is_not_shown(text):
    error, printed = refused(text)
    what = "neither the path of a file nor the base64 of an image"
    assert f"a text of {len(text):,} characters is {what}" in error.message
    assert text[:20] not in printed
    assert len(str(error)) < 400


def test_the_bytes_of_a_refused_image_are_not_shown():
    for image in (b"BM" + LARGE, io.BytesIO(b"BM" + LARGE), b"RIFF" + LARGE, Picture(LARGE[1:])):
        _, printed = refused(image)
        assert len(printed) < 4000


# Images in the repr of a message


@for_each(
    "message",
    [
        Message.user("What is this?", images=[LARGE]),
        Message("user", [{"type": "image_url", "image_url": "data:image/png;base64," + "QUJD" * 1_000_000}]),
        Message("user", [{"type": "image", "source": {"type": "base64", "data": "QUJD" * 1_000_000}}]),
        Message("user", [{"type": "x", "images": ["QUJD" * 1_000_000, "QUJD" * 1_000_000]}]),
        Message("user", [{"type": "x", "y": b"QUJD" * 1_000_000}]),
        NativeRequest("What is this?", images=[LARGE]),
        NativeRequest([{"type": "image", "data_url": "data:image/png;base64," + "QUJD" * 1_000_000}]),
    ],
)
def test_a_repr_has_no_image_in_it(message):
    assert len(repr(message)) < 700
    assert "QUJDQUJD" not in repr(message)
    assert "AAAAAAAA" not in repr(message)


def test_a_repr_says_how_much_was_left_out_and_keeps_all_else():
    message = Message.user("What is this? " * 100, images=[PNG])
    assert repr(message) == (
        f"Message(role='user', content=[{{'type': 'text', 'text': {'What is this? ' * 100!r}}}, "
        f"{{'type': 'image_url', 'image_url': {{'url': 'data:image/png;base64,… {len(PNG_URL):,} characters'}}}}], "
        "name=None, tool_calls=(), tool_call_id=None, reasoning=None)"
    )
    assert repr(Message.user("data: " * 100)).count("data: ") == 100
    assert eval(repr(Message.assistant("Hi"))) == Message.assistant("Hi")


def test_a_message_itself_keeps_its_image():
    message = Message.user("What is this?", images=[PNG])
    assert pickle.loads(pickle.dumps(message)) == message == dataclasses.replace(message)
    assert message.as_dict()["content"][1]["image_url"]["url"] == PNG_URL


def test_an_open_file_reaches_the_model(simulator, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(PNG)
    with LMStudioProvider(simulator.url, refresh=False) as lm, path.open("rb") as file:
        lm.chat([Message.user("What is this?", images=[file])])
        body = simulator.requests[-1]["body"]
        assert body["messages"][0]["content"][1]["image_url"]["url"] == PNG_URL
        file.seek(0)
        lm.native.chat("What is this?", images=file)
        assert simulator.requests[-1]["body"]["input"][1]["data_url"] == PNG_URL


# A message without a text


@pytest.mark.parametrize("images", [(), [PNG]])
def test_a_user_who_says_none_is_refused_with_what_to_write(images):
    with pytest.raises(InvalidRequestError, match="the text is None") as caught:
        Message.user(None, images)
    assert caught.value.hint.startswith("Write Message.user('...'); '' is right for images without text")


def test_a_system_message_of_none_is_refused_with_what_to_write():
    with pytest.raises(InvalidRequestError, match="the text is None") as caught:
        Message.system(None)
    assert caught.value.hint == "Write Message.system('...'); leave the message out for no instructions"


@for_each("text", [5, b"Hi", {"type": "text"}])
def test_a_user_whose_text_is_none_beside_an_image_is_refused(text):
    with pytest.raises(InvalidRequestError, match="is not text"):
        Message.user(text, images=[PNG])


def test_an_image_may_come_without_a_text():
    assert Message.user("", images=[PNG]).content[0] == {"type": "text", "text": ""}
