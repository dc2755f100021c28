import json
import os
import time

import pytest

from lmstudio_provider import LMStudioProvider, discover
from lmstudio_provider._http.exchange import Deadline
from lmstudio_provider._provider.lmstudio_home import find_lms, home, read_version, server_url

pytestmark = pytest.mark.usefixtures("own_home")


@pytest.fixture
def sdk(httpserver, tmp_path):
    """Make LM Studio's files name this server as that of its SDK, and return a function that says what it answers."""

    def answer(reply=None, status=200, own_port=None):
        folder = tmp_path / ".lmstudio" / ".internal"
        folder.mkdir(parents=True)
        httpserver.expect_request("/lms-status").respond_with_json(
            {"package": "lmstudio", "version": "0.4.26"} if reply is None else reply, status
        )
        (folder / "http-server.json").write_text(json.dumps({"host": "127.0.0.1", "pid": 1, "port": httpserver.port}))
        if own_port is not None:
            (folder / "http-server-config.json").write_text(json.dumps({"port": own_port}))

    return answer


def version(url="http://localhost:1234", seconds=10):
    return read_version(url, Deadline(seconds, time.monotonic()))


@pytest.mark.parametrize("pointer", [None, b"", b"\n", b"\xff\xfe", b"a\0b"])
def test_without_a_pointer_lm_studio_lives_in_its_folder(tmp_path, pointer):
    if pointer is not None:
        (tmp_path / ".lmstudio-home-pointer").write_bytes(pointer)
    assert home() == tmp_path / ".lmstudio"


def test_the_older_folder_is_taken_if_it_exists(tmp_path):
    (tmp_path / ".cache" / "lm-studio").mkdir(parents=True)
    assert home() == tmp_path / ".cache" / "lm-studio"


def test_the_pointer_wins(tmp_path):
    (tmp_path / ".cache" / "lm-studio").mkdir(parents=True)
    (tmp_path / ".lmstudio-home-pointer").write_text(f"{tmp_path / 'elsewhere'}\n", encoding="utf-8")
    assert home() == tmp_path / "elsewhere"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"port": "1"}', '{"port": 0}', '{"port": true}', '{"port": 70000}', "\xff", "[" * 5000]
)
def test_a_settings_file_without_a_valid_port_is_not_a_hint(tmp_path, text):
    folder = tmp_path / ".lmstudio" / ".internal"
    folder.mkdir(parents=True)
    (folder / "http-server-config.json").write_text(text, encoding="latin-1")
    assert server_url() is None


def test_the_settings_file_is_read_in_the_folder_that_the_pointer_names(tmp_path):
    (tmp_path / ".lmstudio-home-pointer").write_text(str(tmp_path / "elsewhere"), encoding="utf-8")
    (tmp_path / "elsewhere" / ".internal").mkdir(parents=True)
    (tmp_path / "elsewhere" / ".internal" / "http-server-config.json").write_text('\ufeff{"port": 4321}', "utf-8")
    assert server_url() == "http://localhost:4321"


@pytest.mark.skipif(os.name == "nt", reason="a file without an extension is not a program on Windows")
def test_the_program_is_found_in_the_folder_if_it_is_not_on_path(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert find_lms() is None
    program = tmp_path / ".lmstudio" / "bin" / "lms"
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    assert find_lms() == str(program)


@pytest.mark.parametrize(
    "reply", [{}, [], {"version": "1"}, {"package": "other", "version": "1"}, {"package": "lmstudio", "version": 4}]
)
def test_a_status_that_is_not_lm_studios_has_no_version(sdk, reply):
    sdk(reply)
    assert version() is None


def test_a_server_that_refuses_its_status_has_no_version(sdk):
    sdk(status=404)
    assert version() is None


def test_a_server_for_the_sdk_that_is_silent_is_not_waited_for(tmp_path, hanging_url):
    folder = tmp_path / ".lmstudio" / ".internal"
    folder.mkdir(parents=True)
    (folder / "http-server.json").write_text(json.dumps({"port": int(hanging_url.rpartition(":")[2])}))
    assert version(seconds=0.2) is None


@pytest.mark.parametrize("url", ["http://192.0.2.1:1234", "http://studio.invalid:1234", "https://example.org"])
def test_another_machine_is_not_asked(sdk, httpserver, url):
    sdk()
    assert version(url) is None
    assert httpserver.log == []


def test_another_server_of_this_machine_has_not_the_version_of_lm_studio(sdk):
    sdk(own_port=1234)
    assert version("http://localhost:5678") is None


@pytest.mark.parametrize("package", ["lmstudio", "bionic"])
@pytest.mark.parametrize("url", ["http://localhost:1234", "http://127.0.0.1:1234", "http://[::1]:1234/prefix"])
def test_the_version_is_that_of_the_server_for_the_sdk(sdk, package, url):
    sdk({"package": package, "version": "0.4.26"}, own_port=1234)
    assert version(url) == "0.4.26"


def test_a_variable_may_name_the_file_with_the_address_for_the_sdk(monkeypatch, tmp_path, sdk):
    sdk()
    moved = tmp_path / "moved.json"
    (tmp_path / ".lmstudio" / ".internal" / "http-server.json").rename(moved)
    monkeypatch.setenv("LMS_API_SERVER_INFO_PATH", str(moved))
    assert version() == "0.4.26"


def test_discovery_and_health_report_the_version(sdk, simulator):
    sdk()
    assert discover(10, settings={"lmstudio_base_url": simulator.url})[0].version == "0.4.26"
    with LMStudioProvider(simulator.url, refresh=False) as lm:
        assert lm.health_check().version == "0.4.26"


def test_without_lm_studio_on_this_machine_the_version_is_unknown(simulator):
    with LMStudioProvider(simulator.url, refresh=False) as lm:
        health = lm.health_check()
    assert (health.ok, health.version) == (True, None)
