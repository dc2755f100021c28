"""What happens in a stream of LM Studio's own API, a class for each type of event (LM Studio docs: developer/rest)."""

try:
    from ._native.events import *  # noqa: F403
    from ._native.events import __all__  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(f"'events' needs '_native', which was left out of this copy of {__package__}") from error
