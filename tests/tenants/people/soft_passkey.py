"""A passkey in software: what a telephone sends when one is made, and when somebody signs in with it."""

import secrets
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2.cose import ES256
from fido2.utils import sha256, websafe_decode, websafe_encode
from fido2.webauthn import AttestationObject, AttestedCredentialData, AuthenticatorData, CollectedClientData

HOST, ORIGIN = "localhost", "https://localhost"
EVERYTHING = (
    AuthenticatorData.FLAG.USER_PRESENT
    | AuthenticatorData.FLAG.USER_VERIFIED
    | AuthenticatorData.FLAG.ATTESTED
)


@dataclass
class SoftPasskey:
    """One key of one person at one site."""

    user_handle: str = ""
    id: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def made(self, options: dict[str, Any]) -> dict[str, Any]:
        """The answer to the options of a page that adds one."""
        asked = options["publicKey"]
        self.user_handle = asked["user"]["id"]
        public = ES256.from_cryptography_key(self.key.public_key())
        attested = AttestedCredentialData.create(b"\0" * 16, self.id, public)
        data = AuthenticatorData.create(sha256(HOST.encode()), EVERYTHING, 1, attested)
        made = AttestationObject.create("none", data, {})
        client = CollectedClientData.create("webauthn.create", asked["challenge"], ORIGIN)
        return self._answer(clientDataJSON=client, attestationObject=made) | {
            "clientExtensionResults": {"credProps": {"rk": True}}
        }

    def signed(self, options: dict[str, Any]) -> dict[str, Any]:
        """The answer to the options of a page that somebody signs in at."""
        client = CollectedClientData.create("webauthn.get", options["publicKey"]["challenge"], ORIGIN)
        flags = EVERYTHING & ~AuthenticatorData.FLAG.ATTESTED
        data = AuthenticatorData.create(sha256(HOST.encode()), flags, 2)
        signature = self.key.sign(data + client.hash, ec.ECDSA(hashes.SHA256()))
        return self._answer(
            clientDataJSON=client,
            authenticatorData=data,
            signature=signature,
            userHandle=websafe_decode(self.user_handle),
        )

    def _answer(self, **parts: bytes) -> dict[str, Any]:
        name = websafe_encode(self.id)
        response = {part: websafe_encode(value) for part, value in parts.items()}
        return {
            "id": name,
            "rawId": name,
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": response,
        }
