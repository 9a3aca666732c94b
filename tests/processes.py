"""Starts ``target-outreach`` as a process of its own, without the half second of its imports.

`Popen` and `run` are used as those of `subprocess`, with what is typed behind ``target-outreach``.
Each process is forked from one that has imported the program. It has pipes, an environment and a
folder of its own, takes signals, can be killed, and ends as any other. What is about the start of a
process, about terminals or about imports is tested with `subprocess`.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import sys
import threading
import time
from contextlib import ExitStack, suppress
from functools import cache
from multiprocessing import connection, forkserver
from multiprocessing.connection import Connection
from subprocess import DEVNULL, PIPE, CompletedProcess, TimeoutExpired
from typing import IO, TYPE_CHECKING, Any, Self
from unittest import mock

from target_outreach import __main__ as program
from target_outreach import cli  # noqa: F401 - the slow part of the program

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__, "model"])
#: Two threads must not learn of one end at the same time.
LOCK = threading.Lock()


@cache
def prepare() -> None:
    """Start the process that all others are forked from, so that it can import our modules.

    What the first test says to its own interpreter by the environment is not said to all.
    """
    usual = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    usual["PYTHONPATH"] = os.pathsep.join(sys.path)
    with mock.patch.dict(os.environ, usual, clear=True):
        forkserver.ensure_running()


def _be_the_program(
    words: list[str],
    folder: str,
    variables: dict[str, str],
    before: str,
    files: list[Connection],
) -> None:
    """Become ``target-outreach`` with what is typed behind it."""
    for number, one in enumerate(files):
        os.dup2(one.fileno(), number)
        one.close()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    time.tzset()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        usual, mode = getattr(sys, f"__{name}__"), "wr"[number == 0]
        raw = io.FileIO(number, mode, closefd=False)
        raw.name = f"<{name}>"  # type: ignore[misc] # as the interpreter does it
        buffer = io.BufferedReader(raw) if mode == "r" else io.BufferedWriter(raw)
        kept = {"line_buffering": name == "stderr", "write_through": usual.write_through}
        text = io.TextIOWrapper(buffer, usual.encoding, usual.errors, **kept)
        text.mode = mode
        setattr(sys, name, text)
        setattr(sys, f"__{name}__", text)
    exec(before, {})  # noqa: S102 - our own
    sys.argv = [program.__file__, *words]
    program.main()


class Popen:
    """A process that runs ``target-outreach``; has what tests use of `subprocess.Popen`.

    Args:
        words: What is typed behind the name of the program.
        stdin: A file, its number, `PIPE` or `DEVNULL`; so are the next two.
        stdout: Where it prints to.
        stderr: Where it logs to.
        encoding: That of the pipes; None for bytes.
        cwd: Its folder.
        env: Its environment; None for that of the test.
        before: Code that it executes first, which may change constants.

    Attributes:
        pid: Its number.
        returncode: How it ended; None until that is known.
    """

    def __init__(
        self,
        words: list[str],
        *,
        stdin: int | IO[Any] | None = None,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        encoding: str | None = None,
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        before: str = "",
    ) -> None:
        prepare()
        variables = dict(os.environ if env is None else env)
        self.args = words
        self.returncode: int | None = None
        self.stdin: IO[Any] | None = None
        self.stdout: IO[Any] | None = None
        self.stderr: IO[Any] | None = None
        with ExitStack() as stack:
            files = []
            given = [("stdin", stdin), ("stdout", stdout), ("stderr", stderr)]
            for number, (name, wanted) in enumerate(given):
                theirs = self._open(name, number, wanted, encoding)
                files.append(stack.enter_context(Connection(theirs)))
            self._process = CONTEXT.Process(
                target=_be_the_program,
                args=(words, str(cwd or "."), variables, before, files),
                daemon=True,
            )
            with LOCK:
                self._process.start()
        self.pid: int = self._process.pid or 0

    def _open(
        self, name: str, number: int, wanted: int | IO[Any] | None, encoding: str | None
    ) -> int:
        """Return the file of the process that has this number, and keep the end of its pipe."""
        if wanted == DEVNULL:
            return os.open(os.devnull, os.O_RDWR)
        if wanted != PIPE:
            return os.dup(number if wanted is None else _number(wanted))
        reader, writer = os.pipe()
        ours, theirs = (writer, reader) if name == "stdin" else (reader, writer)
        mode = "w" if name == "stdin" else "r"
        pipe = os.fdopen(ours, mode if encoding else f"{mode}b", encoding=encoding)
        setattr(self, name, pipe)
        return theirs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._close()
        self.wait()

    def _close(self) -> None:
        for pipe in (self.stdout, self.stderr, self.stdin):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

    def poll(self) -> int | None:
        """Return how it ended, or None while it runs."""
        if self.returncode is None:
            with LOCK:
                self.returncode = self._process.exitcode
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and return how it ended."""
        if self.returncode is None:
            connection.wait([self._process.sentinel], timeout)
        code = self.poll()
        if code is None:
            raise TimeoutExpired(self.args, timeout or 0)
        return code

    def communicate(
        self,
        input: Any = None,  # noqa: A002 - as there
        timeout: float | None = None,
    ) -> tuple[Any, Any]:
        """Write all input, read all output, and wait for the end."""
        read: dict[str, Any] = {}

        def feed() -> None:
            if self.stdin is not None and not self.stdin.closed:
                with suppress(BrokenPipeError), self.stdin:
                    self.stdin.write(input or ("" if "b" not in self.stdin.mode else b""))

        def drain(name: str, pipe: IO[Any] | None) -> None:
            if pipe is not None and not pipe.closed:
                with pipe:
                    read[name] = pipe.read()

        jobs = [
            threading.Thread(target=feed, daemon=True),
            threading.Thread(target=drain, args=("stdout", self.stdout), daemon=True),
            threading.Thread(target=drain, args=("stderr", self.stderr), daemon=True),
        ]
        for job in jobs:
            job.start()
        self.wait(timeout)
        for job in jobs:
            job.join(timeout)
        return read.get("stdout"), read.get("stderr")

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def _number(file: int | IO[Any]) -> int:
    return file if isinstance(file, int) else file.fileno()


def run(
    words: list[str], given: Any = None, *, timeout: float = 90, **options: Any
) -> CompletedProcess[Any]:
    """Run ``target-outreach`` until it ends, by default with pipes, and return what it printed."""
    usual = {"stdin": DEVNULL if given is None else PIPE, "stdout": PIPE, "stderr": PIPE}
    with Popen(words, **(usual | options)) as process:
        try:
            out, err = process.communicate(given, timeout)
        except BaseException:
            process.kill()
            raise
    return CompletedProcess(words, process.returncode, out, err)
