"""The addresses that clients really use, brought to the one that the routes know.

Invariant: pure. Only what nobody else could mean is brought into `/v1`; the site's own pages keep their addresses.

A base URL is written by hand: with `/v1` and without, with a slash too many, by Azure's rules. All of that names one page.
"""

import re
from dataclasses import dataclass
from typing import Final

API: Final = "/v1"
# what begins an address of the API, where a client left out `/v1`
_OF_THE_API: Final = re.compile(
    r"/(?:chat/completions|completions|embeddings|responses|messages|models|files|batches)(?=/|$)"
)
_REPEATED: Final = re.compile(r"^(?:/openai)?(?:/v1)+(?=/|$)")
_AZURE: Final = re.compile(r"^/openai/deployments/(?P<deployment>[^/]+)(?P<rest>/.+)$")
_SLASHES: Final = re.compile(r"/{2,}")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a request goes, and the model that its address names, as Azure's do."""

    path: str
    model: str = ""

    @property
    def is_of_the_api(self) -> bool:
        return self.path == API or self.path.startswith(f"{API}/")


def address_of(path: str) -> Address:
    """What an address means; one that the API cannot have stays as it is."""
    plain = _SLASHES.sub("/", path)
    if (azure := _AZURE.match(plain)) and _OF_THE_API.match(azure["rest"]):
        return Address(_without_slash(API + azure["rest"]), azure["deployment"])
    if _REPEATED.match(plain):
        return Address(_without_slash(_REPEATED.sub(API, plain)))
    under_openai = plain.removeprefix("/openai")
    if _OF_THE_API.match(under_openai):
        return Address(_without_slash(API + under_openai))
    return Address(path)


def _without_slash(path: str) -> str:
    return path.rstrip("/")
