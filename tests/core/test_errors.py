import pickle

import pytest
from tables import for_each

import lmstudio_provider
from lmstudio_provider import Completion, ProviderError, StatusError

ERRORS = [
    value for value in vars(lmstudio_provider).values() if isinstance(value, type) and issubclass(value, ProviderError)
]


@for_each("kind", ERRORS)
def test_every_error_survives_pickle_with_its_data(kind):
    partial = Completion("Hel", "m", "m")
    error = kind("it broke", hint="Mend it", method="GET", url="http://h/v1/models", partial=partial)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error) == "GET /v1/models: it broke. Mend it"
    assert (again.message, again.hint, again.partial) == ("it broke", "Mend it", partial)


def test_an_error_without_a_call_and_a_hint_is_its_message():
    assert str(ProviderError("it broke")) == "it broke"
    assert repr(ProviderError("it broke")) == "ProviderError('it broke')"


def test_data_that_is_not_known_is_none():
    error = StatusError("it broke")
    assert (error.status, error.code, error.param, error.body, error.retry_after_s) == (None,) * 5
    assert (error.provider, error.method, error.url, error.partial, error.sent) == (None, None, None, None, False)


def test_data_that_an_error_does_not_have_is_refused():
    with pytest.raises(TypeError, match=r"StatusError\(\) got an unexpected keyword argument 'foo'"):
        StatusError("refused", foo=1)
