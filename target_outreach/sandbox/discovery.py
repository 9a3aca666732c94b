"""What the API tells about itself: whose token it is, and the custom fields (API reference 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_outreach.records.catalog import load_catalog
from target_outreach.sandbox import errors
from target_outreach.sandbox.messages import Answer, json_answer
from target_outreach.sandbox.oauth import everything, known_apps
from target_outreach.sandbox.resources import object_type, render

if TYPE_CHECKING:
    from target_outreach.sandbox.database import Database
    from target_outreach.sandbox.profile import Profile
    from target_outreach.sandbox.tokens import Permit

USER_ID = 1
FORBIDDEN = 403
WITH_CUSTOM_FIELDS = sorted(one.name for one in load_catalog().values() if one.has_custom_fields)


def answer_identity(database: Database, permit: Permit, profile: Profile, url: str) -> Answer:
    """Tell whose token it is, in the form that the profile says (1).

    A token of server to server has no user (7).

    Raises:
        ApiError: The profile refuses to tell.
    """
    if profile.identity_refusal is not None:
        is_forbidden = profile.identity_refusal == FORBIDDEN
        raise errors.governed() if is_forbidden else errors.route_not_found()
    app = known_apps(profile).get(permit.client_id)
    meta: dict[str, object] = {
        "user": _user(database) if permit.of_user else None,
        "application": {"name": "target-outreach sandbox" if app is None else app.name},
    }
    identifier = database.organisation() if profile.organisation is None else profile.organisation
    links = {"self": url}
    if profile.identity == "user":
        return json_answer(200, {"meta": meta, "links": links})
    if profile.identity == "meta":
        meta["org"] = {"guid": identifier, "name": profile.organisation_name}
        return json_answer(200, {"meta": meta, "links": links})
    meta["instanceUrl"] = url.removesuffix("/api/v2")
    meta["scopes"] = everything().split() if permit.scopes is None else sorted(permit.scopes)
    attributes = {"name": profile.organisation_name, "timeZone": "Etc/UTC", **_labels(database)}
    data = {"type": "org", "id": identifier, "attributes": attributes}
    return json_answer(200, {"data": data, "meta": meta, "links": links})


def _labels(database: Database) -> dict[str, str]:
    """Name the labels of the custom fields as attributes of the organisation (1)."""
    return {
        f"{object_type(name).type}Label{field.removeprefix('custom')}": rules["label"]
        for name in WITH_CUSTOM_FIELDS
        for field, rules in database.custom_fields(name).items()
    }


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
    names = ("email", "firstName", "lastName", "name")
    return {"id": USER_ID, **{name: shown.get(name) for name in names}}
