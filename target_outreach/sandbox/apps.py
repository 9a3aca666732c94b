"""The apps that an organisation knows: OAuth clients, and installed server-to-server apps."""

from __future__ import annotations

# Needed when the program runs, to read apps from a file.
from collections.abc import Collection, Mapping  # noqa: TC003
from dataclasses import dataclass

from target_outreach.sandbox.signatures import read_public_key

_S2S_ALL = (
    "accounts calls events imports opportunities prospects sequences sequenceStates tasks webhooks"
)
_S2S_READ = "auditLogs kaiaRecordings mailings snippets templates users"

#: The most that a server-to-server token may do; no stages, no personas (API reference 7).
S2S_SCOPES = (
    *(f"{name}.all" for name in _S2S_ALL.split()),
    *(f"{name}.read" for name in _S2S_READ.split()),
)


@dataclass(frozen=True, slots=True)
class App:
    """An OAuth client (API reference 7).

    Attributes:
        client_id: Public name of the client.
        client_secret: Its secret.
        redirect_uris: Where users may be sent back to, compared letter by letter; empty for every
            https address of this machine: ``127.0.0.1``, ``localhost`` or ``[::1]``, whatever
            the port and path.
        name: What the consent page calls it.
        scopes: What it may ask for; None for everything.
    """

    client_id: str
    client_secret: str
    redirect_uris: Collection[str] = ()
    name: str = "An app"
    scopes: Collection[str] | None = None


@dataclass(frozen=True, slots=True)
class Installation:
    """A server-to-server app that is installed in the organisation (API reference 7).

    Attributes:
        install_id: Id of the installation, as in the path.
        guid: GUID of the app, the `iss` of its JWTs.
        public_key: RSA public key: PEM text (``BEGIN PUBLIC KEY`` or ``BEGIN RSA PUBLIC KEY``), a
            JWK with `n` and `e`, or the numbers `n` and `e`.
        scopes: What its access tokens may do.

    Raises:
        ValueError: The public key is none.
    """

    install_id: str
    guid: str
    public_key: str | Mapping[str, object] | tuple[int, int]
    scopes: Collection[str] = S2S_SCOPES

    def __post_init__(self) -> None:
        read_public_key(self.public_key)


#: The app that is known where a profile names none.
SANDBOX_APP = App("sandbox-client", "sandbox-secret", name="The sandbox's own app")
