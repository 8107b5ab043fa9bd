"""The two virtual machines that are compared, and how to get a measurement out of one."""

import subprocess
import time
from dataclasses import dataclass

from .console import Console
from .memory import measure_memory
from .programs import Failure, parse_result

MEMORY_MIB = 512
BOOT_LIMIT = 60  # seconds from starting the process to /init
END_LIMIT = 5
COMMAND_LINE = "console=ttyS0 panic=-1"


@dataclass(frozen=True)
class Qemu:
    """QEMU with its smallest machine, the best that it offers for this; under its own translator unless told otherwise."""

    program: str
    counter_khz: int  # of the host's time-stamp counter, which is the guest's, too
    name: str = "qemu"
    accelerator: str = "tcg"

    def clock(self):
        """
        What the guest's kernel needs to be told for a good clock. Left alone it finds no way to calibrate
        the counter and counts timer interrupts, of which a busy host loses some: QEMU would look fast.
        """
        return f"tsc_early_khz={self.counter_khz} tsc=reliable"

    def command(self, kernel, initrd, append):
        return [*self._machine(), "-kernel", kernel, "-initrd", initrd, "-append", f"{append} reboot=t"]

    def bare_command(self, kernel):
        """For a guest that needs nothing and ends with a write to port 0xF4."""
        return [*self._machine(), "-kernel", kernel, "-device", "isa-debug-exit,iobase=0xf4,iosize=1"]

    def _machine(self):
        return [
            self.program, "-M", "microvm,acpi=off", "-accel", self.accelerator, "-cpu", "max", "-smp", "1",
            "-m", str(MEMORY_MIB), "-nographic", "-no-reboot",
        ]  # fmt: skip

    def version(self):
        return first_line([self.program, "--version"])


@dataclass(frozen=True)
class Lodge:
    """Lodge with its own engine unless told otherwise, whatever else the host could do."""

    program: str
    name: str = "lodge"
    engine: str = "dbt"

    def clock(self):
        """The guest finds its clock by itself."""
        return ""

    def command(self, kernel, initrd, append):
        return [*self._machine(), "--kernel", kernel, "--initrd", initrd, "--append", append]

    def bare_command(self, kernel):
        """For a guest that needs nothing and ends with a write to port 0xF4."""
        return [*self._machine(), "--debug-exit", "--kernel", kernel]

    def _machine(self):
        return [self.program, "run", "--engine", self.engine, "-c", "1", "-m", f"{MEMORY_MIB}M", "--no-reboot"]

    def version(self):
        return first_line([self.program, "--version"])


def first_line(command):
    """The first line a program says about itself, or why it says nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"unknown ({error})"
    lines = done.stdout.strip().splitlines()
    return lines[0] if lines and done.returncode == 0 else "unknown version"


def after(seconds):
    return time.monotonic_ns() + int(seconds * 1e9)


def wait_for(console, marker, deadline_ns):
    """When a line with the marker arrives, in monotonic nanoseconds."""
    while True:
        arrival, text = console.line(deadline_ns)
        if marker in text:
            return arrival
        if "Kernel panic" in text:
            raise Failure(text)


def boot(machine, kernel, initrd, quiet):
    """Nanoseconds from starting the process to the first line of /init."""
    append = f"{COMMAND_LINE}{' quiet' if quiet else ''} BENCH=none"
    with Console(machine.command(kernel, initrd, append)) as console:
        arrival = wait_for(console, "BENCH-INIT", after(BOOT_LIMIT))
        console.wait_for_end(END_LIMIT)
        return arrival - console.started_ns


def start(machine, guest):
    """Nanoseconds from starting the process to what the guest's first instructions say (first.S)."""
    with Console(machine.bare_command(guest)) as console:
        arrival = wait_for(console, "!", after(BOOT_LIMIT))
        console.wait_for_end(END_LIMIT)
        return arrival - console.started_ns


class Guest:
    """A machine that runs rows one after the other; boots when it is first needed, and again if a row killed it."""

    def __init__(self, machine, kernel, initrd, append=""):
        self.machine = machine
        self.warnings = []
        append = f"{COMMAND_LINE} quiet BENCH=console {machine.clock()} {append}"
        self._command = machine.command(kernel, initrd, append)
        self._console = None

    def boot(self):
        """Does nothing if it runs already. Raises Failure."""
        if self._console is None:
            self._console = Console(self._command)
            self._guarded(lambda: wait_for(self._console, "BENCH-READY", after(BOOT_LIMIT)))

    def _guarded(self, action):
        """A failure of the action ends the machine, unless it was only the program in it that failed."""
        try:
            return action()
        except Refused:
            raise
        except Failure:
            self.close()
            raise

    def run(self, row, iterations, budget_ms, limit):
        """One Sample of a row; limit is in seconds. Raises Failure."""
        self.boot()
        return self._guarded(lambda: self._run(row, iterations, budget_ms, after(limit)))

    def _run(self, row, iterations, budget_ms, deadline_ns):
        self._console.write(f"{row.key} {iterations} {budget_ms}\n")
        started_ns = wait_for(self._console, f"BENCH-START {row.key}", deadline_ns)
        said = ""
        while True:
            arrival, text = self._console.line(deadline_ns)
            sample = parse_result(text, row)
            if sample is not None:
                self._check_clock(row, sample, arrival - started_ns)
                return sample
            if f"BENCH-FAILED {row.key}" in text:
                raise Refused(f"{said} {text.split(row.key)[-1].strip()}".strip())
            if "Kernel panic" in text:
                raise Failure(text)
            said = text

    def _check_clock(self, row, sample, host_ns):
        """A guest whose clock runs slow would look fast: compares with the host's clock."""
        # Starting the program is not in its own time, and on a busy host we see the lines late.
        if sample.total_ns > 1.05 * host_ns + 100e6 or sample.total_ns < 0.85 * host_ns - 150e6:
            self.warnings.append(
                f"{row.key}: {sample.total_ns / 1e9:.2f} s in the guest, {host_ns / 1e9:.2f} s on the host"
            )

    def memory(self):
        """What the machine takes now, or None if it does not run."""
        return measure_memory(self._console.pid, MEMORY_MIB) if self._console else None

    def process(self):
        """The process's number; only between boot() and close()."""
        return self._console.pid

    def end(self):
        """Lets the guest end by itself, and sees whether it does."""
        if self._console:
            self._console.write("end\n")
            if not self._console.wait_for_end(END_LIMIT):
                self.warnings.append("the machine did not end after the guest's reboot; it was killed")
        self.close()

    def close(self):
        """Ends the machine at once if it runs."""
        if self._console:
            self._console.close()
            self._console = None


class Refused(Failure):
    """The program failed, the machine goes on."""
