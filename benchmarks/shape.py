"""How easy is the package to follow? Counts that the redesign of the engine is held against.

* circles of modules that import each other, for types included;
* the most parameters of a constructor, and how many constructors are given functions to call back;
* the longest file and all lines, without the sandbox;
* how many functions, in how many files, a run passes from its start to its end to update one row.

Usage: python benchmarks/shape.py
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tempfile
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "target_outreach"
SANDBOX = PACKAGE / "sandbox"

#: Runs the target with `sys.setprofile`, and notes each function of the package that is entered.
OBSERVER = """
import json, os, sys, threading
from target_outreach import cli
entered = set()
def observe(frame, event, _):
    code = frame.f_code
    folder, _, file = code.co_filename.rpartition("target_outreach" + os.sep)
    if event == "call" and folder and not code.co_name.startswith("<"):
        entered.add((file, code.co_firstlineno))
threading.setprofile(observe)
sys.setprofile(observe)
end = os._exit
def note(code):
    sys.setprofile(None)
    with open("entered.json", "w") as file:
        json.dump(sorted(entered), file)
    end(code)
os._exit = note
cli.main(["--config", "config.json"])
note(0)
"""


def modules() -> dict[str, ast.Module]:
    """Parse all modules of the package, by their dotted name."""
    return {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(
            ".__init__"
        ): ast.parse(path.read_text(encoding="utf-8"))
        for path in PACKAGE.rglob("*.py")
    }


def imports(parsed: dict[str, ast.Module]) -> dict[str, set[str]]:
    """List which modules of the package each one imports; a package's own parts do not count."""
    found: dict[str, set[str]] = {}
    for name, module in parsed.items():
        targets = {
            target
            for node in ast.walk(module)
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
            for target in [f"{node.module}.{alias.name}", node.module]
            if target in parsed
        }
        whole = {
            target for target in targets if any(one.startswith(f"{target}.") for one in targets)
        }
        found[name] = {one for one in targets - whole if one != name and not name.startswith(one)}
    return found


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return circles of imports; each is cut open before the next one is looked for."""
    graph = {name: {*targets} for name, targets in graph.items()}
    found: list[list[str]] = []
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            circle: list[str] = error.args[1]
            found.append(circle)
            # A circle is told from its last module to its first: each is imported by the next one.
            graph[circle[1]].discard(circle[0])
        else:
            return found


def constructors(parsed: dict[str, ast.Module]) -> list[tuple[int, int, str]]:
    """List the parameters of each constructor, how many of them are functions, and its class."""
    found = []
    for name, module in parsed.items():
        for node in (one for one in ast.walk(module) if isinstance(one, ast.ClassDef)):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                    given = [*method.args.args[1:], *method.args.kwonlyargs]
                    called = [
                        one
                        for one in given
                        if one.annotation is not None
                        and "Callable" in ast.unparse(one.annotation)
                        and one.arg not in {"clock", "sleep"}
                    ]
                    found.append((len(given), len(called), f"{name}.{node.name}"))
    return found


def functions_of_a_row() -> list[tuple[str, int]]:
    """Run the target on one row that has to be updated; list the functions that it enters."""
    columns = {"email": {"type": "string"}, "title": {"type": "string"}}
    schema = {"type": "object", "properties": columns}
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        settings = {"sandbox": str(here / "sandbox.db"), "rejects_path": str(here / "rejects")}
        (here / "config.json").write_text(json.dumps(settings), encoding="utf-8")
        for title in ("Clerk", "Head"):
            messages = [
                {"type": "SCHEMA", "stream": "prospects", "key_properties": [], "schema": schema},
                {
                    "type": "RECORD",
                    "stream": "prospects",
                    "record": {"email": "ada@example.com", "title": title},
                },
                {"type": "STATE", "value": {"row": 1}},
            ]
            subprocess.run(
                [sys.executable, "-c", OBSERVER],
                cwd=here,
                input="\n".join(map(json.dumps, messages)),
                capture_output=True,
                check=True,
                text=True,
                timeout=120,
            )
        entered = json.loads((here / "entered.json").read_text(encoding="utf-8"))
    return [(file, line) for file, line in entered if not file.startswith("sandbox")]


def main() -> None:
    """Print all counts."""
    parsed = modules()
    own = {name: one for name, one in parsed.items() if ".sandbox" not in name}
    built = constructors(own)
    files = [path for path in PACKAGE.rglob("*.py") if SANDBOX not in path.parents]
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    total = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    longest = max(lengths, key=lambda name: lengths[name])
    widest = max(built)
    entered = functions_of_a_row()
    for what, count in {
        "circles of imports": len(circles(imports(parsed))),
        f"parameters of the widest constructor ({widest[2]})": widest[0],
        "functions given to constructors": sum(called for _, called, _ in built),
        f"lines of the longest file ({longest})": lengths[longest],
        "lines in all": total,
        "functions that an updated row passes": len(entered),
        "files in which these are": len({file for file, _ in entered}),
    }.items():
        print(f"{what:70}{count:>8,}")


if __name__ == "__main__":
    main()
