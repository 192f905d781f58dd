"""Normalises the paths that clients use to the path that the routes know.

Invariant: pure. Only unambiguous paths are moved under `/v1`; the site's own pages keep their paths.

People write base URLs by hand: with or without `/v1`, with an extra slash, or in Azure's form. All of them mean the same
route.
"""

import re
from dataclasses import dataclass
from typing import Final

API: Final = "/v1"
# the beginning of an API path, where a client left out `/v1`
_OF_THE_API: Final = re.compile(
    r"/(?:chat/completions|completions|embeddings|responses|messages|models|files|batches)(?=/|$)"
)
# nothing to normalise: `/v1`, and then no `/v1` again and no empty part
_CLEAN: Final = re.compile(r"/v1/(?!v1(?:/|$))[^/]+(?:/[^/]+)*")
_REPEATED: Final = re.compile(r"^(?:/openai)?(?:/v1)+(?=/|$)")
_AZURE: Final = re.compile(r"^/openai/deployments/(?P<deployment>[^/]+)(?P<rest>/.+)$")
_SLASHES: Final = re.compile(r"/{2,}")


@dataclass(frozen=True, slots=True)
class Address:
    """The path of a request, and the model in its path, as in Azure's paths."""

    path: str
    model: str = ""

    @property
    def is_of_the_api(self) -> bool:
        return self.path == API or self.path.startswith(f"{API}/")


def address_of(path: str) -> Address:
    """The normalised path; a path that does not belong to the API is unchanged."""
    if _CLEAN.fullmatch(path):
        return Address(path)
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
