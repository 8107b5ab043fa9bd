"""From samples to tables and a verdict."""

import math
from dataclasses import dataclass
from statistics import median

MIB = 1 << 20


@dataclass(frozen=True)
class Need:
    """One line of the verdict: what is measured, and the limit it must keep."""

    what: str
    limit: float
    aim: float | None
    at_most: bool  # else at least
    unit: str

    def verdict(self, got, failed):
        """In words; failed is the number of rows of which Lodge has no result, which no mean makes good."""
        if failed:
            return f"NOT MET, {failed} failed"
        if got is None:
            return "not measured"
        kept = got <= self.limit if self.at_most else got >= self.limit
        if not kept:
            return "NOT MET"
        if self.aim is None or (got <= self.aim if self.at_most else got >= self.aim):
            return "met"
        return "met, short of the aim"


BOOT = Need("boot to /init, Lodge's time / QEMU's", 1.0, 0.25, True, "x")
USER = Need("user programs, times faster than QEMU, geometric mean", 3.0, None, False, "x")
USER_WORST = Need("user programs, times faster than QEMU, worst row", 1.0, None, False, "x")
KERNEL = Need("kernel work, times faster than QEMU, geometric mean", 2.0, 5.0, False, "x")
MEMORY = Need("Lodge's memory beyond the guest's pages", 48.0, None, True, " MiB")


def geometric_mean(values):
    values = [value for value in values if value]
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def middle(values):
    return median(values) if values else None


def spread(values):
    """How far the rounds lie apart, as a fraction of their median."""
    return (max(values) - min(values)) / median(values) if len(values) > 1 else None


def show_time(ns):
    if ns is None:
        return "-"
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}" if ns < 999.5 * size else f"{ns / size:.0f} {unit}"
    return f"{ns:.3g} ns"


def show_ratio(value):
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def show_percent(value):
    return "-" if value is None else f"{100 * value:.0f}%"


def show_amount(value, unit):
    return "-" if value is None else f"{show_ratio(value)}{unit}"


def format_table(title, heads, rows):
    """A table in plain text; the first column and the last are words, the others numbers."""
    widths = [max(len(line[i]) for line in [heads, *rows]) for i in range(len(heads))]

    def line_of(cells):
        numbers = [cell.rjust(width) for cell, width in zip(cells[1:-1], widths[1:-1])]
        return "  ".join([cells[0].ljust(widths[0]), *numbers, cells[-1]]).rstrip()

    rule = "  ".join("-" * width for width in widths[:-1])
    return "\n".join([title, "", line_of(heads), rule, *map(line_of, rows), ""])


class Results:
    """Everything measured, by side ("native", "qemu", "lodge")."""

    def __init__(self, rows, checksums):
        self.rows = rows
        self.checksums = checksums
        self.samples = {}  # (side, row key): list of Sample
        self.failures = {}  # (side, key): reason; the key of a row, or boot/plain, boot/quiet
        self.boots = {}  # (side, "plain" or "quiet"): list of nanoseconds
        self.memories = {}  # side: list of Memory
        self.warnings = []

    def add_sample(self, side, row, sample):
        """A sample with the wrong result is a failure."""
        recorded = self.checksums.get(row.key)
        if sample.checksum != recorded:
            self.failures[side, row.key] = f"wrong result: checksum {sample.checksum}, recorded is {recorded}"
        else:
            self.samples.setdefault((side, row.key), []).append(sample)

    def times(self, side, row):
        return [sample.ns for sample in self.samples.get((side, row.key), [])]

    def time(self, side, row):
        """The median time per operation; None if this side failed even once: half a result is none."""
        return None if (side, row.key) in self.failures else middle(self.times(side, row))

    def ratios(self, over, under, row):
        """One side's time divided by another's, round by round; empty if either failed."""
        if self.time(over, row) is None or self.time(under, row) is None:
            return []
        return [one / other for one, other in zip(self.times(over, row), self.times(under, row))]

    def ratio(self, over, under, row):
        return middle(self.ratios(over, under, row))

    def speedup(self, row):
        return self.ratio("qemu", "lodge", row)

    def group(self, group):
        return [row for row in self.rows if row.group == group]

    def boot_time(self, side, form):
        return None if (side, f"boot/{form}") in self.failures else middle(self.boots.get((side, form)))

    def boot_ratios(self, form):
        """Lodge's time divided by QEMU's, round by round."""
        if self.boot_time("lodge", form) is None or self.boot_time("qemu", form) is None:
            return []
        return [lodge / qemu for lodge, qemu in zip(self.boots["lodge", form], self.boots["qemu", form])]

    def mean_speedup(self, group):
        return geometric_mean([self.speedup(row) for row in self.group(group)])

    def worst_speedup(self, group):
        return min(filter(None, map(self.speedup, self.group(group))), default=None)

    def failed_rows(self, group):
        """How many rows of a group ("boot" is one too) Lodge has failed."""
        return sum(1 for side, key in self.failures if side == "lodge" and key.startswith(f"{group}/"))

    def memory(self, side):
        value = middle([memory.own for memory in self.memories.get(side, [])])
        return None if value is None else value / MIB

    def note(self, row):
        """What a reader must know about a row: failures, and sides that did the work in different ways."""
        failed = [side for side in ("native", "qemu", "lodge") if (side, row.key) in self.failures]
        if failed:
            return "FAILED: " + ", ".join(failed)
        variants = {side: self.samples[side, row.key][0].variant
                    for side in ("native", "qemu", "lodge") if (side, row.key) in self.samples}  # fmt: skip
        if len(set(variants.values())) > 1:
            return ", ".join(f"{side} {variant}" for side, variant in variants.items())
        return ""


def boot_table(results):
    lines = []
    for form, what in (("plain", "console=ttyS0"), ("quiet", "console=ttyS0 quiet")):
        qemu, lodge = (results.boot_time(side, form) for side in ("qemu", "lodge"))
        failed = [side for side in ("qemu", "lodge") if (side, f"boot/{form}") in results.failures]
        ratios = results.boot_ratios(form)
        lines.append([
            what, show_time(qemu), show_time(lodge), show_ratio(middle(ratios)), show_percent(spread(ratios)),
            "FAILED: " + ", ".join(failed) if failed else "",
        ])  # fmt: skip
    heads = ["command line", "QEMU TCG", "Lodge", "Lodge/TCG", "+-", ""]
    return format_table("Power-on to /init (1 vCPU, 512 MiB; from starting the process)", heads, lines)


def row_table(results, group, title):
    pairs = (("qemu", "native"), ("lodge", "native"), ("qemu", "lodge"))
    lines = []
    for row in results.group(group):
        native, qemu, lodge = (results.time(side, row) for side in ("native", "qemu", "lodge"))
        lines.append([
            row.name, show_time(native), show_time(qemu), show_time(lodge),
            *(show_ratio(results.ratio(over, under, row)) for over, under in pairs),
            show_percent(spread(results.ratios("qemu", "lodge", row))), results.note(row),
        ])  # fmt: skip
    means = [geometric_mean([results.ratio(*pair, row) for row in results.group(group)]) for pair in pairs]
    lines.append(["geometric mean", "", "", "", *map(show_ratio, means), "", ""])
    heads = ["row", "native", "QEMU TCG", "Lodge", "TCG/native", "Lodge/native", "TCG/Lodge", "+-", ""]
    worst = min(results.group(group), key=lambda row: results.speedup(row) or math.inf, default=None)
    table = format_table(title, heads, lines)
    if worst is None or results.speedup(worst) is None:
        return table
    return f"{table}worst row for Lodge: {worst.name}, {show_ratio(results.speedup(worst))} times as fast as TCG\n"


def memory_table(results):
    lines = []
    for side, name in (("qemu", "QEMU TCG"), ("lodge", "Lodge")):
        memories = results.memories.get(side, [])
        amounts = [middle([getattr(memory, part) for memory in memories]) for part in ("own", "page_tables", "guest")]
        lines.append([name, *("-" if amount is None else f"{amount / MIB:.1f} MiB" for amount in amounts), ""])
    heads = ["", "own", "page tables", "guest's pages", ""]
    return format_table("Memory of the process after the last row", heads, lines)


def judgements(results):
    """Each need with what was reached and how many rows failed."""
    return [
        (BOOT, middle(results.boot_ratios("plain")), results.failed_rows("boot")),
        (USER, results.mean_speedup("user"), results.failed_rows("user")),
        (USER_WORST, results.worst_speedup("user"), results.failed_rows("user")),
        (KERNEL, results.mean_speedup("kernel"), results.failed_rows("kernel")),
        (MEMORY, results.memory("lodge"), 0),
    ]


def verdict_table(results):
    lines = []
    for need, got, failed in judgements(results):
        sign = "<=" if need.at_most else ">="
        aim = "" if need.aim is None else f"{sign} {show_amount(need.aim, need.unit)}"
        lines.append([
            need.what, f"{sign} {show_amount(need.limit, need.unit)}", aim, show_amount(got, need.unit),
            need.verdict(got, failed),
        ])  # fmt: skip
    return format_table("Verdict", ["", "needed", "aim", "got", ""], lines)


def format_report(results, environment):
    parts = ["\n".join(f"{name + ':':10}{value}" for name, value in environment.items()) + "\n"]
    if results.boots or any(key.startswith("boot/") for _, key in results.failures):
        parts.append(boot_table(results))
    if results.group("user"):
        parts.append(row_table(results, "user", "User programs (time per iteration)"))
    if results.group("kernel"):
        parts.append(row_table(results, "kernel", "Kernel work (time per operation; native is the host's kernel)"))
    if results.memories:
        parts.append(memory_table(results))
    parts.append(verdict_table(results))
    if results.failures:
        lines = [f"{side}, {key}: {reason}" for (side, key), reason in results.failures.items()]
        parts.append("\n".join(["Failed", "", *lines, ""]))
    if results.warnings:
        parts.append("\n".join(["Warnings", "", *results.warnings, ""]))
    return "\n".join(parts).rstrip() + "\n"


def to_json(results, environment):
    """Everything, with all samples, for programs that compare runs."""
    return {
        "environment": environment,
        "boot_ns": {f"{side}/{form}": values for (side, form), values in results.boots.items()},
        "rows": {
            row.key: {
                "operations": row.operations,
                "speedup": results.speedup(row),
                **{
                    side: [vars(sample) for sample in results.samples.get((side, row.key), [])]
                    for side in ("native", "qemu", "lodge")
                },
            }
            for row in results.rows
        },
        "memory_bytes": {side: [vars(memory) for memory in values] for side, values in results.memories.items()},
        "verdict": [
            {"what": need.what, "limit": need.limit, "aim": need.aim, "got": got, "verdict": need.verdict(got, failed)}
            for need, got, failed in judgements(results)
        ],
        "failures": {f"{side}: {key}": reason for (side, key), reason in results.failures.items()},
        "warnings": results.warnings,
    }
