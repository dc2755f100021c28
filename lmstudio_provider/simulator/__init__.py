"""Stand-ins for local servers, for tests and demos: real HTTP on loopback, without a model.

``record`` and ``replay`` are for tests with the replies of a real server. Nothing here imports anything else from this
package, and the stand-ins write their JSON by hand, so that client and stand-in cannot share a mistake. Their replies
say that they are simulated. ``python -m lmstudio_provider.simulator`` runs one.
"""

from ._faults import Fault
from ._lmstudio import SimulatedLMStudio
from ._ollama import SimulatedOllama
from ._ollama_models import OllamaModel
from ._record import record
from ._replay import replay
from ._replies import When

__all__ = ["Fault", "OllamaModel", "SimulatedLMStudio", "SimulatedOllama", "When", "record", "replay"]
