"""Descriptions of parameters from docstrings in the style of Google, NumPy and Sphinx."""

from __future__ import annotations

import inspect

from tables import for_each

from lmstudio_provider import Tool
from lmstudio_provider._core.schema.functions import described

GOOGLE = """Tell the weather.

    Looks into the sky.

    Args:
        city: Where to look,
            by its name.
        days (int, optional): How far ahead: at most 7.
        *rest: More.

    Returns:
        str: a sentence.
    """
NUMPY = """Tell the weather.

    Looks into the sky.

    Parameters
    ----------
    city : str
        Where to look,
        by its name.
    days : int, optional
        How far ahead: at most 7.
    low, high : float
        The bounds.
    unit

    Returns
    -------
    str
        A sentence.
    """
SPHINX = """Tell the weather.

    Looks into the sky.

    :param city: Where to look,
        by its name.
    :type city: str
    :param int days: How far ahead: at most 7.
    :returns: A sentence.
    :raises ValueError: never
    """


@for_each("docstring", [GOOGLE, NUMPY, SPHINX], ids=["Google", "NumPy", "Sphinx"])
def test_the_parameters_are_described_in_each_style(docstring):
    description, parameters = described(inspect.cleandoc(docstring))
    assert description == "Tell the weather.\n\nLooks into the sky."
    assert parameters["city"] == "Where to look, by its name."
    assert parameters["days"] == "How far ahead: at most 7."


def test_several_parameters_of_numpys_style_share_a_description():
    parameters = described(inspect.cleandoc(NUMPY))[1]
    assert (parameters["low"], parameters["high"], parameters["unit"]) == ("The bounds.", "The bounds.", "")


@for_each(
    ("docstring", "description"),
    [
        ("Look.\n\nArgs:\n    city (str): The city (see docs): capital first.", "The city (see docs): capital first."),
        ("Look.\n\nargs:\n    city: Where.", "Where."),
        ("Look.\n\n:argument city: Where.", "Where."),
        ("Look.\n\n:keyword str city: Where.", "Where."),
    ],
)
def test_a_description_is_whole(docstring, description):
    assert described(docstring) == ("Look.", {"city": description})


@for_each(
    "docstring",
    [
        "",
        "Say it: loudly.",
        "Parameters of the day.",
        "Notes on the day: none.",
        "Uses 12:30: a time.",
        "Do it.\n\n:ref: is not a field of a parameter",
    ],
)
def test_a_docstring_without_sections_is_the_description(docstring):
    assert described(docstring) == (docstring.split("\n\n:ref")[0], {})


def test_a_text_at_the_margin_ends_the_arguments():
    docstring = "Look.\n\nArgs:\n    city: Where.\n\nAnd more: of it."
    assert described(docstring) == ("Look.", {"city": "Where."})


def test_the_descriptions_get_into_the_schema():
    def look(city: str, days: int = 1) -> str:
        return city

    look.__doc__ = NUMPY
    properties = Tool.from_function(look).parameters["properties"]
    assert properties["city"]["description"] == "Where to look, by its name."
    assert properties["days"] == {"type": "integer", "description": "How far ahead: at most 7.", "default": 1}
