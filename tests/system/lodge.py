"""What the system tests share: the program under test, small guests, and a console to talk to."""

import os
import pathlib
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
TOOLS = HERE.parent.parent / "tools"
LODGE = os.environ.get("LODGE", "lodge")
ENGINE = os.environ.get("LODGE_ENGINE", "dbt")
GUESTS = pathlib.Path(os.environ.get("LODGE_GUESTS", HERE.parent.parent / "build" / "tests" / "guest"))

# How many seconds anything may take that is not given a limit of its own. A slow or shared machine
# may raise it.
PATIENCE = float(os.environ.get("LODGE_TEST_PATIENCE", "60"))

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_TRIPLE_FAULT = 0, 1, 2, 3


def _restore_signals():
    """A shell's background job has SIGINT and SIGQUIT ignored, and what it starts inherits that."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def in_child(then=None):
    """What a child does before it becomes the program under test; `then` comes last."""

    def prepare():
        _restore_signals()
        if then is not None:
            then()

    return prepare


class Program:
    """A program in the background, on pipes or on a terminal of its own."""

    def __init__(self, command, terminal=False, **popen):
        self.output = b""
        self.master = None
        if terminal:
            self.master, self.slave = pty.openpty()
            popen.update(stdin=self.slave, stdout=self.slave, stderr=self.slave)
            popen.update(start_new_session=True, preexec_fn=in_child(self._take_terminal))
        else:
            popen["preexec_fn"] = in_child(popen.get("preexec_fn"))
            popen.setdefault("stdin", subprocess.PIPE)
            popen.setdefault("stdout", subprocess.PIPE)
            popen.setdefault("stderr", subprocess.PIPE)
        self.process = subprocess.Popen(command, bufsize=0, **popen)

    def _take_terminal(self):
        import fcntl
        import termios

        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)

    def _output_fd(self):
        return self.master if self.master is not None else self.process.stdout.fileno()

    def send(self, data):
        os.write(self.master if self.master is not None else self.process.stdin.fileno(), data)

    def read_some(self, timeout):
        """What arrives within the time; b'' at the end of the output or of the time."""
        fd = self._output_fd()
        if not select.select([fd], [], [], max(timeout, 0))[0]:
            return b""
        try:
            data = os.read(fd, 65536)
        except OSError:  # a terminal whose other side has been closed
            data = b""
        self.output += data
        return data

    def expect(self, text, timeout=None):
        """Reads until the text has been seen; what came before it is dropped from self.output."""
        limit = time.monotonic() + (PATIENCE if timeout is None else timeout)
        while text not in self.output:
            if time.monotonic() > limit:
                raise AssertionError(f"{text!r} did not come; the output ends with {self.output[-2000:]!r}")
            if not self.read_some(min(1, limit - time.monotonic())) and self.process.poll() is not None:
                if not self.read_some(0.1) and text not in self.output:
                    raise AssertionError(
                        f"{text!r} did not come before the end, status {self.process.returncode}; "
                        f"the output ends with {self.output[-2000:]!r}; {self.errors()}"
                    )
        before, _, self.output = self.output.partition(text)
        return before

    def errors(self):
        return "" if self.process.stderr is None else self.process.stderr.read().decode(errors="replace")

    def wait(self, timeout=None):
        return self.process.wait(PATIENCE if timeout is None else timeout)

    def signal(self, number):
        self.process.send_signal(number)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        if self.master is not None:
            os.close(self.master)
            os.close(self.slave)
            self.master = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Machine(Program):
    """A `lodge run`, with its console on the pipes or the terminal."""

    def __init__(self, arguments, terminal=False, engine=ENGINE, prefix=(), **popen):
        super().__init__([*prefix, LODGE, "run", "--engine", engine, *arguments], terminal, **popen)


def run(arguments, timeout=None, **kwargs):
    """`lodge ARGUMENTS` to its end."""
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    kwargs["preexec_fn"] = in_child(kwargs.get("preexec_fn"))
    return subprocess.run(
        [LODGE, *arguments], capture_output=True, timeout=PATIENCE if timeout is None else timeout, check=False, **kwargs
    )


class TestCase(unittest.TestCase):
    """A test with a scratch folder."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="lodge-test-"))
        cls.folder.chmod(0o755)
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)

    @classmethod
    def build_guest(cls, name):
        """The path of a freestanding guest from guests/NAME.S."""
        target = cls.folder / name
        if not target.exists():
            subprocess.run(
                ["gcc", "-m32", "-nostdlib", "-static", "-no-pie", "-Wl,-m,elf_i386", "-Wl,--build-id=none,--no-warn-rwx-segments",
                 "-Wl,-T," + str(HERE / "guests" / "guest.ld"), "-o", target, HERE / "guests" / (name + ".S")],
                check=True, timeout=PATIENCE,
            )
        return str(target)


class ConsoleCase(TestCase):
    """Machines with the guest that talks over its console (guests/console.S)."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.kernel = cls.build_guest("console")

    def machine(self, *arguments, **kwargs):
        machine = Machine(["--kernel", self.kernel, "-m", "16M", *arguments], **kwargs)
        self.addCleanup(machine.close)
        return machine

    def ready(self, *arguments, **kwargs):
        machine = self.machine(*arguments, **kwargs)
        machine.expect(b"ready\n")
        return machine


def guest_image(*arguments):
    """tools/guest-image; returns what it prints: a path."""
    result = subprocess.run(
        [TOOLS / "guest-image", *map(str, arguments)], stdout=subprocess.PIPE, check=True, text=True, timeout=600
    )
    return result.stdout.strip()


def main():
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    unittest.main(verbosity=2, argv=sys.argv)
