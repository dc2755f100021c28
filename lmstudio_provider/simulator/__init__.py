"""A stand-in for LM Studio's server, for tests and demos: real HTTP on loopback, no model.

It imports nothing else of this package and spells its JSON out by hand, so that client and stand-in cannot be wrong
together. Its replies say that they are simulated.
"""

from ._lmstudio import SimulatedLMStudio

__all__ = ["SimulatedLMStudio"]
