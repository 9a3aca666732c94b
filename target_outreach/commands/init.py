"""``target-outreach init``: write a first configuration, by options or by what is answered."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from target_outreach.commands import explained
from target_outreach.configuration import PREFIX
from target_outreach.errors import ExitCode, OutputError, SettingsError
from target_outreach.plain_text import say
from target_outreach.private_files import replace_file
from target_outreach.records.catalog import load_catalog, stream_objects
from target_outreach.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The kinds of credentials, and the settings that each needs.
KINDS = {
    "oauth": ("client_id", "client_secret"),
    "token": ("access_token",),
    "s2s": ("s2s_guid", "s2s_install_id", "s2s_private_key"),
    "sandbox": ("sandbox",),
}

QUESTIONS = {
    "client_id": "Id of your OAuth app",
    "s2s_guid": "GUID of your server-to-server app",
    "s2s_install_id": "Id of its installation in your organisation",
    "s2s_private_key": "File of its private key in PEM",
    "sandbox": "File of the sandbox",
}

SECRETS = ("client_secret", "access_token")

#: Stands for a secret that is not in the file, where the rest of the settings is checked.
NOT_THERE = "-"

#: What settings are where nothing else is said.
PROPOSED = {"sandbox": "outreach.db"}

#: For streams whose names say it.
BY_NAME = "by-name"

OBJECTS = [name for name in stream_objects() if not load_catalog()[name].is_enrolment]

#: Stands for no memory.
NO_MEMORY = "none"


@click.command()
@click.option(
    "--credentials",
    type=click.Choice(list(KINDS)),
    help="How to authenticate: with an OAuth app, an access token, a server-to-server app, or "
    "not at all, in a local sandbox.",
)
@click.option("--client-id", help=f"{QUESTIONS['client_id']}.")
@click.option("--s2s-guid", help=f"{QUESTIONS['s2s_guid']}.")
@click.option("--s2s-install-id", help=f"{QUESTIONS['s2s_install_id']}.")
@click.option("--s2s-private-key", type=click.Path(), help=f"{QUESTIONS['s2s_private_key']}.")
@click.option("--sandbox", type=click.Path(), help=f"{QUESTIONS['sandbox']}.")
@click.option(
    "--secrets",
    type=click.Choice(["env", "file"]),
    help="Where secrets are kept: in environment variables, or in the configuration file.",
)
@click.option(
    "--object",
    "outreach_object",
    type=click.Choice([BY_NAME, *OBJECTS]),
    help="What all streams hold; by-name where the last part of a stream's name says it.",
)
@click.option(
    "--memory",
    "memory_path",
    type=click.Path(),
    help="File that remembers what was delivered, so that unchanged rows cost no request, or "
    f"{NO_MEMORY}.",
)
@click.option("--rejects", "rejects_path", type=click.Path(), help="Folder for rejected records.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default="config.json",
    show_default=True,
    help="The file to write.",
)
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@explained
def init(output: Path, *, force: bool, **given: str | None) -> int:
    """Write a first configuration, and say what to do next.

    On a terminal it asks for what no option says. Elsewhere --credentials is required, and the rest
    has defaults. Secrets are best kept in environment variables, which are named at the end; with
    --secrets file they are asked for, or taken from these variables, and only you can read the
    file.

    Example: target-outreach init --credentials sandbox --memory memory.db
    """
    may_ask = all(one is not None and one.isatty() for one in (sys.stdin, sys.stderr))
    if output.exists() and not force:
        if not may_ask:
            raise SettingsError(f"{output} exists and is not changed: --force replaces it.")
        if not click.confirm(f"{output} exists. Replace it?", err=True):
            say(f"{output} is not changed.", err=True)
            return ExitCode.FAILED
    answers = Answers(given, may_ask=may_ask)
    question = "How do you authenticate? sandbox needs no account"
    kind = answers.text("credentials", question, choices=list(KINDS))
    config, variables = _access(kind, answers)
    config |= _rest(answers)
    Settings.read(config | dict.fromkeys(variables, NOT_THERE))
    content = f"{json.dumps(config, indent=2, ensure_ascii=False)}\n"
    try:
        replace_file(output, content.encode())
    except OSError as error:
        raise OutputError(f"{output} cannot be written ({error.strerror}).") from None
    say(f"Wrote {output}, which only you can read.")
    say(*_next_steps(kind, output, variables))
    return ExitCode.DONE


class Answers:
    """What options say, or else whoever is asked, or else a default."""

    def __init__(self, given: dict[str, str | None], *, may_ask: bool) -> None:
        """Know what the options say, and whether somebody is there to be asked."""
        self._given = given
        self._may_ask = may_ask

    def text(
        self,
        name: str,
        question: str,
        default: str | None = None,
        choices: Sequence[str] | None = None,
    ) -> str:
        """Return a text, one of the choices if there are some.

        Raises:
            UsageError: There is none, no default, and nobody to ask.
        """
        if (given := self._given.get(name)) is not None:
            return given
        if self._may_ask:
            kind = click.Choice(choices) if choices else click.STRING
            if choices:  # on a line of their own: a terminal breaks no long one between words
                question += f"\n({', '.join(choices)})"
            text: str = click.prompt(
                question, default=default, type=kind, show_choices=False, err=True
            )
            return text.strip()
        if default is None:
            option = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{option} is needed, since there is no terminal to ask at.")
        return default

    def secret(self, name: str) -> str:
        """Return a secret, which no option holds since others could read that.

        Raises:
            UsageError: It is in no variable, and there is nobody to ask.
        """
        variable = f"{PREFIX}{name.upper()}"
        if found := os.environ.get(variable, "").strip():
            return found
        if not self._may_ask:
            raise click.UsageError(f"--secrets file needs {variable}, or a terminal to ask at.")
        text: str = click.prompt(f"{name} (not shown)", hide_input=True, err=True)
        return text.strip()


def _access(kind: str, answers: Answers) -> tuple[dict[str, str], list[str]]:
    """Return the settings of the credentials, and the names of secrets that are kept elsewhere."""
    needed = KINDS[kind]
    config = {
        name: answers.text(name, QUESTIONS[name], PROPOSED.get(name))
        for name in needed
        if name not in SECRETS
    }
    secrets = [name for name in needed if name in SECRETS]
    if not secrets:
        return config, []
    question = "Keep secrets in environment variables (env) or in the file (file)?"
    if answers.text("secrets", question, "env", ["env", "file"]) == "env":
        return config, secrets
    return config | {name: answers.secret(name) for name in secrets}, []


def _rest(answers: Answers) -> dict[str, str]:
    """Return the settings that are no credentials."""
    config: dict[str, str] = {}
    question = "What do the streams hold? by-name if their names say it, as crm-prospects does"
    name = answers.text("outreach_object", question, BY_NAME, [BY_NAME, *OBJECTS])
    if name != BY_NAME:
        config["outreach_object"] = name
    question = "File that remembers what was delivered, to save requests"
    if (memory := answers.text("memory_path", question, NO_MEMORY)) != NO_MEMORY:
        config |= {"change_detection": "source", "memory_path": memory}
    config["rejects_path"] = answers.text("rejects_path", "Folder for rejected records", "rejects")
    return config


def _next_steps(kind: str, output: Path, variables: Sequence[str]) -> list[str]:
    """Say what to type next."""
    lines = []
    options = f"--config {output}"
    if variables:
        options += " --config ENV"
        lines.append("Set what is secret in the environment of each command:")
        lines += [f"  export {PREFIX}{name.upper()}=…" for name in variables]
    if kind == "oauth":
        lines += ["Log in, once:", f"  target-outreach login {options}"]
    lines += ["Then see whether all is well:", f"  target-outreach check {options}"]
    return [*lines, "And run it:", f"  your-tap | target-outreach {options} --dry-run"]
