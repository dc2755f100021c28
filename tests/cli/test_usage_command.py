"""``usage``, and the recording of the other commands."""

import csv
import dataclasses
import io
import json
import os
import re
import sqlite3
import stat
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from commands import error_of, run

from lmstudio_provider import SqliteUsage, UsageRecord

NOON = time.mktime((2026, 11, 29, 12, 0, 0, 0, 0, -1))
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
    created_at=NOON,
)
UNKNOWN = {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None}
HOSTILE = "</title></text><script>alert(\"1\" + '1')</script>&amp;]]>{style}%s\x1b[2J\x00\ud83c"


def changed(**fields):
    return dataclasses.replace(RECORD, **fields)


def saved(path, *records):
    with SqliteUsage(path) as usage:
        for each in records:
            usage.record(each)
    return path


@pytest.fixture
def db(tmp_path):
    failed = changed(model="gemma", status="timeout", created_at=NOON + 86_400, **UNKNOWN)
    return saved(tmp_path / "usage.db", RECORD, RECORD, failed)


def page_of(tmp_path, *records, option="--html"):
    path = tmp_path / "chart.out"
    ended = run("usage", "--db", saved(tmp_path / "usage.db", *records), option, path)
    assert (ended.code, ended.err) == (0, "")
    return path.read_text(encoding="utf-8")


class Page(HTMLParser):
    """The elements, texts and attributes of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.values, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.values += [value for _, value in attrs]

    def handle_data(self, data):
        self.texts.append(data)


# What cannot work


def test_without_a_file_it_says_how_to_name_one():
    ended = run("usage")
    assert (ended.code, ended.out) == (2, "")
    assert error_of(ended) == "error: give the file of records with --db, or set LM_STUDIO_USAGE_DB"


def test_a_file_that_is_not_there_is_not_made(tmp_path):
    ended = run("usage", "--db", tmp_path / "none.db")
    assert (ended.code, ended.out) == (2, "")
    assert "none.db: there is no such file" in error_of(ended)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--svg", "--html"])
@pytest.mark.parametrize("name", ["usage.db", "sub/../usage.db", "hard.db"])
def test_charts_do_not_replace_the_file_of_records(db, tmp_path, option, name):
    (tmp_path / "sub").mkdir()
    os.link(db, tmp_path / "hard.db")
    before = db.read_bytes()
    ended = run("usage", "--db", db, option, f"{tmp_path}/{name}")
    assert (ended.code, ended.out) == (2, "")
    assert "is the file of records" in error_of(ended)
    assert db.read_bytes() == before


def test_two_kinds_of_charts_need_two_files(db, tmp_path):
    ended = run("usage", "--db", db, "--svg", tmp_path / "out", "--html", tmp_path / "." / "out")
    assert (ended.code, ended.out) == (2, "")
    assert "--svg and --html are the same file" in error_of(ended)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b""])
def test_a_file_that_is_not_a_database_is_an_error_or_empty(tmp_path, content):
    path = tmp_path / "usage.db"
    path.write_bytes(content)
    ended = run("usage", "--db", path)
    if content:
        assert ended.code == 2
        assert "cannot read the usage database" in error_of(ended)
    else:
        assert ended == (0, "", "no call is recorded\n")
    assert path.read_bytes() == content


def test_a_newer_schema_says_what_to_do(db):
    with sqlite3.connect(str(db)) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    ended = run("usage", "--db", db)
    assert ended.code == 2
    assert "its schema has version 99" in error_of(ended)


@pytest.mark.parametrize("text", ["yesterday", "7", "7y", "-1d", "d", "", "2026-13-01", "inf", "nan"])
def test_a_time_that_is_not_one_is_refused_with_examples(db, text):
    ended = run("usage", "--db", db, f"--since={text}")
    assert (ended.code, ended.out) == (2, "")
    assert "is not a time; use 90m, 24h, 7d, 2w, or a date such as 2026-11-29" in error_of(ended)


def test_a_group_that_is_not_known_and_two_formats_at_once_are_refused(db):
    assert run("usage", "--db", db, "--by", "week").code == 2
    assert "exclude each other" in error_of(run("usage", "--db", db, "--json", "--csv"))


@pytest.mark.parametrize("option", ["--svg", "--html"])
def test_a_file_that_cannot_be_written_is_named(db, tmp_path, option):
    ended = run("usage", "--db", db, option, tmp_path / "none" / "page")
    assert ended.code == 2
    assert re.search(r"cannot write .*none.page: ", error_of(ended))


def test_what_is_not_the_path_of_a_file_names_its_source(monkeypatch, simulator):
    assert "--db: " in error_of(run("usage", "--db", ":memory:"))
    monkeypatch.setenv("LM_STUDIO_USAGE_DB", ":memory:")
    ended = run("complete", "Hi", "--base-url", simulator.url)
    assert ended.code == 2
    assert "LM_STUDIO_USAGE_DB: path=':memory:' is not the path of a file" in error_of(ended)


# Tables


def test_a_table_has_a_row_for_each_model_and_a_sum(db):
    assert [row.split() for row in run("usage", "--db", db).out.splitlines()] == [
        ["MODEL", "CALLS", "ERRORS", "UNCOUNTED", "PROMPT", "COMPLETION", "TOKENS", "SECONDS", "TOKENS/S"],
        ["gemma", "1", "1", "1", "-", "-", "-", "2.0", "-"],
        ["qwen", "2", "0", "0", "20", "40", "60", "4.0", "10.0"],
        ["total", "3", "1", "1", "20", "40", "60", "6.0", "10.0"],
    ]


def test_several_groups_are_combined(db):
    rows = run("usage", "--db", db, "--by", "day", "model").out.splitlines()
    assert [row.split()[:3] for row in rows] == [
        ["DAY", "MODEL", "CALLS"],
        ["2026-11-29", "qwen", "2"],
        ["2026-11-30", "gemma", "1"],
        ["total", "3", "1"],
    ]


def test_since_is_a_date_or_a_time_ago(db, tmp_path):
    def calls(since, path):
        return sum(row["calls"] for row in json.loads(run("usage", "--db", path, "--since", since, "--json").out))

    dates = ("2026-11-29", "2026-11-30", "2026-11-29T13:00:00", "2026-12-01")
    assert [calls(since, db) for since in dates] == [3, 1, 1, 0]
    assert calls("99999w", db) == 3
    # A separate file, because the records with a date may be younger than a day, too.
    recent = [changed(created_at=time.time() - seconds_ago) for seconds_ago in (3_000, 90_000)]
    path = saved(tmp_path / "recent.db", *recent)
    assert [calls(since, path) for since in ("40m", "90m", "30 m", "24h", "2d")] == [0, 1, 0, 1, 2]


def test_json_and_csv_have_the_same_rows(db):
    rows = json.loads(run("usage", "--db", db, "--json").out)
    assert rows[1] == {
        "model": "qwen",
        "calls": 2,
        "errors": 0,
        "uncounted": 0,
        "prompt_tokens": 20,
        "completion_tokens": 40,
        "total_tokens": 60,
        "duration_s": 4.0,
        "tokens_per_second": 10.0,
    }
    assert rows[0]["total_tokens"] is None
    text = run("usage", "--db", db, "--csv").out
    assert [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows] == list(
        csv.DictReader(io.StringIO(text))
    )


def test_names_with_commas_quotes_and_line_breaks_come_back_from_csv(tmp_path):
    name = 'a,"b"\nc'
    text = run("usage", "--db", saved(tmp_path / "usage.db", changed(model=name)), "--csv").out
    assert [row["model"] for row in csv.DictReader(io.StringIO(text, newline=""))] == [name]


def test_names_cannot_write_to_the_terminal(tmp_path):
    ended = run("usage", "--db", saved(tmp_path / "usage.db", changed(model=HOSTILE)), terminal=True)
    assert ended.code == 0
    assert "\x1b" not in ended.out


def test_no_call_is_an_empty_answer(db):
    assert run("usage", "--db", db, "--since", "2030-01-01") == (0, "", "no call is recorded\n")
    ended = run("usage", "--db", db, "--since", "2030-01-01", "--json")
    assert (ended.code, ended.out, ended.err) == (0, "[]\n", "")
    assert len(run("usage", "--db", db, "--since", "2030-01-01", "--csv").out.splitlines()) == 1


# Charts


@pytest.mark.parametrize("option", ["--html", "--svg"])
def test_text_of_the_database_is_escaped(tmp_path, option):
    text = page_of(tmp_path, changed(model=HOSTILE), option=option)
    if option == "--svg":
        texts = [each.text for each in ElementTree.fromstring(text).iter() if each.text]
        assert not list(ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}script"))
    else:
        page = Page(text)
        texts = page.texts
        assert "script" not in page.tags
        assert not [value for value in page.values if value and "alert" in value]
    assert any("<script>alert(\"1\" + '1')</script>&amp;]]>{style}%s\\x1b[2J\\x00\\ud83c" in each for each in texts)


def test_a_page_loads_nothing_from_elsewhere(tmp_path):
    text = page_of(tmp_path, RECORD)
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert "default-src 'none'" in text
    assert "url(" not in text
    assert "@import" not in text
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}


def test_a_page_has_light_and_dark_and_narrow_and_wide_charts_and_the_table(tmp_path):
    text = page_of(tmp_path, RECORD, changed(model="gemma"))
    assert "prefers-color-scheme:dark" in text
    assert re.findall(r'class="(wide|narrow)"', text) == ["wide", "narrow"]
    assert "<td>gemma</td><td>1</td>" in text
    assert "Calls: 2. Failed: 0. Tokens: 60." in text


def titles(text, *ends):
    """Return the titles in a file of SVG that end so."""
    found = [each.text for each in ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}title")]
    return [title for title in found if title.endswith(ends)]


def bars(text):
    return titles(text, " tokens", " calls")


def points(text):
    return titles(text, " tokens per second")


def test_bars_and_points_say_what_they_are(tmp_path):
    text = page_of(
        tmp_path,
        RECORD,
        changed(model="gemma", created_at=NOON + 5 * 86_400),
        changed(created_at=NOON + 5 * 86_400, total_tokens=1_000, duration_s=0.25),
        option="--svg",
    )
    assert "Tokens by day and model" in text
    assert bars(text) == [
        "29 Nov 2026, qwen: 30 tokens",
        "4 Dec 2026, qwen: 1,000 tokens",
        "4 Dec 2026, gemma: 30 tokens",
    ]
    assert points(text) == [
        "29 Nov 2026, qwen: 10.0 tokens per second",
        "4 Dec 2026, qwen: 80.0 tokens per second",
        "4 Dec 2026, gemma: 10.0 tokens per second",
    ]


def test_calls_of_two_days_are_shown_by_hour(tmp_path):
    text = page_of(tmp_path, RECORD, changed(created_at=NOON + 20 * 3600), option="--svg")
    assert "Tokens by hour and model" in text
    assert bars(text) == ["29 Nov 2026, 12:00, qwen: 30 tokens", "30 Nov 2026, 08:00, qwen: 30 tokens"]


def test_if_no_token_is_known_the_bars_are_calls(tmp_path):
    text = page_of(tmp_path, changed(**UNKNOWN), changed(**UNKNOWN), option="--svg")
    assert bars(text) == ["29 Nov 2026, 12:00, qwen: 2 calls"]
    assert points(text) == []


def test_more_models_than_colours_are_shown_together(tmp_path):
    records = [changed(model=f"m{number:02}", total_tokens=1_000 - number) for number in range(30)]
    text = page_of(tmp_path, *records, option="--svg")
    assert len(bars(text)) == 8
    assert "23 other models" in text
    assert "m06" in text
    assert "m07" not in text
    assert bars(text)[-1] == f"29 Nov 2026, 12:00, 23 other models: {sum(range(971, 994)):,} tokens"


def test_as_many_models_as_colours_keep_their_names(tmp_path):
    text = page_of(tmp_path, *(changed(model=f"m{number}") for number in range(8)), option="--svg")
    assert len(bars(text)) == 8
    assert "other" not in text


@pytest.mark.parametrize("days", [90, 400, 3_000, 100_000])
def test_more_days_than_there_is_room_for_are_shown_together(tmp_path, days):
    records = [changed(created_at=NOON - number * 86_400) for number in range(0, days, max(1, days // 200))]
    text = page_of(tmp_path, *records, option="--svg")
    assert 2 <= len(bars(text)) <= 100
    assert sum(int(bar.split()[-2].replace(",", "")) for bar in bars(text)) == 30 * len(records)


def test_times_of_a_broken_clock_are_left_out_of_the_charts(tmp_path):
    far = [changed(created_at=created_at) for created_at in (-1e12, 1e12, float("inf"), -6.3e10)]
    text = page_of(tmp_path, RECORD, *far, option="--svg")
    assert "29 Nov 2026" in text


def test_labels_do_not_touch_each_other(tmp_path):
    records = [changed(created_at=NOON - number * 86_400, model=f"model {number % 5}") for number in range(31)]
    for picture in re.findall(r"<svg .*?</svg>\n(?=<svg|<div)", page_of(tmp_path, *records), re.S):
        labels = re.findall(r'<text x="([\d.]+)" y="(\d+)" text-anchor="middle">([^<]*)', picture)
        for (left, high, text), (right, other, _) in zip(labels, labels[1:]):
            assert high != other or float(right) - float(left) > 8 * len(text)


@pytest.mark.parametrize("option", ["--svg", "--html"])
def test_no_calls_make_charts_that_say_so(tmp_path, db, option):
    path = tmp_path / "chart.out"
    assert run("usage", "--db", db, "--since", "2030-01-01", option, path) == (0, "", "no call is recorded\n")
    assert "No calls" in path.read_text()


@pytest.mark.slow
def test_a_page_of_ten_thousand_calls_is_small(tmp_path):
    records = [changed(created_at=NOON - number * 3_000, model=f"m{number % 11}") for number in range(10_000)]
    assert len(page_of(tmp_path, *records)) < 400_000


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes of files")
def test_a_page_is_written_whole_and_keeps_its_mode(db, tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old")
    path.chmod(0o640)
    assert run("usage", "--db", db, "--html", path).code == 0
    assert path.read_text().endswith("</html>\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(each.name for each in tmp_path.iterdir()) == ["page.html", "usage.db"]


# The other commands


def test_the_other_commands_record_in_the_file_that_the_environment_names(simulator, tmp_path, monkeypatch):
    monkeypatch.setenv("LM_STUDIO_USAGE_DB", str(tmp_path / "usage.db"))
    assert run("complete", "Hi", "--base-url", simulator.url).code == 0
    assert run("embed", "Hi", "--base-url", simulator.url).code == 0
    rows = json.loads(run("usage", "--by", "operation", "--json").out)
    assert [(row["operation"], row["calls"]) for row in rows] == [("embed", 1), ("stream", 1)]


def test_a_command_goes_on_if_its_call_cannot_be_recorded(simulator, tmp_path, monkeypatch):
    monkeypatch.setenv("LM_STUDIO_USAGE_DB", str(tmp_path / "none" / "usage.db"))
    ended = run("complete", "Hi", "--base-url", simulator.url)
    assert ended.code == 0
    assert "Hi" in ended.out
    assert ended.err.startswith("warning: cannot write usage to ")
    assert len(ended.err.splitlines()) == 1


def test_the_file_is_not_changed_by_looking(db):
    before = Path(db).read_bytes()
    assert run("usage", "--db", db, "--by", "day").code == 0
    assert Path(db).read_bytes() == before
