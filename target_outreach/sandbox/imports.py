"""``POST /imports/actions/bulkUpsert`` and ``GET /imports/{id}`` (API reference 6.2).

An import is requested with::

    {"data": {"attributes": {"dupeMethod": "overwriteNoCreate", "fileName": "run.json",
     "records": [{"data": {"type": "prospect", "id": 5, "attributes": {"title": "CTO"}}}]}}}

and is worked on afterwards. Whoever asked can do no more than look at it, by its id.
"""

from __future__ import annotations

from http.client import responses
from typing import TYPE_CHECKING, Any, get_args

from target_outreach.records.catalog import load_catalog
from target_outreach.sandbox import errors
from target_outreach.sandbox.discovery import USER_ID
from target_outreach.sandbox.import_records import DupeMethod, RecordWriter, unwrap
from target_outreach.sandbox.importing import NewImport
from target_outreach.sandbox.messages import json_answer, page_answer
from target_outreach.sandbox.resources import timestamp
from target_outreach.sandbox.rights import check_scope
from target_outreach.sandbox.validation import check_media_type, members, read_data

if TYPE_CHECKING:
    from target_outreach.sandbox.database import Database
    from target_outreach.sandbox.importing import Importer
    from target_outreach.sandbox.messages import Answer, Request
    from target_outreach.sandbox.profile import Profile
    from target_outreach.sandbox.tokens import Permit

_MEMBERS = frozenset({"dupeMethod", "fileName", "records"})
_LONGEST_NAME = 255
_STATES = ("pending", "processing", "finished", "failed")
_UNUSED = (
    *("externalId", "externalName", "externalType", "fileSize", "frequency", "importType"),
    *("mappings", "pluginId", "prospectOwnerId", "reportInstanceId", "scheduledAt", "source"),
    *("stageId", "syncedUntil", "timeZone"),
)
_SELECT = """SELECT at, changed_at, dupe_method, file_name, error, state, total,
    (SELECT count(*) FROM import_records WHERE import = id AND existed),
    (SELECT count(*) FROM import_records WHERE import = id AND outcome = 'failed')
    FROM imports WHERE id = ?"""


class Imports:
    """The two paths of imports.

    Args:
        database: The file of the sandbox.
        importer: Does the work.
        url: Start of all links.
    """

    def __init__(self, database: Database, importer: Importer, url: str) -> None:
        self._database = database
        self._importer = importer
        self._url = url

    def start(self, request: Request, profile: Profile, permit: Permit) -> Answer:
        """Take an import on; nothing of it is done yet.

        Raises:
            ApiError: 400, 403, 404, 415 or 422, as far as the profile says so.
        """
        refusal = profile.import_refusal
        if refusal is not None:
            return _refused(refusal)
        _check_access("POST", profile, permit)
        check_media_type(request, profile)
        if profile.import_max_bytes is not None and len(request.body) > profile.import_max_bytes:
            return page_answer(413, responses[413])
        sent = _attributes(request)
        if len(sent["records"]) > profile.import_record_limit:
            raise errors.too_many_records(profile.import_limit_status, profile.import_record_limit)
        if profile.import_record_scopes:
            _check_record_scopes(sent["records"], profile, permit)
        number = self._importer.add(self._read(sent, profile))
        return self._shown(number, profile)

    def show(self, text: str, profile: Profile, permit: Permit) -> Answer:
        """Tell how an import is getting on.

        Raises:
            ApiError: 403 or 404.
        """
        _check_access("GET", profile, permit)
        known = text.isdecimal() and self._database.rows(
            "SELECT 1 FROM imports WHERE id = ?", (text,)
        )
        if not known:
            raise errors.not_found("import", text)
        return self._shown(int(text), profile)

    def _read(self, sent: dict[str, Any], profile: Profile) -> NewImport:
        records = sent["records"]
        everything = not records and profile.import_empty == "all"
        if not records and profile.import_empty == "refused":
            raise errors.invalid("Records can't be blank.", "/data/attributes/records")
        if profile.import_new == "refused" and sent["dupeMethod"] != "overwriteNoCreate":
            _check_ids(records, profile)
        return NewImport(
            sent["dupeMethod"],
            sent.get("fileName"),
            records,
            self._count_all() if everything else len(records),
            everything,
            self._first_error(records, profile),
        )

    def _first_error(self, records: list[object], profile: Profile) -> str | None:
        """Return why the import will fail as a whole.

        Raises:
            ApiError: A record is invalid, and the profile refuses the request for it.
        """
        if profile.import_invalid not in {"request", "import"}:
            return None
        writer = RecordWriter(self._database, profile)
        try:
            for record in records:
                writer.check(record)
        except errors.ApiError as error:
            if profile.import_invalid == "request":
                raise
            return str(error)
        return None

    def _count_all(self) -> int:
        names = (name for name, one in load_catalog().items() if one.importable)
        return sum(map(self._database.count, names))

    def _shown(self, number: int, profile: Profile) -> Answer:
        ((at, changed_at, method, name, error, state, total, dupes, failures),) = (
            self._database.rows(_SELECT, (number,))
        )
        attributes = {
            **dict.fromkeys(_UNUSED),
            "createdAt": timestamp(at),
            "updatedAt": timestamp(changed_at),
            "dupeMethod": method,
            "fileName": name,
            "loadFromPlugin": False,
            "recurring": False,
            "state": profile.import_states[_STATES.index(state)],
            "stateChangedAt": timestamp(changed_at),
            "total": total,
            "dupes": dupes,
            "failures": {"honest": failures, "silent": 0, "wrong": total - failures}[
                profile.import_counts
            ],
            "errorReason": error if state == "failed" else None,
        }
        resource = {
            "type": "import",
            "id": number,
            "attributes": attributes,
            "relationships": {"creator": {"data": {"type": "user", "id": USER_ID}}},
            "links": {"self": f"{self._url}/imports/{number}"},
        }
        return json_answer(200, {"data": resource})


def _refused(status: int) -> Answer:
    match status:
        case 403:
            raise errors.governed()
        case 404:
            raise errors.route_not_found()
    return page_answer(status, responses.get(status, "Error"))


def _check_access(method: str, profile: Profile, permit: Permit) -> None:
    if not (permit.of_user or profile.import_s2s):
        raise errors.governed()
    check_scope("imports", method, permit)


def _attributes(request: Request) -> dict[str, Any]:
    """Read the attributes of an import; what cannot be read of them is refused in made-up words."""
    sent = members(read_data(request.body), "attributes")
    for member in sent:
        if member not in _MEMBERS:
            raise errors.unknown_attribute("attributes", member)
    if sent.get("dupeMethod") not in get_args(DupeMethod):
        raise errors.invalid("Dupe method is invalid.", "/data/attributes/dupeMethod")
    name = sent.get("fileName")
    if name is not None and not isinstance(name, str):
        raise errors.invalid("File name is invalid.", "/data/attributes/fileName")
    if name is not None and len(name) > _LONGEST_NAME:
        raise errors.too_long()
    records = sent.get("records") or []
    if not isinstance(records, list):
        raise errors.invalid("Records is invalid.", "/data/attributes/records")
    return {**sent, "records": records}


def _check_ids(records: list[object], profile: Profile) -> None:
    """Refuse an import in which a record has no id."""
    if any(unwrap(record, profile).id is None for record in records):
        raise errors.invalid("A record has no id.", "/data/attributes/records")


def _check_record_scopes(records: list[object], profile: Profile, permit: Permit) -> None:
    names = set()
    for record in records:
        try:
            names.add(unwrap(record, profile).name)
        except errors.ApiError:
            continue  # it will fail, whatever the token covers
    for name in sorted(names):
        check_scope(name, "POST", permit)
