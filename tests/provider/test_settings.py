import collections
import itertools
import os
import sys
import threading

import pytest
from tables import for_each

from lmstudio_provider import ConfigurationError, LMStudioProvider, OllamaProvider, RequestTimeoutError, Timeouts
from lmstudio_provider._core.types import UNSET
from lmstudio_provider._provider.settings import Settings

pytestmark = pytest.mark.usefixtures("own_home")

NAMES = LMStudioProvider._names


def settings(mapping=None, **arguments):
    return Settings(NAMES, arguments, mapping)


def ini(tmp_path, monkeypatch, text, name="other.ini"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("LM_STUDIO_CONFIG", str(path))
    return path


@pytest.mark.parametrize(
    "bad",
    [
        *("soon", "0", "-5", "nan", "inf", "1e999", "0s", "-5s", "5 parsecs", "s", "30ss", "1,5s", "1e3s", "٣s"),
        *("30s 5", "5m-1s", "999999h"),
    ],
)
def test_a_bad_timeout_is_named_with_its_source_and_value(monkeypatch, bad):
    monkeypatch.setenv("LM_STUDIO_TIMEOUT", bad)
    with pytest.raises(ConfigurationError, match=f"timeout='{bad}', from the environment variable LM_STUDIO_TIMEOUT"):
        settings().config()


@for_each("bad", [0, -1, "5", True, float("nan")])
def test_a_bad_timeout_argument_is_refused(bad):
    with pytest.raises(ConfigurationError, match="timeout="):
        settings(timeout=bad).config()


def test_a_bad_timeout_says_how_to_write_one():
    with pytest.raises(ConfigurationError) as caught:
        settings({"lmstudio_timeout": "half a minute"}).config()
    assert caught.value.hint == "Write '30s', '500ms' or '2m', or a number of milliseconds"


@for_each("bad", [True, [], {}])
def test_a_timeout_of_the_wrong_type_in_a_mapping_is_refused(bad):
    with pytest.raises(ConfigurationError, match="the setting lmstudio_timeout"):
        settings({"lmstudio_timeout": bad}).config()


@for_each("bad", ["with blank", "line\nbreak", "ümlaut", 7])
def test_a_bad_token_is_named_by_its_source_and_never_shown(bad):
    with pytest.raises(ConfigurationError, match="the setting lmstudio_api_token") as caught:
        settings({"lmstudio_api_token": bad}).config()
    assert str(bad) not in str(caught.value).replace("0123456789", "")


def test_a_url_and_a_model_that_are_not_text_are_refused():
    for bad in (7.5, True, b"http://ann:pw@host"):
        with pytest.raises(ConfigurationError, match="base_url, from the argument base_url, is"):
            settings(base_url=bad).config()
    with pytest.raises(ConfigurationError, match="model=7, from the setting lmstudio_model, is int"):
        settings({"lmstudio_model": 7}).model(None)


@for_each("bad", ["", "a b", "../x", 7])
def test_a_tier_that_is_not_a_name_is_refused(bad):
    with pytest.raises(ConfigurationError, match="tier="):
        settings().model(bad)


def test_settings_without_get_are_refused():
    with pytest.raises(ConfigurationError, match=r"no get\(name\)"):
        settings(object())


def test_a_mapping_that_raises_is_a_configuration_error_with_its_cause():
    class Broken:
        def get(self, name):
            raise OSError("disk")

    with pytest.raises(ConfigurationError, match="raised OSError") as caught:
        settings(Broken()).config()
    assert isinstance(caught.value.__cause__, OSError)


def test_an_ini_file_that_is_named_and_missing_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv("LM_STUDIO_CONFIG", str(tmp_path / "none.ini"))
    with pytest.raises(ConfigurationError, match=r"none\.ini, named by LM_STUDIO_CONFIG: No such file"):
        settings().config()


@pytest.mark.parametrize(
    "text", ["[lmstudio]\napi_token s3cret\n", "api_token = s3cret\n", "[lmstudio]\na=1\na=s3cret"]
)
def test_the_error_about_an_invalid_ini_file_shows_nothing_of_it(monkeypatch, tmp_path, text):
    ini(tmp_path, monkeypatch, text)
    with pytest.raises(ConfigurationError, match=r"other\.ini, line \d") as caught:
        settings().config()
    assert "s3cret" not in str(caught.value)
    assert caught.value.__context__ is None


def test_an_ini_file_that_is_not_text_is_an_error(monkeypatch, tmp_path):
    path = ini(tmp_path, monkeypatch, "")
    path.write_bytes(b"[lmstudio]\napi_token = s3cret\xff\n")
    with pytest.raises(ConfigurationError, match=r"other\.ini") as caught:
        settings().config()
    assert caught.value.__context__ is None  # whose repr shows all of the file


def test_the_default_is_loopback_and_no_timeouts_and_no_token():
    config = settings().config()
    assert (config.base_url.text, config.base_url_source) == ("http://localhost:1234", "the default")
    assert (config.timeouts, config.api_token, settings().model(None)) == (None, None, None)


def test_each_source_wins_over_the_next(monkeypatch, tmp_path):
    ini(tmp_path, monkeypatch, "[lmstudio]\nbase_url = from-ini\n[ollama]\nbase_url = not-mine\n")
    assert settings().config().base_url.text == "http://from-ini:1234"
    monkeypatch.setenv("LM_STUDIO_URL", "from-env")
    assert settings().config().base_url.text == "http://from-env:1234"
    mapping = {"lmstudio_base_url": "from-mapping"}
    assert settings(mapping).config().base_url.text == "http://from-mapping:1234"
    assert settings(mapping, base_url="from-argument").config().base_url.text == "http://from-argument:1234"


@pytest.mark.parametrize("blank", ["", "  "])
def test_blank_text_counts_as_not_set(monkeypatch, blank):
    monkeypatch.setenv("LM_STUDIO_URL", blank)
    monkeypatch.setenv("LM_API_TOKEN", blank)
    config = settings({"lmstudio_base_url": blank}, base_url=blank).config()
    assert (config.base_url_source, config.api_token) == ("the default", None)


def test_a_value_keeps_its_source(monkeypatch, tmp_path):
    path = ini(tmp_path, monkeypatch, "[lmstudio]\nbase_url = a\n")
    assert settings().config().base_url_source == f"base_url in [lmstudio] of {path}"
    assert settings({"lmstudio_base_url": "a"}).config().base_url_source == "the setting lmstudio_base_url"
    assert settings(base_url="a").config().base_url_source == "the argument base_url"
    monkeypatch.setenv("LMSTUDIO_API_TOKEN", "second")
    assert settings().config().api_token_source == "the environment variable LMSTUDIO_API_TOKEN"
    monkeypatch.setenv("LM_API_TOKEN", " first ")
    config = settings().config()
    assert (config.api_token, config.api_token_source) == ("first", "the environment variable LM_API_TOKEN")
    assert "first" not in repr(config)


def test_timeouts_are_seconds_as_an_argument_and_milliseconds_as_a_setting(monkeypatch):
    assert settings(timeout=5).config().timeouts == Timeouts(5, 5, 5)
    assert settings(timeout=None).config().timeouts == Timeouts(None, None, None)
    assert settings(timeout=Timeouts(idle=1)).config().timeouts == Timeouts(30, 600, 1)
    assert settings({"lmstudio_timeout": 1500}, timeout=UNSET).config().timeouts == Timeouts(1.5, 1.5, 1.5)
    monkeypatch.setenv("LM_STUDIO_TIMEOUT", "30000")
    assert settings().config().timeouts == Timeouts(30, 30, 30)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("30 s", 30),
        ("30S", 30),
        ("500ms", 0.5),
        ("1.5 s", 1.5),
        ("0.25s", 0.25),
        (" 2m\n", 120),
        ("1h", 3600),
        ("1m30s", 90),
        ("1m 30s", 90),
        ("5m0s", 300),
        ("2s500ms", 2.5),
        ("30sec", 30),
        ("2min", 120),
        ("30 seconds", 30),
        ("1 minute", 60),
        ("1500", 1.5),
        ("1.5e3", 1.5),
    ],
)
def test_a_timeout_as_a_setting_may_have_a_unit(monkeypatch, tmp_path, text, seconds):
    assert settings({"lmstudio_timeout": text}).config().timeouts.idle == seconds
    monkeypatch.setenv("OLLAMA_TIMEOUT", text)
    assert Settings(OllamaProvider._names, {}, None).config().timeouts.idle == seconds
    ini(tmp_path, monkeypatch, f"[lmstudio]\ntimeout = {text.strip()}\n")
    assert settings().config().timeouts.idle == seconds


@for_each(("value", "unit"), [("30", "30"), (" 30 ", "30"), (30, "30"), (2.5, "2.5")])
def test_a_number_without_a_unit_is_reported_as_milliseconds(value, unit):
    source = settings({"lmstudio_timeout": value}).config().timeouts_source
    assert source == f"the setting lmstudio_timeout, in milliseconds: {unit} means {unit} ms, write {unit}s for seconds"
    assert settings({"lmstudio_timeout": "30ms"}).config().timeouts_source == "the setting lmstudio_timeout"


def test_a_timeout_error_from_a_number_without_a_unit_says_how_it_was_read(monkeypatch, silent_server, provider_of):
    monkeypatch.setenv("LM_STUDIO_TIMEOUT", "30")
    with pytest.raises(RequestTimeoutError) as caught:
        provider_of(silent_server).complete("Hi", model="m")
    hint = "the environment variable LM_STUDIO_TIMEOUT, in milliseconds: 30 means 30 ms, write 30s for seconds"
    assert hint in caught.value.hint


def test_a_timeout_while_ollama_is_asked_for_its_models_says_so_too(monkeypatch, silent_server):
    monkeypatch.setenv("OLLAMA_TIMEOUT", "30")
    with OllamaProvider(silent_server.url) as ollama, pytest.raises(RequestTimeoutError) as caught:
        ollama.complete("Hi")
    assert "OLLAMA_TIMEOUT, in milliseconds: 30 means 30 ms" in caught.value.hint
    assert silent_server.url in str(caught.value) or caught.value.url.startswith(silent_server.url)


QUOTED = ['"{}"', "'{}'", " ' {} ' ", "'\"{}\"'", "“{}”", "‘{}’", "„{}“", "«{}»", "`{}`"]


@pytest.mark.parametrize("quoted", QUOTED)
def test_quotes_around_a_variable_are_not_part_of_its_value(monkeypatch, tmp_path, quoted):
    path = tmp_path / "my settings.ini"
    path.write_text("[lmstudio]\nmodel_small = tiny\n")
    values = {
        "LM_STUDIO_URL": "http://gpu-box:8080",
        "LM_STUDIO_MODEL": "qwen/qwen3-4b",
        "LM_STUDIO_MODEL_FAST": "quick",
        "LM_STUDIO_TIMEOUT": "30s",
        "LM_API_TOKEN": "sk-lm-AbCd1234:0123456789abcdefghij",
        "LM_STUDIO_CONFIG": str(path),
        "OLLAMA_HOST": "https://gpu-box:8080",
        "OLLAMA_MODEL": "qwen3:4b",
        "OLLAMA_TIMEOUT": "500ms",
        "OLLAMA_API_KEY": "0123456789abcdef",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, quoted.format(value))
    config = settings().config()
    assert (config.base_url.text, config.timeouts.idle) == (values["LM_STUDIO_URL"], 30)
    assert config.api_token == values["LM_API_TOKEN"]
    assert [settings().model(tier) for tier in (None, "fast", "small")] == ["qwen/qwen3-4b", "quick", "tiny"]
    ollama = Settings(OllamaProvider._names, {}, None)
    assert (ollama.config().base_url.text, ollama.config().timeouts.idle) == (values["OLLAMA_HOST"], 0.5)
    assert (ollama.config().api_token, ollama.model(None)) == (values["OLLAMA_API_KEY"], "qwen3:4b")


@pytest.mark.parametrize("empty", ["''", '""', "' '", "“”"])
def test_empty_quotes_count_as_not_set(monkeypatch, empty):
    for name in ("LM_STUDIO_URL", "LM_STUDIO_MODEL", "LM_STUDIO_TIMEOUT", "LM_API_TOKEN", "LM_STUDIO_CONFIG"):
        monkeypatch.setenv(name, empty)
    config = settings().config()
    assert (config.base_url_source, config.timeouts, config.api_token) == ("the default", None, None)
    assert settings().model(None) is None


def test_quotes_in_an_ini_file_are_not_part_of_a_value(monkeypatch, tmp_path):
    ini(tmp_path, monkeypatch, "[lmstudio]\nbase_url = \"http://gpu-box:8080\"\nmodel = 'qwen'\n")
    assert settings().config().base_url.text == "http://gpu-box:8080"
    assert settings().model(None) == "qwen"


def test_the_home_in_the_name_of_an_ini_file_is_found(monkeypatch, tmp_path):
    (tmp_path / "mine.ini").write_text("[lmstudio]\nmodel = m\n")
    monkeypatch.setenv("LM_STUDIO_CONFIG", "'~/mine.ini'")
    assert settings().model(None) == "m"


def test_variables_of_other_clients_are_read_after_ours(monkeypatch):
    for name in ("LMSTUDIO_BASE_URL", "LM_STUDIO_API_BASE", "LM_STUDIO_URL"):
        monkeypatch.setenv(name, f"http://{name.lower().replace('_', '-')}:8080/v1/")
        config = settings().config()
        assert config.base_url.text == f"http://{name.lower().replace('_', '-')}:8080"
        assert config.base_url_source == f"the environment variable {name}"
    for name in ("LM_STUDIO_API_KEY", "LMSTUDIO_API_TOKEN", "LM_API_TOKEN"):
        monkeypatch.setenv(name, f"token-of-{name}")
        config = settings().config()
        assert (config.api_token, config.api_token_source) == (f"token-of-{name}", f"the environment variable {name}")


class SecretStr:
    """As pydantic's."""

    def __init__(self, value):
        self._value = value

    def get_secret_value(self):
        return self._value

    def __repr__(self):
        return "SecretStr('**********')"


def test_a_secret_that_is_also_text_is_asked_for_its_value_at_each_use():
    class Changing(str):
        def get_secret_value(self):
            return next(values)

    values = map(str, itertools.count(1))
    found = settings(api_token=Changing("shown"))
    first, second = (int(found.config().api_token) for _ in range(2))
    assert first < second


def test_a_token_may_be_a_secret_that_is_asked_for_its_value(monkeypatch):
    monkeypatch.setenv("LM_API_TOKEN", "of-the-environment")
    assert settings(api_token=SecretStr("secret-token")).config().api_token == "secret-token"
    config = settings({"lmstudio_api_token": SecretStr(" secret-token ")}).config()
    assert (config.api_token, config.api_token_source) == ("secret-token", "the setting lmstudio_api_token")
    assert settings(api_token=SecretStr("")).config().api_token == "of-the-environment"
    assert settings(base_url=SecretStr("http://ann:pw@host")).config().base_url.password == "pw"


def test_a_secret_that_becomes_blank_lets_the_environment_decide(monkeypatch):
    monkeypatch.setenv("LM_API_TOKEN", "of-the-environment")
    token = SecretStr("secret-token")
    found = settings(api_token=token)
    assert found.config().api_token == "secret-token"
    token._value = ""
    assert found.config().api_token == "of-the-environment"
    monkeypatch.setenv("LM_API_TOKEN", "another")
    assert found.config().api_token == "another"


@for_each("bad", ["with blank", 7, b"secret-token"])
def test_a_secret_that_is_not_a_token_is_never_shown(bad):
    with pytest.raises(ConfigurationError, match="the argument api_token") as caught:
        settings(api_token=SecretStr(bad)).config()
    assert str(bad) not in str(caught.value).replace("0123456789", "")


@pytest.mark.parametrize("names", [LMStudioProvider._names, OllamaProvider._names])
@pytest.mark.parametrize("port", ["8080", 8080])
def test_a_port_for_a_base_url_is_refused_with_the_url_that_was_meant(monkeypatch, names, port):
    for found in (Settings(names, {"base_url": port}, None), Settings(names, {}, {f"{names.prefix}_base_url": port})):
        with pytest.raises(ConfigurationError, match="names a port, but no host") as caught:
            found.config()
        assert caught.value.hint == "Write it like http://localhost:8080"
    monkeypatch.setenv(names.variables["base_url"][0], str(port))
    with pytest.raises(ConfigurationError, match="names a port, but no host"):
        Settings(names, {}, None).config()


def test_a_colon_and_a_port_are_refused_for_lm_studio_and_mean_this_machine_for_ollama():
    with pytest.raises(ConfigurationError, match="names a port, but no host"):
        settings(base_url=":1234").config()
    assert (
        Settings(OllamaProvider._names, {"base_url": ":8080"}, None).config().base_url.text == "http://127.0.0.1:8080"
    )


@for_each("blank", ["", "  ", "\n"])
def test_a_blank_model_as_an_argument_is_refused_with_what_to_write(blank):
    for kind in (LMStudioProvider, OllamaProvider):
        with pytest.raises(ConfigurationError, match="the argument model") as caught:
            kind(model=blank, refresh=False)
        assert "list_models()" in caught.value.hint


@pytest.mark.parametrize("blank", ["", "  "])
def test_a_blank_tier_is_refused_with_what_to_write(blank):
    with pytest.raises(ConfigurationError, match="tier=") as caught:
        settings().model(blank)
    assert "tier='fast'" in caught.value.hint


@for_each(
    ("key", "meant"),
    [
        ("lmstudio_modle", "lmstudio_model"),
        ("lmstudio_url", "lmstudio_base_url"),
        ("lmstudio_baseurl", "lmstudio_base_url"),
        ("lmstudio_api_base", "lmstudio_base_url"),
        ("lmstudio_host", "lmstudio_base_url"),
        ("lmstudio_port", "lmstudio_base_url"),
        ("lmstudio_timout", "lmstudio_timeout"),
        ("lmstudio_timeout_ms", "lmstudio_timeout"),
        ("lmstudio_token", "lmstudio_api_token"),
        ("lmstudio_api_key", "lmstudio_api_token"),
        ("lmstudio_apikey", "lmstudio_api_token"),
        ("lmstudio_key", "lmstudio_api_token"),
        ("lmstudio_Model", "lmstudio_model"),
        ("lmstudio_modle_fast", "lmstudio_model_fast"),
        ("lmstudio_models_fast", "lmstudio_model_fast"),
        ("lmstudio_model-fast", "lmstudio_model_fast"),
        ("lmstudio_model_", "lmstudio_model"),
        ("lmstudio_model_two words", "lmstudio_model"),
        ("lmstudio_temperature", "lmstudio_base_url, lmstudio_model, lmstudio_timeout, lmstudio_api_token"),
        ("lmstudio_", "lmstudio_base_url, lmstudio_model, lmstudio_timeout, lmstudio_api_token"),
    ],
)
def test_an_unknown_setting_in_a_mapping_is_refused_with_the_nearest_one(key, meant):
    mapping = {"other": 1, key: "s3cret", "ollama_model": "m", "ollama_typo": "m"}
    with pytest.raises(ConfigurationError, match="is not a setting") as caught:
        LMStudioProvider(settings=mapping, refresh=False)
    assert repr(key) in str(caught.value)
    assert repr(meant) in caught.value.hint or f"are {meant}" in caught.value.hint
    assert "s3cret" not in str(caught.value)


def test_an_unknown_setting_of_ollama_is_refused_only_by_its_provider():
    mapping = {"ollama_hots": "x", "lmstudio_model": "m"}
    with pytest.raises(ConfigurationError, match="'ollama_hots' is not a setting"):
        OllamaProvider(settings=mapping, refresh=False)
    with LMStudioProvider(settings=mapping, refresh=False) as lm:
        assert lm.resolve_model() == "m"


def test_every_setting_there_is_may_be_in_a_mapping_beside_those_of_others():
    mapping = {f"lmstudio_{name}": None for name in NAMES.variables}
    mapping |= {"lmstudio_model_fast": "a", "lmstudio_model_Very-Fast_2": "b", "lmstudio": 1, "LMSTUDIO_X": 1, 7: 7}
    assert settings({**mapping, ("lmstudio_x",): 1, None: 1}).model("fast") == "a"


@for_each("kind", [dict, collections.OrderedDict, collections.UserDict, collections.ChainMap])
def test_an_unknown_setting_is_found_also_when_it_appears_later(kind):
    mapping = kind({"lmstudio_model": "m", "other": 1})
    with LMStudioProvider(settings=mapping, refresh=False) as lm:
        assert lm.resolve_model() == "m"
        mapping["lmstudio_modle"] = "n"
        for call in (lm.resolve_model, lambda: lm.complete("Hi"), lambda: lm.base_url):
            with pytest.raises(ConfigurationError, match="'lmstudio_modle' is not a setting"):
                call()
        del mapping["lmstudio_modle"]
        assert lm.resolve_model() == "m"


@pytest.mark.parametrize("kind", [dict, collections.OrderedDict])
def test_a_setting_that_is_renamed_is_found_too(kind):
    mapping = kind({"lmstudio_model": "m"})
    kept = settings(mapping)
    assert kept.model(None) == "m"
    mapping["lmstudio_modle"] = mapping.pop("lmstudio_model")
    with pytest.raises(ConfigurationError, match="'lmstudio_modle' is not a setting"):
        kept.model(None)


def test_settings_that_cannot_be_iterated_are_only_asked_for_known_names():
    class ErrorContext:
        def get(self, name):
            return {"lmstudio_model": "m", "lmstudio_modle": "n"}.get(name)

    assert settings(ErrorContext()).model(None) == "m"


def test_settings_that_do_not_iterate_over_names_are_only_asked_for_known_names():
    class Pairs:
        def get(self, name):
            return None

        def __iter__(self):
            return iter([("lmstudio_modle", 1)])

    assert settings(Pairs()).model(None) is None


def test_settings_that_fail_to_be_iterated_are_a_configuration_error_with_its_cause():
    class Broken(collections.UserDict):
        def __iter__(self):
            raise OSError("disk")

    with pytest.raises(ConfigurationError, match="reading the keys of settings raised OSError") as caught:
        settings(Broken()).config()
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.slow
def test_a_mapping_that_changes_while_it_is_looked_through_is_looked_through_again(in_background):
    mapping, over = {"lmstudio_model": "m"}, threading.Event()

    def change():
        number = 0
        while not over.is_set():
            number += 1
            mapping[number] = mapping.pop(number - 1, 0)

    changing = in_background(change)
    try:
        kept = settings(mapping)
        assert {kept.model(None) for _ in range(20_000)} == {"m"}
    finally:
        over.set()
    changing.result(10)


def test_a_tier_has_its_own_setting(monkeypatch, tmp_path):
    assert settings({"lmstudio_model_fast": "small", "lmstudio_model": "big"}).model("fast") == "small"
    assert settings({"lmstudio_model": "big"}).model("fast") == "big"
    assert settings({"lmstudio_model_fast": "small"}).model(None) is None
    ini(tmp_path, monkeypatch, "[lmstudio]\nmodel_FAST = tiny\n")
    assert settings().model("FAST") == settings().model("fast") == "tiny"
    monkeypatch.setenv("LM_STUDIO_MODEL_VERY_FAST", "tiniest")
    assert settings().model("very-fast") == "tiniest"


def test_an_ini_file_is_read_again_when_it_has_changed(monkeypatch, tmp_path):
    path = ini(tmp_path, monkeypatch, "[lmstudio]\nmodel = one\n")
    kept = settings()
    assert kept.model(None) == "one"
    path.write_text("[lmstudio]\nmodel = three\n")
    assert kept.model(None) == "three"


def test_an_ini_file_that_takes_the_place_of_one_of_the_same_size_and_time_is_read(monkeypatch, tmp_path):
    path = ini(tmp_path, monkeypatch, "[lmstudio]\nbase_url = a\n")
    kept = settings()
    assert kept.config().base_url.text == "http://a:1234"
    new = tmp_path / "new.ini"
    new.write_text("[lmstudio]\nbase_url = b\n", encoding="utf-8")
    os.utime(new, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    new.replace(path)
    assert kept.config().base_url.text == "http://b:1234"


def seen(kept):
    """What a call uses of the settings, or the type of the error that it raises."""
    try:
        config = kept.config()
        return config.base_url.text, config.api_token, config.timeouts and config.timeouts.idle, kept.model(None)
    except ConfigurationError as error:
        return type(error)


def test_a_change_of_any_source_takes_effect_at_the_next_use(monkeypatch, tmp_path):
    mapping, secret = {}, SecretStr("one")
    kept = settings(mapping, api_token=secret)
    path = tmp_path / "settings.ini"
    folder = tmp_path / "folder"
    folder.mkdir()

    def write(text, file=path):
        file.write_text(f"[lmstudio]\n{text}\n")

    def replace(text):
        write(text, tmp_path / "new.ini")
        (tmp_path / "new.ini").replace(path)

    changes = [
        lambda: monkeypatch.setenv("LM_STUDIO_URL", "http://one"),
        lambda: monkeypatch.setenv("LM_STUDIO_URL", "http://two"),
        lambda: monkeypatch.delenv("LM_STUDIO_URL"),
        lambda: monkeypatch.setenv("LM_STUDIO_MODEL", "of-the-environment"),
        lambda: monkeypatch.delenv("LM_STUDIO_MODEL"),
        lambda: setattr(secret, "_value", "two"),
        lambda: mapping.update(lmstudio_timeout=1),
        lambda: mapping.update(lmstudio_timeout=True),
        lambda: mapping.update(lmstudio_timeout="1s"),
        lambda: mapping.update(lmstudio_base_url=SecretStr("http://three")),
        lambda: setattr(mapping["lmstudio_base_url"], "_value", "http://four"),
        lambda: mapping.update(lmstudio_modle="m"),
        mapping.clear,
        lambda: monkeypatch.setenv("LM_STUDIO_CONFIG", str(path)),
        lambda: write("model = one"),
        lambda: write("model = three"),
        lambda: replace("model = seven"),
        path.unlink,
        lambda: monkeypatch.delenv("LM_STUDIO_CONFIG"),
        lambda: write("model = mine", tmp_path / "lmstudio-provider.ini"),
        (tmp_path / "lmstudio-provider.ini").unlink,
        lambda: write("model = moved", folder / "lmstudio-provider.ini"),
        lambda: [monkeypatch.setenv(name, str(folder)) for name in ("XDG_CONFIG_HOME", "APPDATA")],
    ]
    for change in changes:
        change()
        again = Settings(NAMES, {"api_token": secret}, mapping)
        assert seen(kept) == seen(again)
        assert seen(kept) == seen(again)
    assert seen(kept)[1:] == ("two", None, "moved" if sys.platform != "darwin" else None)


def test_settings_that_have_not_changed_are_not_read_again(monkeypatch, tmp_path):
    path = ini(tmp_path, monkeypatch, "[lmstudio]\nmodel = one\n")
    kept = settings({"lmstudio_timeout": "1s"})
    assert kept.config() is kept.config()
    path.touch()
    before = kept.config()
    monkeypatch.setenv("LM_STUDIO_TIMEOUT", "5s")
    assert kept.config() is not before


def write_default_file(home, text):
    folder = home / "Library" / "Application Support" if sys.platform == "darwin" else home
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lmstudio-provider.ini").write_text(text)


@pytest.mark.usefixtures("own_home")
def test_the_ini_file_of_the_user_is_read_from_its_folder(tmp_path):
    write_default_file(tmp_path, "[lmstudio]\nmodel = mine%s\n")
    assert settings().model(None) == "mine%s"


def test_without_a_home_there_is_no_ini_file(monkeypatch):
    for name in ("XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, "~")
    assert settings().model(None) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[lm-studio]\nmodel=m", r"\[lm-studio\]"),
        ("[LMStudio]\nmodel=m", r"\[LMStudio\].*Write \[lmstudio\]"),
        ("[lmstdio]\nmodel=m", r"\[lmstdio\].*Write \[lmstudio\]"),
        ("[lmstudio2]\nmodel=m", r"\[lmstudio2\].*Write \[lmstudio\]"),
        ("[lmstudio]\nmodel=m\n[olama]\nmodel=m", r"\[olama\].*Write \[ollama\]"),
        ("[DEFAULT]\nbaseurl=x", "'baseurl'.*Did you mean 'base_url'"),
        ("[lmstudio]\nbaseurl=x", "'baseurl'.*Did you mean 'base_url'"),
        ("[lmstudio]\nlmstudio_model=x", "'lmstudio_model'"),
        ("[lmstudio]\nzzz=x", "'zzz'.*base_url, model, timeout, api_token"),
    ],
)
def test_a_name_in_an_ini_file_that_is_never_read_is_an_error(monkeypatch, tmp_path, text, says):
    ini(tmp_path, monkeypatch, text)
    with pytest.raises(ConfigurationError, match=says):
        settings().config()


def test_a_section_of_others_is_theirs(monkeypatch, tmp_path):
    ini(tmp_path, monkeypatch, "[ollama]\nkeep_alive=5m\n")
    assert settings().model(None) is None


def test_a_file_that_the_application_names_may_have_sections_of_its_own(monkeypatch, tmp_path):
    ini(tmp_path, monkeypatch, "[database]\nurl = x\n[llama.cpp]\nmodel = x\n[lmstudio]\nmodel = m\n")
    assert settings().model(None) == "m"


@pytest.mark.usefixtures("own_home")
def test_a_section_that_the_file_of_this_package_does_not_have_is_an_error(tmp_path):
    write_default_file(tmp_path, "[lmstudio]\nmodel = m\n[database]\nurl = x\n")
    with pytest.raises(ConfigurationError, match=r"\[database\] of .* is never read") as caught:
        settings().config()
    assert caught.value.hint == "The sections are [lmstudio] and [ollama]"


def test_values_for_all_sections_hold_for_a_section_that_is_not_there(monkeypatch, tmp_path):
    ini(tmp_path, monkeypatch, "[DEFAULT]\nmodel = m\n")
    assert settings().model(None) == "m"


def test_a_home_that_is_not_a_folder_has_no_ini_file(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert settings().model(None) is None


@pytest.mark.parametrize("deadline", [None, 0.1])
def test_a_hint_names_the_setting_of_a_timeout_unless_the_deadline_ended_the_call(silent_server, deadline):
    timeout = "100ms" if deadline is None else "30s"
    with LMStudioProvider(silent_server.url, settings={"lmstudio_timeout": timeout}, refresh=False, model="m") as lm:
        with pytest.raises(RequestTimeoutError) as caught:
            lm.chat("Hi", deadline=deadline)
    assert ("it came from the setting lmstudio_timeout" in caught.value.hint) == (deadline is None)


def test_an_api_token_of_false_is_none_whatever_is_set(monkeypatch):
    monkeypatch.setenv("LM_API_TOKEN", "secret")
    config = settings({"lmstudio_api_token": "other"}, api_token=False).config()
    assert (config.api_token, config.api_token_source, config.authorization) == (None, None, None)
