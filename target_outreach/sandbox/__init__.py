"""A local Outreach: its JSON:API over real HTTP, from a SQLite file, with faults on request.

Nothing here reaches Outreach itself. What is known about the API is built in; what is contested
or unknown is a switch of `Profile`.
"""

from target_outreach.sandbox.apps import SANDBOX_APP, App, Installation
from target_outreach.sandbox.faults import Fault
from target_outreach.sandbox.messages import Exchange, LoggedRequest, TokenRequest
from target_outreach.sandbox.profile import Profile
from target_outreach.sandbox.sandbox import Sandbox, serve
from target_outreach.sandbox.store import ImportedRecord, ImportRun, Store, Write

__all__ = [
    "SANDBOX_APP",
    "App",
    "Exchange",
    "Fault",
    "ImportRun",
    "ImportedRecord",
    "Installation",
    "LoggedRequest",
    "Profile",
    "Sandbox",
    "Store",
    "TokenRequest",
    "Write",
    "serve",
]
