#!/usr/bin/env python3
"""A guest's clocks against the host's: a Debian guest ticks ten times a second, and we look at our own clock.

LODGE_TEST_FULL=1 looks for a minute instead of ten seconds.
"""

import os
import subprocess
import time
import unittest

import lodge

SECONDS = 60 if os.environ.get("LODGE_TEST_FULL") else 10
STEP = 0.1
TICKS = round(SECONDS / STEP)
DRIFT = 0.01  # of the time that has passed


class Time(lodge.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.kernel = lodge.guest_image("kernel", "cloud")
        cls.initramfs = lodge.guest_image("initramfs")
        program = cls.folder / "clock"
        subprocess.run(["gcc", "-O2", "-static", "-o", program, lodge.HERE / "clock.c"], check=True)
        script = cls.folder / "run"
        script.write_text(f"#!/bin/sh\ndmesg -n 1\nexec ./clock {TICKS}\n")
        cls.job = str(cls.folder / "job.cpio")
        lodge.guest_image("job", cls.job, script, program)

    def ticks(self, cpus):
        """For each tick: our monotonic and real time, and the guest's monotonic, real and lateness; all in seconds."""
        with lodge.Machine(
            ["--no-reboot", "-m", "256M", "-c", str(cpus), "--kernel", self.kernel, "--initrd", self.initramfs,
             "--initrd", self.job, "--append", "console=ttyS0 quiet panic=-1"],
            stdin=subprocess.DEVNULL,
        ) as machine:
            seen = []
            for number in range(TICKS + 1):
                machine.expect(f"tick {number} ".encode())
                ours = time.monotonic(), time.time()
                guest = machine.expect(b"\n").split()
                seen.append((*ours, *(int(value) / 1e9 for value in guest)))
            self.assertEqual(machine.wait(), lodge.EXIT_OK)
        return seen

    @staticmethod
    def drift(pairs):
        """
        How much the second clock gains on the first, as a part of the time. What we see is late by what the console
        and a busy host take, never early: the least of the first and of the last third has none of that.
        """
        third = len(pairs) // 3
        first = min(ours - theirs for ours, theirs in pairs[:third])
        last = min(ours - theirs for ours, theirs in pairs[-third:])
        return (first - last) / (SECONDS * 2 / 3)

    def check(self, cpus):
        seen = self.ticks(cpus)
        start = seen[0][0]
        for name, pairs in {
            "CLOCK_MONOTONIC": [(ours, monotonic) for ours, _, monotonic, _, _ in seen],
            "CLOCK_REALTIME": [(ours, realtime) for ours, _, _, realtime, _ in seen],
            "a loop that sleeps": [(ours, number * STEP) for number, (ours, *_) in enumerate(seen)],
        }.items():
            drift = self.drift(pairs)
            print(f"-c {cpus}: {name} drifts by {1e6 * drift:+.0f} ppm in {seen[-1][0] - start:.1f} s")
            self.assertLess(abs(drift), DRIFT, name)
        self.assertGreaterEqual(min(late for *_, late in seen), 0, "a sleep ended early")
        differences = [realtime - ours for _, ours, _, realtime, _ in seen]
        self.assertLess(min(map(abs, differences)), 2, "the guest knows what time it is")

    def test_one_cpu(self):
        self.check(1)

    def test_two_cpus(self):
        self.check(2)


if __name__ == "__main__":
    lodge.main()
