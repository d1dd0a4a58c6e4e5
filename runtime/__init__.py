"""From a bundle and a plan to tokens.

Example:
    >>> from paceline.runtime import load
    >>> with load("bundles/smollm2", draft_length=4) as model:
    ...     generation = model.generate("The capital of France is", max_new_tokens=16)
    ...     for token in generation:
    ...         print(token.text, end="", flush=True)
    >>> generation.stats.acceptance.alpha
"""

from paceline.runtime.chat import Message
from paceline.runtime.conversation import Conversation
from paceline.runtime.device import Device, open_device
from paceline.runtime.generation import Generation, Token
from paceline.runtime.load_model import load
from paceline.runtime.model import Model
from paceline.runtime.null_device import NullDevice
from paceline.runtime.program import Program, Step, load_program
from paceline.runtime.record import Seconds, Stats
from paceline.runtime.sampling import Sampling
from paceline.runtime.setting import Setting

__all__ = [
    "Conversation",
    "Device",
    "Generation",
    "Message",
    "Model",
    "NullDevice",
    "Program",
    "Sampling",
    "Seconds",
    "Setting",
    "Stats",
    "Step",
    "Token",
    "load",
    "load_program",
    "open_device",
]
