"""Recognises requests that plainly follow an OpenAPI document, so that most need no `openapi-core`.

`openapi-core` works out the path, the security and the schema of each request anew, which takes
some milliseconds. Here a schema is compiled once for each operation. A request that is accepted
here is one that `openapi-core` accepts too; of all others nothing is said, and it has to be asked.
"""

from __future__ import annotations

import json
import re
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import fastjsonschema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Json = dict[str, Any]

#: The only parameter that an operation may have here.
ID: Json = {"in": "path", "name": "id", "required": True, "schema": {"type": "integer"}}
BEARER = {"scheme": "bearer", "type": "http", "bearerFormat": "JWT"}
KNOWN_PARTS = {"parameters", "requestBody", "security"}
SILENT_PARTS = {"description", "responses", "summary", "tags", "x-internal"}

_RULES = {"additionalProperties", "enum", "maxLength", "required", "type"}
_SILENT_RULES = {"description", "x-internal"}
_NUMBER = re.compile(r"/\d{1,18}(?=/|$)", re.ASCII)
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", re.ASCII)
_URI = re.compile(r"https?://[a-z0-9.-]+(/[\w./-]*)?", re.ASCII)


class UnclearError(Exception):
    """A part of the document is of a form that is not known here."""


class Shortcut:
    """Accepts requests that plainly follow a document.

    Args:
        document: The document, tightened.
        prefix: The path of its server, such as ``/api/v2``.
    """

    def __init__(self, document: Mapping[str, Any], prefix: str) -> None:
        self._document = document
        self._prefix = prefix
        self._checks: dict[tuple[str, str], Callable[[bytes], object] | None] = {}

    def accepts(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> bool:
        """Say whether a request is certainly one that the document allows.

        Args:
            method: The HTTP method, in capitals.
            path: With the prefix of the server.
            headers: Those of the request; each name is found in any case.
            body: Empty where there is none.
        """
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if not path.startswith(f"{self._prefix}/") or scheme.lower() != "bearer" or not token:
            return False
        operation = method.lower(), _NUMBER.sub("/{id}", path.removeprefix(self._prefix))
        if operation not in self._checks:
            self._checks[operation] = self._compiled(*operation)
        check = self._checks[operation]
        if check is None:
            return False
        try:
            check(body)
        except (fastjsonschema.JsonSchemaValueException, ValueError, RecursionError):
            return False
        return True

    def _compiled(self, method: str, template: str) -> Callable[[bytes], object] | None:
        operation = self._document["paths"].get(template, {}).get(method)
        try:
            return None if operation is None else self._check(operation)
        except UnclearError:
            return None

    def _check(self, operation: Json) -> Callable[[bytes], object]:
        """Compile the check of a body.

        Raises:
            UnclearError: The operation has parts that are not known here.
        """
        if not operation.keys() <= KNOWN_PARTS | SILENT_PARTS:
            raise UnclearError
        if any(parameter != ID for parameter in operation.get("parameters", [])):
            raise UnclearError
        for names in operation.get("security", self._document["security"]):
            for name in names:
                scheme = self._document["components"]["securitySchemes"][name]
                if not scheme.items() <= BEARER.items():
                    raise UnclearError
        if "requestBody" not in operation:
            return _no_body
        (content,) = operation["requestBody"]["content"].values()
        schema = self._strict(content["schema"])
        validate = fastjsonschema.compile(schema, formats=FORMATS, use_default=False)
        return lambda body: validate(read_json(body, _fraction))

    def _strict(self, schema: Json) -> Any:
        """Make JSON Schema of a schema of OpenAPI 3.0, as it is meant for requests.

        Raises:
            UnclearError: The schema has rules that are not known here.
        """
        if "$ref" in schema:
            return self._strict(
                self._document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
            )
        if schema.get("readOnly"):
            return False
        strict: Json = {}
        for name, rule in schema.items():
            if name == "properties":
                strict[name] = {key: self._strict(part) for key, part in rule.items()}
            elif name == "items":
                strict[name] = self._strict(rule)
            elif name == "format" and rule in {*FORMATS, "float"}:
                strict |= {} if rule == "float" else {name: rule}
            elif name in _RULES:
                strict[name] = rule
            elif name not in _SILENT_RULES | {"nullable", "readOnly"}:
                raise UnclearError(name)
        if schema.get("nullable") and "type" in schema:
            strict["type"] = [schema["type"], "null"]
        return strict


def _no_body(body: bytes) -> None:
    if body:
        raise ValueError(body)


def read_json(body: bytes, parse_float: Callable[[str], float] = float, **_parameters: str) -> Any:
    """Read JSON without NaN and Infinity, which only Python takes for JSON.

    Raises:
        ValueError: It is none.
    """

    def refuse(name: str) -> None:
        raise ValueError(name)

    return json.loads(body, parse_constant=refuse, parse_float=parse_float)


def _fraction(text: str) -> float:
    """Read a number that is no whole one: 1.0 is no integer to `openapi-core`."""
    number = float(text)
    if number.is_integer():
        raise ValueError(text)
    return number


def _is_date(text: str) -> bool:
    return _DATE.fullmatch(text) is not None and bool(date.fromisoformat(text))


def _is_time(text: str) -> bool:
    return _TIME.fullmatch(text) is not None and bool(datetime.fromisoformat(text))


#: Each accepts less than `openapi-core` does.
FORMATS: dict[str, Callable[[str], bool]] = {
    "date": _is_date,
    "date-time": _is_time,
    "email": lambda text: _EMAIL.fullmatch(text) is not None,
    "uri": lambda text: _URI.fullmatch(text) is not None,
}
