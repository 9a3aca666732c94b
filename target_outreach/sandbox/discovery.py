"""What the API tells about itself: whose token it is, and the custom fields (API reference 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_outreach.records.catalog import load_catalog
from target_outreach.sandbox.messages import Answer, json_answer
from target_outreach.sandbox.oauth import known_apps
from target_outreach.sandbox.resources import object_type, render

if TYPE_CHECKING:
    from target_outreach.sandbox.database import Database
    from target_outreach.sandbox.profile import Profile
    from target_outreach.sandbox.tokens import Permit

USER_ID = 1
WITH_CUSTOM_FIELDS = sorted(one.name for one in load_catalog().values() if one.has_custom_fields)


def answer_identity(database: Database, permit: Permit, profile: Profile, url: str) -> Answer:
    """Tell whose token it is: that Outreach does is known, the members are made up (1).

    A token of server to server has no user (7).
    """
    app = known_apps(profile).get(permit.client_id)
    meta = {
        "user": _user(database) if permit.of_user else None,
        "org": {"guid": database.organisation(), "name": "Sandbox"},
        "application": {"name": "target-outreach sandbox" if app is None else app.name},
    }
    return json_answer(200, {"meta": meta, "links": {"self": url}})


def answer_types(database: Database) -> Answer:
    """List the rules of the custom fields by object (1.1)."""
    entries = [
        {"type": object_type(name).type, "meta": {"validations": database.custom_fields(name)}}
        for name in WITH_CUSTOM_FIELDS
    ]
    return json_answer(200, {"data": entries})


def _user(database: Database) -> dict[str, object]:
    user = database.find("users", USER_ID)
    shown = {} if user is None else render("users", user)["attributes"]
    return {"id": USER_ID, "email": shown.get("email"), "name": shown.get("name")}
