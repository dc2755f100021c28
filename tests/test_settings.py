import sys

import pytest

from lmstudio_provider import ConfigurationError, LMStudioProvider, Timeouts
from lmstudio_provider._settings import Settings
from lmstudio_provider._types import UNSET

NAMES = LMStudioProvider._names


def settings(mapping=None, **arguments):
    return Settings(NAMES, arguments, mapping)


def ini(tmp_path, monkeypatch, text, name="other.ini"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("LM_STUDIO_CONFIG", str(path))
    return path


@pytest.mark.parametrize("bad", ["soon", "0", "-5", "nan", "inf", "1e999"])
def test_a_bad_timeout_is_named_with_its_source_and_value(monkeypatch, bad):
    monkeypatch.setenv("LM_STUDIO_TIMEOUT", bad)
    with pytest.raises(ConfigurationError, match=f"timeout='{bad}', from the environment variable LM_STUDIO_TIMEOUT"):
        settings().config()


@pytest.mark.parametrize("bad", [0, -1, "5", True, float("nan")])
def test_a_bad_timeout_argument_is_refused(bad):
    with pytest.raises(ConfigurationError, match="timeout="):
        settings(timeout=bad).config()


@pytest.mark.parametrize("bad", [True, [], {}])
def test_a_timeout_of_the_wrong_type_in_a_mapping_is_refused(bad):
    with pytest.raises(ConfigurationError, match="the setting lmstudio_timeout"):
        settings({"lmstudio_timeout": bad}).config()


@pytest.mark.parametrize("bad", ["with blank", "line\nbreak", "ümlaut", 7])
def test_a_bad_token_is_named_by_its_source_and_never_shown(bad):
    with pytest.raises(ConfigurationError, match="the setting lmstudio_api_token") as caught:
        settings({"lmstudio_api_token": bad}).config()
    assert str(bad) not in str(caught.value).replace("0123456789", "")


def test_a_url_and_a_model_that_are_no_text_are_refused():
    with pytest.raises(ConfigurationError, match="base_url, from the argument base_url, is int"):
        settings(base_url=7).config()
    with pytest.raises(ConfigurationError, match="model=7, from the setting lmstudio_model, is int"):
        settings({"lmstudio_model": 7}).model(None)


@pytest.mark.parametrize("bad", ["", "a b", "../x", 7])
def test_a_tier_that_is_no_name_is_refused(bad):
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
def test_an_ini_file_that_is_none_is_an_error_that_shows_nothing_of_it(monkeypatch, tmp_path, text):
    ini(tmp_path, monkeypatch, text)
    with pytest.raises(ConfigurationError, match=r"other\.ini, line \d") as caught:
        settings().config()
    assert "s3cret" not in str(caught.value)
    assert caught.value.__context__ is None


def test_an_ini_file_that_is_no_text_is_an_error(monkeypatch, tmp_path):
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


def test_a_value_remembers_where_it_came_from(monkeypatch, tmp_path):
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


def test_a_tier_has_a_setting_of_its_own(monkeypatch, tmp_path):
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


def test_the_ini_file_of_the_user_is_read_where_it_is(monkeypatch, tmp_path):
    folder = tmp_path
    if sys.platform == "darwin":
        folder = tmp_path / "Library" / "Application Support"
        folder.mkdir(parents=True)
    (folder / "lmstudio-provider.ini").write_text("[lmstudio]\nmodel = mine%s\n")
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
        ("[LMStudio]\nmodel=m", r"\[LMStudio\]"),
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


def test_a_home_that_is_no_folder_has_no_ini_file(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert settings().model(None) is None


def test_an_api_token_of_false_is_none_whatever_is_set(monkeypatch):
    monkeypatch.setenv("LM_API_TOKEN", "secret")
    config = settings({"lmstudio_api_token": "other"}, api_token=False).config()
    assert (config.api_token, config.api_token_source, config.authorization) == (None, None, None)
