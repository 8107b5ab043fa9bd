#!/usr/bin/env python3
"""How a machine ends, its console on pipes and on a terminal, signals, and what is left behind."""

import os
import pathlib
import signal
import subprocess
import termios
import time
import unittest

import lodge
from lodge import Machine


class Statuses(lodge.ConsoleCase):
    def test_power_off(self):
        machine = self.ready()
        machine.send(b"q")
        self.assertEqual(machine.wait(), lodge.EXIT_OK)
        self.assertEqual(machine.errors(), "")

    def test_restart(self):
        machine = self.ready()
        for _ in range(3):
            machine.send(b"r")
            machine.expect(b"ready\n")
        machine.send(b"q")
        self.assertEqual(machine.wait(), lodge.EXIT_OK)

    def test_no_reboot(self):
        machine = self.ready("--no-reboot")
        machine.send(b"r")
        self.assertEqual(machine.wait(), lodge.EXIT_OK)

    def test_restart_reads_the_kernel_anew(self):
        copy = self.folder / "copy"
        copy.write_bytes(pathlib.Path(self.kernel).read_bytes())
        machine = self.machine("--kernel", str(copy))
        machine.expect(b"ready\n")
        copy.write_bytes(copy.read_bytes().replace(b"ready\n", b"again\n"))
        machine.send(b"r")
        machine.expect(b"again\n")
        copy.unlink()
        machine.send(b"r")
        self.assertEqual(machine.wait(), lodge.EXIT_FAILED)
        self.assertIn("No such file", machine.errors())

    def test_restart_keeps_a_kernel_from_a_pipe(self):
        with open(self.kernel, "rb") as file:
            machine = self.ready("--kernel", "/dev/fd/9", preexec_fn=lambda: self.feed(file), close_fds=False)
        machine.send(b"r")
        machine.expect(b"ready\n")

    @staticmethod
    def feed(file):
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.close(reader)
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(file.read())
            os._exit(0)
        os.close(writer)
        os.dup2(reader, 9)

    def test_triple_fault(self):
        machine = self.ready()
        machine.send(b"t")
        self.assertEqual(machine.wait(), lodge.EXIT_TRIPLE_FAULT)
        self.assertNotEqual(machine.errors(), "", "a triple fault is reported")

    def test_debug_exit(self):
        machine = self.ready("--debug-exit")
        machine.send(b"x")
        self.assertEqual(machine.wait(), 21 << 1 | 1)

    def test_no_debug_exit_unless_asked(self):
        machine = self.ready()
        machine.send(b"x")
        with self.assertRaises(subprocess.TimeoutExpired):
            machine.wait(timeout=1)

    def test_killed_by_signals(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM):
            for command in (b"", b"e", b"f"):
                with self.subTest(signal=number, command=command):
                    machine = self.ready()
                    machine.send(command)
                    machine.signal(number)
                    self.assertEqual(machine.wait(timeout=10), -number)
                    machine.close()

    def test_ignored_signal_stays_ignored(self):
        machine = self.ready(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        machine.signal(signal.SIGHUP)
        machine.send(b"z")
        machine.expect(b"z")

    def test_statistics(self):
        machine = self.ready("--stats")
        machine.signal(signal.SIGUSR1)
        time.sleep(0.5)
        machine.send(b"q")
        self.assertEqual(machine.wait(), lodge.EXIT_OK)
        errors = machine.errors()
        self.assertEqual(errors.count("own memory, KiB"), 2, errors)
        self.assertEqual(errors.count("code cache"), 4, errors)


class Pipes(lodge.ConsoleCase):
    def test_echo(self):
        machine = self.ready()
        text = bytes(b for b in range(256) if b not in b"qrtxfe") * 20
        sent = 0
        while sent < len(text):
            machine.send(text[sent : sent + 512])
            machine.expect(text[sent : sent + 512])
            sent += 512

    def test_input_may_end(self):
        for stdin in (subprocess.DEVNULL, subprocess.PIPE):
            machine = self.ready(stdin=stdin)
            if stdin == subprocess.PIPE:
                machine.process.stdin.close()
            with self.assertRaises(subprocess.TimeoutExpired):
                machine.wait(timeout=0.5)
            machine.signal(signal.SIGTERM)
            self.assertEqual(machine.wait(), -signal.SIGTERM)

    def test_input_from_a_file(self):
        script = self.folder / "script"
        script.write_bytes(b"hi" * 100 + b"q")
        with open(script, "rb") as stdin:
            machine = self.ready(stdin=stdin)
        machine.expect(b"hi" * 100)
        self.assertEqual(machine.wait(), lodge.EXIT_OK)

    def test_closed_descriptors(self):
        machine = Machine(
            ["--kernel", self.kernel, "-m", "16M"], prefix=["sh", "-c", 'exec "$@" <&- >&-', "sh"],
            stdout=subprocess.DEVNULL,
        )
        self.addCleanup(machine.close)
        with self.assertRaises(subprocess.TimeoutExpired):
            machine.wait(timeout=1)

    def test_a_slow_reader_loses_nothing(self):
        machine = self.ready()
        machine.send(b"f")
        time.sleep(2)  # the pipe and the queue are full by now
        line = b"0" * 63 + b"\n"
        text = b""
        while len(text) < 1 << 20:
            text += machine.read_some(10)
        self.assertEqual(text.replace(line, b"").strip(b"0"), b"")

    def test_a_reader_that_does_not_read_cannot_hold_the_end_up(self):
        machine = self.ready()
        machine.send(b"f")
        time.sleep(2)
        machine.signal(signal.SIGTERM)
        self.assertEqual(machine.wait(timeout=10), -signal.SIGTERM)

    def test_a_reader_that_leaves(self):
        machine = self.ready()
        machine.process.stdout.close()
        machine.send(b"fz")
        time.sleep(1)
        self.assertIsNone(machine.process.poll())
        machine.signal(signal.SIGTERM)
        self.assertEqual(machine.wait(), -signal.SIGTERM)
        self.assertIn("stdout takes no more output", machine.process.stderr.read().decode())
        machine.process.stdout = None

    def test_pipes_stay_blocking(self):
        """O_NONBLOCK belongs to the open file, which others share."""
        reader, writer = os.pipe()
        try:
            machine = self.ready(stdin=reader)
            self.assertTrue(os.get_blocking(reader))
            machine.signal(signal.SIGTERM)
            machine.wait()
        finally:
            os.close(reader)
            os.close(writer)


class Terminal(lodge.ConsoleCase):
    """On every way out the terminal is as it was."""

    def start(self, **kwargs):
        machine = self.machine(terminal=True, **kwargs)
        self.before = termios.tcgetattr(machine.slave)
        machine.expect(b"ready\n")
        self.assertNotEqual(self.attributes(machine), self.before)
        self.assertFalse(self.attributes(machine)[3] & (termios.ECHO | termios.ICANON | termios.ISIG))
        return machine

    @staticmethod
    def attributes(machine):
        return termios.tcgetattr(machine.slave)

    def check_restored(self, machine):
        self.assertEqual(self.attributes(machine), self.before)
        machine.close()

    def test_leave(self):
        machine = self.start()
        machine.send(b"abc")
        machine.expect(b"abc")
        machine.send(b"\x1d")
        self.assertEqual(machine.wait(), lodge.EXIT_OK)
        self.check_restored(machine)

    def test_leave_a_busy_machine(self):
        for command in (b"e", b"f"):
            machine = self.start()
            machine.send(command)
            time.sleep(0.2)
            machine.send(b"\x1d")
            while machine.read_some(1):
                pass
            self.assertEqual(machine.wait(), lodge.EXIT_OK)
            self.check_restored(machine)

    def test_control_keys_go_to_the_guest(self):
        machine = self.start()
        machine.send(b"\x03\x1a\x1c\x04\x11\x13")
        machine.expect(b"\x03\x1a\x1c\x04\x11\x13")

    def test_ends(self):
        for command, status in ((b"q", lodge.EXIT_OK), (b"t", lodge.EXIT_TRIPLE_FAULT)):
            machine = self.start()
            machine.send(command)
            self.assertEqual(machine.wait(), status)
            self.check_restored(machine)

    def test_signals(self):
        deadly = [
            signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM, signal.SIGUSR2,
            signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGTRAP,
            signal.SIGSYS, signal.SIGXCPU, signal.SIGRTMIN + 5,
        ]
        for number in deadly:
            with self.subTest(signal=number):
                machine = self.start()
                machine.signal(number)
                self.assertEqual(machine.wait(timeout=10), -number)
                self.check_restored(machine)

    def test_stop_and_continue(self):
        machine = self.start()
        raw = self.attributes(machine)
        for _ in range(3):
            machine.signal(signal.SIGTSTP)
            os.waitid(os.P_PID, machine.process.pid, os.WSTOPPED | os.WNOWAIT)
            self.assertEqual(self.attributes(machine), self.before)
            machine.signal(signal.SIGCONT)
            limit = time.monotonic() + lodge.PATIENCE
            while self.attributes(machine) != raw and time.monotonic() < limit:
                time.sleep(0.01)
            self.assertEqual(self.attributes(machine), raw)
            machine.send(b"z")
            machine.expect(b"z")

    def test_hang_up(self):
        machine = self.start()
        os.close(machine.master)
        machine.master = None
        self.assertEqual(machine.wait(timeout=10), -signal.SIGHUP)
        os.close(machine.slave)

    def test_lines_of_ours_end_in_cr_lf(self):
        machine = self.start()
        machine.signal(signal.SIGUSR1)
        machine.expect(b"figures of lodge")
        self.assertIn(b"\r\n", machine.output or machine.read_some(5))


if __name__ == "__main__":
    lodge.main()
