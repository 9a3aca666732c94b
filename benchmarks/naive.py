"""What one would write from the SDK's template: look each record up, then write it.

It is here to be compared with and is not meant to be used: it repeats nothing, and ends at the
first refusal.

Usage: python benchmarks/naive.py --config config.json < input
"""

from __future__ import annotations

from typing import Any

import requests
from singer_sdk import RecordSink, Target

MEDIA_TYPE = "application/vnd.api+json"
ATTRIBUTES = {"email": "emails", "first_name": "firstName", "title": "title"}


class NaiveSink(RecordSink):
    """Spends a GET and a write on each record."""

    def __init__(self, target: Target, *args: Any, **options: Any) -> None:  # noqa: ANN401
        super().__init__(target, *args, **options)
        self._url = f"{self.config['api_url']}/prospects"
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {self.config['access_token']}"
        self._session.headers["Content-Type"] = MEDIA_TYPE
        self._session.trust_env = False

    def process_record(self, record: dict[str, Any], context: dict[str, Any]) -> None:
        """Look the record up by its address, then create or update it."""
        del context
        found = self._session.get(self._url, params={"filter[emails]": record["email"]}, timeout=60)
        found.raise_for_status()
        attributes = {name: record[column] for column, name in ATTRIBUTES.items()}
        attributes["emails"] = [attributes["emails"]]
        data: dict[str, Any] = {"type": "prospect", "attributes": attributes}
        method, url = "POST", self._url
        if found.json()["data"]:
            data["id"] = found.json()["data"][0]["id"]
            method, url = "PATCH", f"{self._url}/{data['id']}"
        self._session.request(method, url, json={"data": data}, timeout=60).raise_for_status()


class NaiveTarget(Target):
    """A target as the template makes it."""

    name = "target-naive"
    config_jsonschema: dict[str, Any] = {  # noqa: RUF012 - as the SDK has it
        "properties": {"api_url": {"type": "string"}, "access_token": {"type": "string"}}
    }
    default_sink_class = NaiveSink


if __name__ == "__main__":
    NaiveTarget.cli()
