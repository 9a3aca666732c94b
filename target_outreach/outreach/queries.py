"""Sending long queries as they are.

`requests` and `urllib3` encode each URL anew, four times over and letter by letter in Python; for a
list of two hundred addresses that costs more than all else that is done to send it and to read the
answer. A query in which nothing is left to encode is put aside before that, in a header that goes
no further than the connection, and is put back when the request line is written.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from target_outreach.outreach.deadlines import TimelyResponse

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    import requests

#: Where a query is put aside; no header of HTTP can have a blank in its name.
ASIDE = "query put aside"
ENCODED = re.compile(r"[\w.~!$&'()*+,;=:@/?-]*(?:%[\dA-F]{2}[\w.~!$&'()*+,;=:@/?-]*)*", re.ASCII)


def put_aside(request: requests.Request) -> None:
    """Put the query of a request aside if it needs no encoding.

    Args:
        request: What is to be sent by a `QueryAdapter`, and by no proxy.
    """
    url, _, query = str(request.url).partition("?")
    if query and ENCODED.fullmatch(query):
        request.url = url
        request.headers = {**request.headers, ASIDE: query}


class _PutsBack(HTTPConnection):
    response_class = TimelyResponse

    @override
    def request(
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Any = None,
        **options: Any,
    ) -> None:
        if headers is not None and ASIDE in headers:
            url = f"{url}?{headers.pop(ASIDE)}"
        super().request(method, url, body, headers, **options)


class _PutsBackTls(_PutsBack, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _PutsBack


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _PutsBackTls


class QueryAdapter(HTTPAdapter):
    """Puts queries back that were put aside, and gives a whole answer one time-out."""

    @override
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
