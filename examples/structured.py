"""Get the answer as an instance of a dataclass."""

from __future__ import annotations

import enum
import sys
from dataclasses import dataclass

from lmstudio_provider import LMStudioProvider, Message, ProviderError, StructuredOutputError


class Kind(enum.Enum):
    """The kinds of works."""

    NOVEL = "novel"
    POEM = "poem"
    PLAY = "play"


@dataclass
class Work:
    """One work of an author."""

    title: str
    year: int
    kind: Kind


@dataclass
class Author:
    """An author and some of the works."""

    name: str
    works: list[Work]


def main() -> None:
    with LMStudioProvider() as lm:
        question = Message.user("Who was Henrik Ibsen? Name two of his works.")
        try:
            author = lm.chat([question], response_format=Author, temperature=0.2).parsed
        except StructuredOutputError as error:
            sys.exit(f"The model wrote something else, at {error.path}: {error.text}")
    print(author.name)
    for work in author.works:
        print(f"  {work.year} {work.title} ({work.kind.value})")


if __name__ == "__main__":
    try:
        main()
    except ProviderError as error:
        sys.exit(str(error))
