"""A small OpenID Connect provider over real HTTP: discovery, keys, codes with PKCE, signed ID tokens, a profile.

Invariant: it is strict: a code is good once, for its client, its address and its verifier.
"""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT_ID, CLIENT_SECRET = "purser", "a secret of the client"


@dataclass
class Provider:
    """The provider, and what it says of whoever comes; a test changes that."""

    url: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    profile: dict[str, Any] | None = None  # None: the same as the token's claims
    issuer: str = ""
    signs_with: Any = None  # another key than the published one
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    key: rsa.RSAPrivateKey = field(
        default_factory=lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )

    def discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer or self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "jwks_uri": f"{self.url}/keys",
            "response_types_supported": ["code"],
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
        }

    def keys(self) -> dict[str, Any]:
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [public | {"kid": "one", "alg": "RS256", "use": "sig"}]}

    def authorize(self, asked: dict[str, str]) -> str:
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT_ID
        assert "openid" in asked["scope"].split()
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, sent: dict[str, str]) -> dict[str, Any] | None:
        asked = self.codes.pop(sent.get("code", ""), None)
        digest = hashlib.sha256(sent.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        is_right = (
            asked is not None
            and asked["code_challenge"] == challenge
            and asked["redirect_uri"] == sent.get("redirect_uri")
            and (sent.get("client_id"), sent.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)
        )
        if not is_right:
            self.refusals.append(json.dumps(sent))
            return None
        at = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT_ID, "iat": at, "exp": at + 300, **self.claims}
        signed = jwt.encode(claims, self.signs_with or self.key, algorithm="RS256", headers={"kid": "one"})
        return {
            "access_token": "of-the-profile",
            "token_type": "Bearer",
            "expires_in": 300,
            "id_token": signed,
        }


@contextmanager
def identity_provider(**claims: Any) -> Iterator[Provider]:
    """A provider that runs while the block does."""
    provider = Provider(claims=claims)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if parts.path == "/authorize":
                self.send_response(302)
                self.send_header("location", provider.authorize(asked))
                self.end_headers()
            elif parts.path == "/.well-known/openid-configuration":
                self.answer(provider.discovery())
            elif parts.path == "/keys":
                self.answer(provider.keys())
            elif self.headers.get("authorization") == "Bearer of-the-profile":
                self.answer(provider.claims if provider.profile is None else provider.profile)
            else:
                self.answer({"error": "invalid_token"}, status=401)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            sent = {name: values[0] for name, values in parse_qs(body).items()}
            token = provider.token(sent)
            self.answer(token or {"error": "invalid_grant"}, status=200 if token else 400)

        def answer(self, document: Any, status: int = 200) -> None:
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
