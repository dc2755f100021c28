import json

from hypothesis import given
from hypothesis import strategies as st
from tables import for_each

from lmstudio_provider._core.types import Call
from lmstudio_provider._dialects import messages, ollama, openai, responses
from lmstudio_provider._dialects.errors import ErrorContext
from lmstudio_provider._dialects.messages import MessagesStream
from lmstudio_provider._dialects.ollama import OllamaStream
from lmstudio_provider._dialects.openai import ChatStream
from lmstudio_provider._dialects.responses import ResponsesStream
from lmstudio_provider._dialects.thoughts import ThoughtSplitter, split_thoughts, split_unopened
from lmstudio_provider._http.readers import Event

ANALYSIS = "<|start|>assistant<|channel|>analysis<|message|>"
FINAL = "<|start|>assistant<|channel|>final<|message|>"


def fed(*pieces):
    """The answer and the thoughts of a text that comes in pieces, as they are handed out."""
    splitter = ThoughtSplitter()
    parts = [splitter.feed(piece) for piece in pieces] + [splitter.feed("", end=True)]
    return "".join(text for text, _ in parts), "".join(thought for _, thought in parts)


def streamed(*pieces):
    """The same, of the completion of a stream."""
    answer, thoughts = fed(*pieces)
    answer, unopened = split_unopened(answer)
    return answer, thoughts + unopened


# Texts that may not contain thoughts

UNTOUCHED = [
    "",
    "\n\n",
    "  blanks stay",
    "<thin ice",
    "<thi",
    "<|chan",
    "[THIN",
    "plain <think>quoted</think>",
    "Write [THINK]thoughts[/THINK] so.",
    "Gemma writes <|channel>thought x<channel|>, it does.",
    "The tag `</think>` ends thoughts.",
    "Both `<think>` and ``a ` </think>`` are tags.",
    "`[/THINK]`, `<channel|>` and `<|end|><|start|>assistant<|channel|>final<|message|>` end them, too.",
    "The tag \"</think>\" ends thoughts, and so does '[/THINK]'.",
    "They say “it ends with </think> there”, «</think>», „</think>“ and \u2018</think>\u2019.",
    "思考标签“</think>”表示结束。",
    "在\"</think>\"之后, 在'</think>'之后, 标签＂</think>＂。",
    '标签"以 </think> 结尾"之后。',
    'モデルは"</think>"を出す。「</think>」と『</think>』と〈</think>〉と｢</think>｣と〝</think>〟',
    "答えは「まず </think> が出る」です。",
    "모델은 \"</think>\"로 끝나고, 태그'</think>'는",
    "《</think>》 ‹</think>› ›</think>‹",
    "Elle dit « </think> », «\u00a0</think>\u00a0», « la fin </think> vient », «\u202f</think>\u202f» et ‹ </think> ›.",
    "With blanks: \" </think> \", ' [/THINK] '.",
    "Taggen ”</think>” och »</think>», ja \u2019</think>\u2019 också.",
    'وسم"</think>" ינ"</think>"ת',
    'แท็ก"</think>"จบ',
    "“<think>…</think>”和「<think> と </think>」",
    '{"html": "<b></think></b>", "said": "it\'s \\"</think>\\" ok"}',
    "See:\n```xml\n<a>\n</think>\n```\nThat is all.",
    "See:\n~~~\n```\n</think>\n~~~",
    "See:\n~~~ `x`\n</think>\n~~~",
    "- So:\n  ```\n  </think>\n  ```\n- Done.",
    "It was cut off:\n```\n</think>\n",
    "````\n```\n</think>\n````",
    "He wrote:\n> it ends with </think>\nand left.",
    "Escaped: \\</think>",
    "He said 'it's </think> here'.",
]


@for_each("text", UNTOUCHED)
def test_a_text_that_speaks_of_marks_stays_whole(text):
    assert split_thoughts(text) == (text, "")
    for cut in range(len(text) + 1):
        assert fed(text[:cut], text[cut:]) == (text, "")


# Thoughts

OPENED = [
    ("<think>17×20 + 51</think>\n\n391", ("391", "17×20 + 51")),
    ("\n <think>a</think><think>b</think>c", ("c", "ab")),
    ("<think>never closed", ("", "never closed")),
    ("<think>a < b </thin", ("", "a < b </thin")),
    ("<think></think>", ("", "")),
    ("<think>a</think>The tags `<think>` and `</think>`.", ("The tags `<think>` and `</think>`.", "a")),
    ("<think>The tag `</think>` ends it.</think>Use `</think>`.", ("Use `</think>`.", "The tag `</think>` ends it.")),
    ("<think>First\n`[/THINK]`, `</think>`</think>Yes.", ("Yes.", "First\n`[/THINK]`, `</think>`")),
    ("<think>Run `ls`</think>`ls -l`", ("`ls -l`", "Run `ls`")),
    ("<think>A ` alone.</think>`ls`", ("`ls`", "A ` alone.")),
    ("<think>cut off in `</think>", ("", "cut off in `")),
    ("[THINK]So `[/THINK]`[/THINK]`x`", ("`x`", "So `[/THINK]`")),
    ("<|channel|>analysis<|message|>`<|end|>` it is.<|end|>Yes.", ("Yes.", "`<|end|>` it is.")),
    ("<|channel|>final<|message|>Yes.<|return|><", ("Yes.<|return|><", "")),
    ("<|channel|>final<|message|>Yes.<|end|> <|return|>", ("Yes.<|end|> ", "")),
    ("[THINK]Hm, [well].[/THINK]Yes.", ("Yes.", "Hm, [well].")),
    ("[THINK]a[/THINK]\n[THINK]b[/THINK] c", ("c", "ab")),
    ("<|channel>thought I see.<channel|>Yes.", ("Yes.", "I see.")),
    ("<|channel>thought\nI <see>.\n<channel|>Yes.", ("Yes.", "I <see>.\n")),
    ("<|channel>thought\n<channel|>\nYes.", ("Yes.", "")),
    ("<|channel>thought<channel|>Yes.", ("Yes.", "")),
    (f"<|channel|>analysis<|message|>Hm.<|end|>{FINAL}Yes.", ("Yes.", "Hm.")),
    (f"<|channel|>analysis<|message|>Hm.<|end|>{FINAL}Yes.<|return|>", ("Yes.", "Hm.")),
    (f"<|start|>assistant<|channel|>analysis<|message|>Hm.{FINAL}Yes.", ("Yes.", "Hm.")),
    ("<|channel|>analysis<|message|>Hm.<|channel|>final<|message|>Yes.<|end|>", ("Yes.", "Hm.")),
    ("<|channel|>final<|message|>The token `<|end|>` ends it.", ("The token `<|end|>` ends it.", "")),
    ('<|channel|>final <|constrain|>json<|message|>{"a": 1}', ('{"a": 1}', "")),
    (
        f"<|channel|>analysis<|message|>Hm.<|end|>{FINAL.replace('<|message|>', '<|constrain|>json<|message|>')}{{}}",
        ("{}", "Hm."),
    ),
    ("<|channel|>final<|constrain|>json<|message|>{}<|return|>", ("{}", "")),
    ("<|channel|>final json<|message|>{}", ("{}", "")),
    ("<|channel|>final <|constrain|> Book.v1 <|message|>{}", ("{}", "")),
    (f"<|channel|>analysis <|message|>Hm.<|end|>{ANALYSIS}So.<|channel|>final\n<|message|>Yes.", ("Yes.", "Hm.So.")),
    ("<|channel|>commentary<|constrain|>text<|message|>I look.", ("I look.", "")),
    ("<|channel|>final is a channel", ("<|channel|>final is a channel", "")),
    ("<|channel|>final" + "a" * 200, ("<|channel|>final" + "a" * 200, "")),
    (
        "<|channel|>commentary to=f<|constrain|>json<|message|>{}",
        ("<|channel|>commentary to=f<|constrain|>json<|message|>{}", ""),
    ),
    ("<|channel|>analysis<|message|>never closed", ("", "never closed")),
    (
        f"<|channel|>commentary<|message|>I look.<|end|>{ANALYSIS}Hm.<|end|>{FINAL} Ok.",
        ("I look. Ok.", "Hm."),
    ),
    (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.f<|message|>{}",
        ("<|start|>assistant<|channel|>commentary to=functions.f<|message|>{}", "Hm."),
    ),
]


@for_each(("text", "expected"), OPENED)
def test_thoughts_are_parted_from_the_answer_however_they_are_cut(text, expected):
    assert split_thoughts(text) == fed(text) == fed(*text) == expected
    for cut in range(len(text)):
        assert fed(text[:cut], text[cut:]) == expected


UNOPENED = [
    ("17×20 + 51\n</think>\n\n391", ("391", "17×20 + 51\n")),
    ("only thoughts</think>", ("", "only thoughts")),
    ("</think>\n\nYes.", ("Yes.", "")),
    ("I see.</think>Yes.", ("Yes.", "I see.")),
    ("I don't know. </think> It's not mine.", ("It's not mine.", "I don't know. ")),
    ('It is "yes".</think>"Yes," he said.', ('"Yes," he said.', 'It is "yes".')),
    ('12" of it.</think>It is 12" long.', ('It is 12" long.', '12" of it.')),
    ("A ` alone.\n</think>\nRun `ls`.", ("Run `ls`.", "A ` alone.\n")),
    ('An open "quote.\n</think>\nAnother "one".', ('Another "one".', 'An open "quote.\n')),
    ("「はい」と言う。</think>「はい」", ("「はい」", "「はい」と言う。")),
    ("他说“是”。</think>“是”", ("“是”", "他说“是”。")),
    ("« oui »</think>« non »", ("« non »", "« oui »")),
    ('"yes"</think>"Yes," he said.', ('"Yes," he said.', '"yes"')),
    ("The dogs'</think>'Tis so.", ("'Tis so.", "The dogs'")),
    ('It is 5"</think>"Five."', ('"Five."', 'It is 5"')),
    ('צה"ל.</think>צה"ל', ('צה"ל', 'צה"ל.')),
    ("the end of it.”</think>“Yes.”", ("“Yes.”", "the end of it.”")),
    ("そう」</think>「はい", ("「はい", "そう」")),
    ("```py\nx = 1\n```</think>Done.", ("Done.", "```py\nx = 1\n```")),
    ("```\nx\n```\nSo.\n</think>Done.", ("Done.", "```\nx\n```\nSo.\n")),
    ("``` of `a\n</think>Done.", ("Done.", "``` of `a\n")),
    ("They want `</think>`.</think>It is `</think>`.", ("It is `</think>`.", "They want `</think>`.")),
    ("<think>a</think>b</think>c", ("c", "ab")),
    ("One <think>a</think> two</think>Yes.", ("Yes.", "One <think>a</think> two")),
    ("a</think>b</think>c", ("b</think>c", "a")),
    ("a</think><think>b</think>c", ("c", "ab")),
    ("I see.[/THINK]Yes.", ("Yes.", "I see.")),
    ("I see.<channel|>Yes.", ("Yes.", "I see.")),
    (f"I see.<|end|>{FINAL}Yes.<|return|>", ("Yes.", "I see.")),
]


@for_each(("text", "expected"), UNOPENED)
def test_a_mark_that_nothing_opened_ends_the_thoughts_also_in_a_line(text, expected):
    assert split_thoughts(text) == streamed(text) == streamed(*text) == expected
    for cut in range(len(text)):
        assert streamed(text[:cut], text[cut:]) == expected


PIECES = [
    "<think>", "</think>", "[THINK]", "[/THINK]", "<|channel>thought", "<channel|>", "<|channel|>analysis<|message|>",
    "<|end|>", "<|return|>", "<|start|>assistant", "<|channel|>final<|message|>", "<|channel|>", "`", "```", "\n", " ",
    '"', "'", "\\", "a", "<", "[", "> ", "\n\n```\n", "<|", "`</think>`",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.data())
def test_a_stream_is_split_like_the_whole_text_wherever_it_is_cut(text, data):
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)))
    assert streamed(*[text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)])]) == split_thoughts(text)


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_nothing_but_marks_and_blanks_is_lost(text):
    def rest(of):
        for mark in PIECES:
            of = of.replace(mark, "") if len(mark.strip()) > 3 else of
        return "".join(of.split()).replace("assistant", "")

    answer, thoughts = split_thoughts(text)
    assert sorted(rest(text).replace("<", "")) == sorted(rest(answer + thoughts).replace("<", ""))


def test_an_answer_is_handed_out_at_once_when_nothing_can_be_held_back():
    splitter = ThoughtSplitter()
    assert splitter.feed("Hello") == ("Hello", "")
    assert splitter.feed(" <think>") == (" <think>", "")


def test_thoughts_are_handed_out_at_once_except_a_possible_closing_tag():
    splitter = ThoughtSplitter()
    assert splitter.feed("<think>Hm </thi") == ("", "Hm ")
    assert splitter.feed("ng> well") == ("", "</thing> well")


@for_each("rest", ["", "<think>a</think>b", "text"])
def test_endless_blanks_are_not_held_back_for_ever(rest):
    splitter = ThoughtSplitter()
    assert sum(len(splitter.feed("\n" * 100)[0]) for _ in range(20)) == 2000
    text = "\n" * 2000 + rest
    assert split_thoughts(text) == fed(text) == fed(*text) == (text, "")


def test_thoughts_may_follow_thoughts_of_any_length():
    assert split_thoughts(f"<think>{'a' * 2000}</think><think>b</think>c") == ("c", f"{'a' * 2000}b")


# In each dialect, whole and streamed

TEXTS = [
    "<think>I see.</think>\n\nYes.",
    "[THINK]I see.[/THINK]Yes.",
    "<|channel>thought I see.<channel|>Yes.",
    f"<|channel|>analysis<|message|>I see.<|end|>{FINAL}Yes.",
    "I see.</think>Yes.",
]


def call_to(path):
    return Call("POST", path, b"", "asked")


def events(*values):
    return [Event(value.get("type", "message"), json.dumps(value)) for value in values]


def whole(dialect, text):
    module, value = {
        "chat": (openai, {"choices": [{"message": {"content": text}}]}),
        "responses": (
            responses,
            {
                "output": [{"type": "message", "content": [{"type": "output_text", "text": text}]}],
                "status": "completed",
            },
        ),
        "messages": (messages, {"content": [{"type": "text", "text": text}]}),
        "ollama": (ollama, {"message": {"content": text}, "done": True}),
    }[dialect]
    return module.reply(value, call_to("/"), 1.0)


def stream_of(dialect, text):
    kind, fed_ = {
        "chat": (
            ChatStream,
            events(
                *({"choices": [{"delta": {"content": each}}]} for each in text),
                {"choices": [{"finish_reason": "stop"}]},
            ),
        ),
        "responses": (
            ResponsesStream,
            events(
                *({"type": "response.output_text.delta", "delta": each} for each in text),
                {"type": "response.completed", "response": {"status": "completed", "output": []}},
            ),
        ),
        "messages": (
            MessagesStream,
            events(
                *(
                    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": each}}
                    for each in text
                ),
                {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
            ),
        ),
        "ollama": (OllamaStream, [*({"message": {"content": each}} for each in text), {"done": True}]),
    }[dialect]
    stream = kind(call_to("/"), ErrorContext("asked"), 0.0)
    chunks = [*map(stream.feed, fed_), *stream.finish()]
    completion = stream.completion()
    if "</think>" not in text or text.startswith("<think>"):
        assert "".join(chunk.delta for chunk in chunks if chunk) == completion.text
        assert "".join(chunk.reasoning for chunk in chunks if chunk) == completion.reasoning
    return completion


@for_each("text", TEXTS)
@for_each("dialect", ["chat", "responses", "messages", "ollama"])
def test_every_dialect_parts_thoughts_from_the_answer(dialect, text):
    for completion in (whole(dialect, text), stream_of(dialect, text)):
        assert (completion.text, completion.reasoning) == ("Yes.", "I see.")


@for_each("text", ["<thi", "<", "[THINK", "<|chan"])
@for_each("dialect", ["chat", "responses", "messages", "ollama"])
def test_no_dialect_loses_a_text_that_ends_as_a_mark_begins(dialect, text):
    for completion in (whole(dialect, text), stream_of(dialect, text)):
        assert (completion.text, completion.reasoning) == (text, "")


@for_each(
    ("module", "value"),
    [(openai, {"choices": [{"text": "a</think>b"}]}), (ollama, {"response": "a</think>b", "done": True})],
    ids=["openai", "ollama"],
)
def test_the_continuation_of_a_text_is_not_split(module, value):
    assert module.reply(value, call_to("/"), 1.0).text == "a</think>b"


def test_thoughts_in_the_text_follow_those_that_came_beside_it():
    message = {"reasoning_content": "First. ", "content": "Then.</think>Yes."}
    completion = openai.reply({"choices": [{"message": message}]}, call_to("/"), 1.0)
    assert (completion.text, completion.reasoning) == ("Yes.", "First. Then.")


def test_chunks_that_were_delivered_stay_and_the_completion_is_corrected():
    stream = ChatStream(call_to("/"), ErrorContext("asked"), 0.0)
    chunks = [
        stream.feed(event)
        for event in events(*({"choices": [{"delta": {"content": each}}]} for each in ("Hm.</think>", "Yes.")))
    ]
    assert "".join(chunk.delta for chunk in chunks) == "Hm.</think>Yes."
    assert (stream.completion().text, stream.completion().reasoning) == ("Yes.", "Hm.")
