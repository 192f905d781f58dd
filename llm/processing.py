"""How a provider works on a call, as far as the price depends on it: online, flex or priority.

Invariant: pure. A call is held at what it asks for and billed at what the provider says it served.
"""

from typing import Final

# the providers' own words; every other tier (auto, default, standard, scale) is priced as online
_PROCESSING: Final = {"flex": "flex", "priority": "priority", "fast": "priority"}


def processing_of(service_tier: str) -> str:
    """The processing whose prices apply to a service tier, asked for or served."""
    return _PROCESSING.get(service_tier, "online")
