"""Addresses at a provider's server."""


def joined(base_url: str, path: str) -> str:
    """The base URL and a path. A base URL may end in the version that Anthropic's paths begin with."""
    base = base_url.rstrip("/")
    if path.startswith("/v1/") and base.endswith("/v1"):
        path = path.removeprefix("/v1")
    return base + path
