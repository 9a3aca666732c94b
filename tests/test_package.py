"""The package as it is released: what is in it, what it says of itself, and that it works alone."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import documents
import pytest
import yaml
from conftest import lines, record, schema, state
from packaging.metadata import Metadata

ROOT = documents.ROOT
WORKFLOWS = ROOT / ".github" / "workflows"
BUILDS = pytest.mark.slow  # builds, with packages from an index
PINNED = re.compile(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def uv(*arguments):
    """Run uv, as a module of this environment or from the path."""
    here = [sys.executable, "-m", "uv"] if importlib.util.find_spec("uv") else [shutil.which("uv")]
    done = subprocess.run(
        [*here, *arguments], cwd=ROOT, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def workflow(name):
    return yaml.safe_load((WORKFLOWS / name).read_text(encoding="utf-8"))


def files(folder):
    """The files below a folder of the repository, as they are named in an archive."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """A folder with the source distribution, and the wheel that was built from that."""
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--quiet", "--out-dir", str(folder))
    return folder


@pytest.fixture(scope="module")
def wheel(dist):
    (found,) = dist.glob("*.whl")
    return found


@BUILDS
@pytest.mark.timeout(600)
def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    about = f"target_outreach-{project()['version']}.dist-info"
    extra = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    assert names == files("target_outreach") | {f"{about}/{name}" for name in extra}
    assert {name for name in names if name.endswith(".json")}  # the schemas and the catalogue


@BUILDS
@pytest.mark.timeout(600)
def test_the_source_distribution_holds_the_tests_too(dist):
    (found,) = dist.glob("*.tar.gz")
    with tarfile.open(found) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert files("target_outreach") | files("tests") <= names
    top = {name.partition("/")[0] for name in names}
    assert top == {
        *(
            "target_outreach",
            "tests",
            "docs",
            "examples",
            ".ci",
            ".github",
            "pyproject.toml",
            "uv.lock",
        ),
        *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "meltano.yml"),
        *("LICENSE", "PKG-INFO", ".gitignore"),
    }


@BUILDS
@pytest.mark.timeout(600)
def test_the_package_index_finds_what_it_needs_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        found = Metadata.from_email(archive.read(path))  # raises where a field is not valid
    assert found.name == "target-outreach"
    assert found.license_expression == "Apache-2.0"
    assert found.description_content_type == "text/markdown"
    assert found.description == documents.README.read_text(encoding="utf-8")
    assert found.keywords
    assert found.author
    assert set(found.provides_extra) == {"s3", "gcs", "azure"}
    assert {"repository", "issues", "changelog"} <= {label.lower() for label in found.project_urls}
    assert "\n" not in found.summary


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The command of the wheel in an environment that holds nothing else."""
    environment = tmp_path_factory.mktemp("fresh") / "an environment"
    uv("venv", "--quiet", "--python", sys.executable, str(environment))
    folder = environment / ("Scripts" if os.name == "nt" else "bin")
    uv("pip", "install", "--quiet", "--python", str(environment), str(wheel))

    def run(*arguments, given=""):
        return subprocess.run(
            [folder / "target-outreach", *arguments],
            cwd=environment,
            input=given,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    return run


@BUILDS
@pytest.mark.timeout(600)
def test_the_wheel_says_what_it_is(installed):
    done = installed("--version")
    assert done.stdout.startswith(f"target-outreach v{project()['version']}, Meltano SDK v")
    about = json.loads(installed("--about", "--format", "json").stdout)
    assert about["version"] == project()["version"]
    assert set(about["settings"]["properties"]) == set(documents.properties())


@BUILDS
@pytest.mark.timeout(600)
def test_the_wheel_delivers_three_rows_to_the_sandbox_in_it(installed, tmp_path):
    settings = {
        "sandbox": str(tmp_path / "outreach.db"),
        "report_path": str(tmp_path / "report.json"),
        "rejects_path": str(tmp_path / "rejects"),
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    rows = [record("prospects", id=n, emails=f"zoë{n}@example.com") for n in (1, 2)]
    account = record("accounts", id=3, name="Straße & Söhne", domain="example.com")
    messages = [schema("prospects"), *rows, schema("accounts"), account, state({"row": 3})]
    for outcome in ("created", "unchanged"):
        done = installed("--config", str(path), given=lines(messages))
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"row": 3}
        streams = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["streams"]
        assert sum(counts[outcome] for counts in streams.values()) == 3


def test_each_python_that_is_promised_is_tested():
    promised = {
        found[1]
        for name in project()["classifiers"]
        if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", name))
    }
    tested = workflow("test.yml")["jobs"]["linux"]["strategy"]["matrix"]["python"]
    assert promised <= set(tested)
    assert project()["requires-python"] == f">={tested[0]}"


@pytest.mark.parametrize("path", sorted(WORKFLOWS.glob("*.yml")), ids=lambda path: path.name)
def test_a_workflow_runs_only_what_is_pinned_and_holds_no_credentials(path):
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses: (.*)", text)
    assert used
    assert all(PINNED.fullmatch(action) for action in used)
    assert text.count("persist-credentials: false") == text.count("actions/checkout@")
    permissions = workflow(path.name)["permissions"]
    assert set(permissions.values()) <= {"read"}


@pytest.fixture
def take_notes(tmp_path):
    """Run the step of a release that compares its tag with the repository and takes the notes."""
    if os.name == "nt":
        pytest.skip("releases are made on Linux")
    (step,) = (
        one
        for one in workflow("release.yml")["jobs"]["build"]["steps"]
        if one.get("name") == "Take the notes from the changelog"
    )

    def take(tag, changelog):
        version = f'[project]\nversion = "{project()["version"]}"\n'
        (tmp_path / "pyproject.toml").write_text(version, encoding="utf-8")
        (tmp_path / "CHANGELOG.md").write_text(changelog, encoding="utf-8")
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", step["run"]],
            cwd=tmp_path,
            env=os.environ | {"GITHUB_REF_NAME": tag},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        notes = tmp_path / "release" / "notes.md"
        return done.returncode, notes.read_text(encoding="utf-8") if notes.exists() else done.stderr

    return take


def test_a_release_takes_its_notes_from_the_changelog(take_notes):
    version = project()["version"]
    changelog = f"# Changelog\n\n## {version} (2026-12-01)\n\n* New.\n\n## 0.0.9\n\n* Old.\n"
    assert take_notes(f"v{version}", changelog) == (0, "\n* New.\n\n")


def test_a_release_without_notes_or_of_another_version_is_none(take_notes):
    assert take_notes("v99.0.0", "## 99.0.0\n\n* New.\n")[0] == 1
    assert take_notes(f"v{project()['version']}", "## Unreleased\n\n* New.\n")[0] == 1
