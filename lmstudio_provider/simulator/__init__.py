"""Stand-ins for local servers, for tests and demos: real HTTP on loopback, without a model.

They import nothing else from this package and write their JSON by hand, so that client and stand-in cannot share a
mistake. Their replies say that they are simulated. ``python -m lmstudio_provider.simulator`` runs one.
"""

from ._lmstudio import SimulatedLMStudio
from ._ollama import SimulatedOllama
from ._ollama_models import OllamaModel

__all__ = ["OllamaModel", "SimulatedLMStudio", "SimulatedOllama"]
