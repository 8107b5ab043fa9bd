"""The rows: what the benchmark programs say about themselves, and the line they print."""

import re
import subprocess
from dataclasses import dataclass

RESULT = re.compile(
    r"BENCH-RESULT name=(?P<name>\S+) iterations=(?P<iterations>\d+) operations=(?P<operations>\d+)"
    r" ns=(?P<ns>\d+) first_ns=(?P<first_ns>\d+) total_ns=(?P<total_ns>\d+)"
    r" checksum=(?P<checksum>[0-9a-f]{16}) variant=(?P<variant>\S+)"
)


class Failure(Exception):
    """One side could not do one thing; the reason is for the report."""


@dataclass(frozen=True)
class Row:
    """One line of the tables."""

    group: str  # "user" or "kernel"
    name: str
    iterations: int
    operations: int
    summary: str

    @property
    def key(self):
        return f"{self.group}/{self.name}"


@dataclass(frozen=True)
class Sample:
    """One run of one row on one side."""

    ns: float  # per operation
    first_ns: float  # per operation, in the untimed first iteration
    iterations: int
    total_ns: int  # the whole program, by its own clock
    checksum: str
    variant: str


def list_rows(group, program):
    """Asks a benchmark program (a path) what it can do."""
    listing = subprocess.run([program, "list"], check=True, capture_output=True, text=True, timeout=20).stdout
    rows = []
    for line in listing.splitlines():
        name, iterations, operations, summary = line.split("\t")
        rows.append(Row(group, name, int(iterations), int(operations), summary))
    return rows


def counter_khz(program):
    """The rate of the host's time-stamp counter."""
    return int(subprocess.run([program, "frequency"], check=True, capture_output=True, text=True, timeout=20).stdout)


def parse_result(text, row):
    """The Sample in a line of output, or None if the line is something else."""
    match = RESULT.search(text)
    if match is None or match["name"] != row.name:
        return None
    operations = int(match["operations"])
    iterations = int(match["iterations"])
    return Sample(
        ns=int(match["ns"]) / (iterations * operations),
        first_ns=int(match["first_ns"]) / operations,
        iterations=iterations,
        total_ns=int(match["total_ns"]),
        checksum=match["checksum"],
        variant=match["variant"],
    )


def run_natively(program, row, iterations, budget_ms, limit):
    """Runs one row on the host; limit is in seconds. Raises Failure."""
    command = [program, "run", row.name, str(iterations), str(budget_ms)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise Failure(f"no result within {limit:.0f} s") from None
    sample = parse_result(done.stdout, row)
    if done.returncode != 0 or sample is None:
        raise Failure(done.stderr.strip() or f"status {done.returncode}")
    return sample


def read_checksums(path):
    """The recorded checksums, by row key."""
    with open(path, encoding="ascii") as file:
        return dict(line.split() for line in file if line.strip() and not line.startswith("#"))
