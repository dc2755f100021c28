"""What happens in a stream of LM Studio's own API, a class for each type of event (LM Studio docs: developer/rest)."""

from ._native.events import *  # noqa: F403
from ._native.events import __all__  # noqa: F401
