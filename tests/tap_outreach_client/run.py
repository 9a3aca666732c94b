"""Run tap-outreach as it is, but against the host that OUTREACH_HOST names.

The tap has Outreach's address in its code, once for the API and once for the tokens. Neither is a
setting, so each request is led elsewhere on its way out.
"""

from __future__ import annotations

import os

import requests
import tap_outreach

ADDRESS = "https://api.outreach.io"

request = requests.Session.request


def elsewhere(session, method, url, **options):
    """Send a request to the same path of the other host."""
    return request(session, method, url.replace(ADDRESS, os.environ["OUTREACH_HOST"]), **options)


requests.Session.request = elsewhere
tap_outreach.main()
