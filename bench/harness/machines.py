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
    """QEMU's own translator with its smallest machine: the best that TCG offers for this."""

    program: str
    name: str = "qemu"

    def command(self, kernel, initrd, append):
        return [
            self.program, "-M", "microvm,acpi=off", "-accel", "tcg", "-cpu", "max", "-smp", "1",
            "-m", str(MEMORY_MIB), "-nographic", "-no-reboot", "-kernel", kernel, "-initrd", initrd,
            "-append", f"{append} reboot=t",
        ]  # fmt: skip

    def version(self):
        return first_line([self.program, "--version"])


@dataclass(frozen=True)
class Lodge:
    """Lodge with its own engine, whatever else the host could do."""

    program: str
    name: str = "lodge"

    def command(self, kernel, initrd, append):
        return [
            self.program, "run", "--engine", "dbt", "-c", "1", "-m", f"{MEMORY_MIB}M", "--no-reboot",
            "--kernel", kernel, "--initrd", initrd, "--append", append,
        ]  # fmt: skip

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


@dataclass
class Session:
    """What one machine's life brought: samples or failures by row key, and its memory if it lived to the end."""

    samples: dict
    failures: dict
    warnings: list
    memory: object = None


def run_rows(machine, kernel, initrd, rows, iterations, budget_ms, limit):
    """
    Runs the rows in one boot if all goes well. A row that fails or exceeds its limit (seconds) is
    noted, and what follows it gets a new boot.
    """
    session = Session({}, {}, [])
    remaining = list(rows)
    while remaining:
        done = run_boot(machine, kernel, initrd, remaining, iterations, budget_ms, limit, session)
        if done == 0:  # not even the first row began: another boot would do no better
            break
        remaining = remaining[done:]
    return session


def run_boot(machine, kernel, initrd, rows, iterations, budget_ms, limit, session):
    """Runs rows until one of them takes the machine with it; answers how many it has dealt with."""
    items = ",".join(f"{row.key}:{iterations[row.key]}" for row in rows)
    append = f"{COMMAND_LINE} quiet BENCH_BUDGET={budget_ms} BENCH={items}"
    with Console(machine.command(kernel, initrd, append)) as console:
        try:
            wait_for(console, "BENCH-INIT", after(BOOT_LIMIT))
        except Failure as failure:
            for row in rows:
                session.failures[row.key] = f"no boot: {failure}"
            return 0
        for index, row in enumerate(rows):
            try:
                session.samples[row.key] = run_row(console, row, after(limit), session.warnings)
            except Refused as failure:
                session.failures[row.key] = str(failure)
            except Failure as failure:
                session.failures[row.key] = str(failure)
                return index + 1
        finish(console, session)
    return len(rows)


class Refused(Failure):
    """The program failed, the machine goes on."""


def run_row(console, row, deadline_ns, warnings):
    started_ns = wait_for(console, f"BENCH-START {row.key}", deadline_ns)
    said = ""
    while True:
        arrival, text = console.line(deadline_ns)
        sample = parse_result(text, row)
        if sample is not None:
            check_clock(row, sample, arrival - started_ns, warnings)
            return sample
        if f"BENCH-FAILED {row.key}" in text:
            raise Refused(f"{said} {text.split(row.key)[-1].strip()}".strip())
        if "Kernel panic" in text:
            raise Failure(text)
        said = text


def check_clock(row, sample, host_ns, warnings):
    """A guest whose clock runs slow would look fast: compares with the host's clock."""
    # Starting the program is not in its own time; the allowance is for that.
    if sample.total_ns > 1.05 * host_ns + 20e6 or sample.total_ns < 0.85 * host_ns - 150e6:
        warnings.append(f"{row.key}: {sample.total_ns / 1e9:.2f} s in the guest, {host_ns / 1e9:.2f} s on the host")


def finish(console, session):
    try:
        wait_for(console, "BENCH-END", after(END_LIMIT))
        session.memory = measure_memory(console.pid, MEMORY_MIB)
    except Failure as failure:
        session.warnings.append(f"memory not measured: {failure}")
        return
    if not console.wait_for_end(END_LIMIT):
        session.warnings.append("the machine did not end after the guest's reboot; it was killed")
