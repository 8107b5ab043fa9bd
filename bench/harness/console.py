"""A process whose output is read line by line, each with the time at which it arrived."""

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import time

from .programs import Failure

CHUNK = 65536
TAIL = 3  # lines of output that go into the reason of a failure


class Console:
    """Starts the command at once, in its own process group; close() ends whatever is left of it."""

    def __init__(self, command):
        self._stderr = tempfile.TemporaryFile()
        self._partial = b""
        self._lines = []
        self._recent = []
        self.started_ns = time.monotonic_ns()
        try:
            # The input stays open even where nothing is written: an end of file could look like a command to stop.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                start_new_session=True,
            )
        except OSError as error:
            self._stderr.close()
            raise Failure(f"{command[0]} does not start: {error.strerror}") from None
        self.pid = self._process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def write(self, text):
        """Types on the console. Raises Failure if nobody reads any more."""
        try:
            self._process.stdin.write(text.encode())
            self._process.stdin.flush()
        except OSError:
            raise Failure(f"{self._describe_end()}; {self._last_words()}") from None

    def line(self, deadline_ns):
        """The next line as (arrival in monotonic nanoseconds, text). Raises Failure at the end and at the deadline."""
        while not self._lines:
            self._read(deadline_ns)
        arrival, text = self._lines.pop(0)
        self._recent = [*self._recent[1 - TAIL :], text]
        return arrival, text

    def _read(self, deadline_ns):
        left = (deadline_ns - time.monotonic_ns()) / 1e9
        if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
            raise Failure(f"no answer in time; {self._last_words()}")
        chunk = os.read(self._process.stdout.fileno(), CHUNK)
        now = time.monotonic_ns()
        if not chunk:
            raise Failure(f"{self._describe_end()}; {self._last_words()}")
        *complete, self._partial = (self._partial + chunk).split(b"\n")
        self._lines += [(now, line.decode("utf-8", "replace").strip()) for line in complete]

    def _describe_end(self):
        try:
            status = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return "the machine closed its console"
        return f"the machine was killed by {signal.Signals(-status).name}" if status < 0 else f"ended, status {status}"

    def _last_words(self):
        """What the process said last, on stderr if anything, on its console otherwise."""
        self._stderr.seek(0)
        errors = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
        words = errors[-TAIL:] or [*self._recent, self._partial.decode("utf-8", "replace").strip()]
        return "last words: " + " | ".join(word[:160] for word in words if word)

    def wait_for_end(self, seconds):
        """True if the process ends by itself, with its output drained, within this time."""
        deadline_ns = time.monotonic_ns() + int(seconds * 1e9)
        try:
            while True:
                self.line(deadline_ns)
        except Failure:
            pass
        try:
            self._process.wait(max(0.1, (deadline_ns - time.monotonic_ns()) / 1e9))
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self):
        """Ends the process and its children if they still run."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
        self._stderr.close()
