"""The report of bench/kvm."""

from .report import MIB, Need, format_table, geometric_mean, middle, show_amount, show_percent, show_ratio, show_time, spread

START = Need("start to the guest's first instruction, Lodge's time / QEMU's", 0.3, 0.1, True, "x")
BOOT = Need("boot to /init, Lodge's time / QEMU's", 0.8, 0.6, True, "x")
MEMORY = Need("Lodge's memory beyond the guest's pages", 5.0, 3.0, True, " MiB")
USER = Need("user programs, the guest's time / native, geometric mean", 1.05, 1.0, True, "x")

VERSUS = (
    ("start", "to the first instruction"),
    ("plain", "to /init, console=ttyS0"),
    ("quiet", "to /init, console=ttyS0 quiet"),
)


class Results:
    """What was measured: nanoseconds, or bytes for "memory"."""

    def __init__(self):
        self.values = {}  # "start/lodge", "plain/qemu", "user/sieve", "native/sieve", "memory": list
        self.failures = {}  # the same keys: reason

    def add(self, key, value):
        self.values.setdefault(key, []).append(value)

    def get(self, key):
        """All values; none if one failed: half a result is none."""
        return [] if key in self.failures else self.values.get(key, [])

    def ratios(self, over, under):
        """Pair by pair: neighbours in time."""
        return [one / other for one, other in zip(self.get(over), self.get(under))]

    def failed(self, *groups):
        return sum(1 for key in self.failures if key.partition("/")[0] in groups)


def versus_table(results):
    lines = []
    for key, what in VERSUS:
        ratios = results.ratios(f"{key}/lodge", f"{key}/qemu")
        lines.append([
            what, *(show_time(middle(results.get(f"{key}/{side}"))) for side in ("qemu", "lodge")),
            show_ratio(middle(ratios)), show_percent(spread(ratios)), "",
        ])  # fmt: skip
    heads = ["from starting the process", "QEMU KVM", "Lodge", "Lodge/QEMU", "+-", ""]
    return format_table("Start (1 vCPU, 512 MiB; QEMU is the microvm machine)", heads, lines)


def user_table(results, rows):
    lines = []
    for row in rows:
        ratios = results.ratios(f"user/{row}", f"native/{row}")
        lines.append([
            row, show_time(middle(results.get(f"native/{row}"))), show_time(middle(results.get(f"user/{row}"))),
            f"{middle(ratios):.3f}" if ratios else "-", show_percent(spread(ratios)), "",
        ])  # fmt: skip
    return format_table("User programs (time per iteration)", ["row", "native", "Lodge", "Lodge/native", "+-", ""], lines)


def judgements(results, rows):
    """Each need with what was reached and how many measurements failed."""
    user = {row: middle(results.ratios(f"user/{row}", f"native/{row}")) for row in rows}
    memory = middle(results.get("memory"))
    return [
        (START, middle(results.ratios("start/lodge", "start/qemu")), results.failed("start")),
        (BOOT, middle(results.ratios("plain/lodge", "plain/qemu")), results.failed("plain")),
        (MEMORY, None if memory is None else memory / MIB, results.failed("memory")),
        (USER, geometric_mean(list(user.values())), results.failed("user", "native")),
    ]


def format_report(results, rows):
    lines = [
        [need.what, f"<= {show_amount(need.limit, need.unit)}", f"<= {show_amount(need.aim, need.unit)}",
         show_amount(got, need.unit), need.verdict(got, failed)]
        for need, got, failed in judgements(results, rows)
    ]  # fmt: skip
    parts = [versus_table(results)]
    if any(key.startswith("user/") for key in results.values):
        parts.append(user_table(results, rows))
        worst = max(rows, key=lambda row: middle(results.ratios(f"user/{row}", f"native/{row}")) or 0)
        ratio = middle(results.ratios(f"user/{worst}", f"native/{worst}"))
        parts.append(f"worst row: {worst}, {show_ratio(ratio)} of the native time\n")
    parts.append(format_table("Verdict", ["", "needed", "aim", "got", ""], lines))
    if results.failures:
        parts.append("\n".join(["Failed", "", *(f"{key}: {reason}" for key, reason in results.failures.items()), ""]))
    return "\n".join(parts).rstrip() + "\n"
