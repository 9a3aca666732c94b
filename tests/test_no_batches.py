"""No request can be made to Outreach's batches, one of which may change every record there is."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import requests

import target_outreach
from target_outreach.errors import OutreachError
from target_outreach.outreach.auth import BearerToken
from target_outreach.outreach.client import Client
from target_outreach.outreach.pacing import Pacer
from target_outreach.outreach.transport import Transport

PATHS = (
    "/batches",
    "/batches/actions/prospectsBulkModify",
    "/batches/actions/prospectsBulkModify?actionParams%5Bids%5D=1",
    "/batches/7",
    "/batches?filter[state]=done",
    "//batches",
    "/Batches/actions/prospectsAddTags",
    "/b%61tches/actions/prospectsAddTags",
    "/b%2561tches",
    "/prospects/../batches/actions/prospectsDelete",
    "/prospects%2F..%2Fbatches",
    "/batches;x=1/actions/prospectsDelete",
    "/%20batches",
)


@pytest.fixture
def client(sandbox):
    with closing(Client(sandbox.api_url, BearerToken("t"), Pacer(), user_agent="tests")) as one:
        yield one


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", PATHS)
def test_the_client_refuses_each_path_of_batches(client, sandbox, method, path):
    with pytest.raises(OutreachError, match="Nothing is ever sent to Outreach's batches"):
        client.request(method, path, {"data": {}} if method in {"POST", "PATCH"} else None)
    assert list(sandbox.requests) == []


def test_the_client_follows_no_link_to_batches_in_an_answer(client, sandbox):
    with pytest.raises(OutreachError, match="batches"):
        client.get(f"{sandbox.api_url}/batches?page[after]=x")
    assert list(sandbox.requests) == []


def test_whatever_goes_past_the_client_is_refused_too(sandbox):
    with closing(Transport(sandbox.api_url, user_agent="tests")) as transport:
        request = requests.Request("POST", f"{sandbox.api_url}/batches/actions/accountsAssignOwner")
        with pytest.raises(OutreachError, match="batches"):
            transport.send(request)
    assert list(sandbox.requests) == []


def test_what_only_mentions_them_is_sent(client, sandbox):
    assert client.get("/prospects?filter[title]=%2Fbatches").status == 200
    assert len(sandbox.requests) == 1


def test_all_that_is_sent_goes_over_the_wire_that_refuses_them():
    package = Path(target_outreach.__file__).parent
    senders = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "Session()" in path.read_text(encoding="utf-8")
        or "urlopen(" in path.read_text(encoding="utf-8")
    }
    own = {one for one in senders if not one.startswith("sandbox/")}
    assert own == {"outreach/transport.py", "buckets.py"}  # the latter asks clouds for credentials
