"""Runs a test over a table of cases, as ``pytest.mark.parametrize`` does, but inside one test.

Most cases take less time than pytest and xdist need to make a test of each. All cases of a table share the fixtures;
only an ``httpserver`` forgets what the case before has set, as it does between tests.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any, Callable, Iterable, Sequence

import pytest


def for_each(names: str | Sequence[str], cases: Iterable[Any], ids: Any = None) -> Callable[[Callable[..., None]], Any]:
    """Return a decorator that runs a test with each of ``cases``; the error names all that failed.

    The arguments are those of ``pytest.mark.parametrize``.
    """
    keys = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    rows = [_row(case, len(keys)) for case in cases]
    titles = [name for name, _ in rows]
    if ids is not None:
        titles = ["-".join(str(ids(each)) for each in values) for _, values in rows] if callable(ids) else list(ids)
    assert rows, "a table without a case tests nothing"
    assert len(titles) == len(rows)
    assert all(len(values) == len(keys) for _, values in rows), "each case has a value for each name"

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(test)
        assert set(keys) <= set(signature.parameters)

        @functools.wraps(test)
        def run(*own: Any, **fixtures: Any) -> None:
            failed = []
            for title, (_, values) in zip(titles, rows):
                if "httpserver" in fixtures:
                    fixtures["httpserver"].clear()
                try:
                    test(*own, **fixtures, **dict(zip(keys, values)))
                except (Exception, pytest.fail.Exception, pytest.skip.Exception) as error:
                    failed.append((title, error))
            if failed:
                lines = [f"{title}: {type(error).__name__}: {error}" for title, error in failed]
                message = f"{len(failed)} of {len(rows)} cases failed; the traceback above is of the first:\n"
                raise AssertionError(message + "\n".join(lines)) from failed[0][1]

        run.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[each for name, each in signature.parameters.items() if name not in keys]
        )
        return run

    return decorate


def _row(case: Any, width: int) -> tuple[str, tuple[Any, ...]]:
    """Return the title of ``case`` and its values."""
    assert not getattr(case, "marks", ()), "a case of a table cannot be marked, as one test runs all"
    title = getattr(case, "id", None) if isinstance(case, type(pytest.param())) else None
    values = tuple(case.values) if isinstance(case, type(pytest.param())) else (case,) if width == 1 else tuple(case)
    return str(title or ", ".join(f"{value!r:.200}" for value in values)), values
