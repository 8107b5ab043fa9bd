#!/usr/bin/env python3
"""Debian's kernel under KVM, and the choice of the engine. Run by tests/nested, where /dev/kvm works.

LODGE_KERNEL and LODGE_INITRD name the guest's files.
"""

import os
import re
import subprocess
import sys
import time
import unittest

sys.dont_write_bytecode = True

import lodge  # noqa: E402
from lodge import ENGINE, Machine  # noqa: E402

KERNEL = os.environ["LODGE_KERNEL"]
INITRD = os.environ["LODGE_INITRD"]
CPU = os.environ.get("LODGE_CPU", "host")
DEVICE = "/dev/kvm"
PROBE_LIMIT = 0.3  # seconds until lodge has said which engine it takes
NOBODY = 65534
PROMPT = b"/root # "


class Boots(lodge.TestCase):
    def shell(self, cpus, memory):
        """A machine at the prompt of its shell, with the time that took."""
        arguments = ["-c", str(cpus), "--cpu", CPU, "-m", memory, "--kernel", KERNEL, "--initrd", INITRD, "--append", "console=ttyS0 quiet"]
        started = time.monotonic()
        machine = Machine(arguments, stderr=subprocess.STDOUT)
        self.addCleanup(machine.close)
        machine.expect(PROMPT)
        print(f"{cpus} CPU, {memory}: shell after {time.monotonic() - started:.2f} s", flush=True)
        return machine

    def ask(self, machine, command):
        machine.send(command + b"\n")
        machine.expect(command)  # the echo
        return machine.expect(PROMPT).decode()

    def check_shape(self, machine, cpus, mib):
        self.assertIn(f"\n{cpus}\r", self.ask(machine, b"nproc"))
        total = int(re.search(r"MemTotal: +(\d+) kB", self.ask(machine, b"grep MemTotal /proc/meminfo"))[1]) >> 10
        self.assertLess(total, mib)
        self.assertGreater(total, mib // 2)

    def power_off(self, machine):
        machine.send(b"poweroff\n")
        self.assertEqual(machine.wait(), lodge.EXIT_OK)

    def uptime(self, machine):
        """The guest's clock, and ours at the same moment or a little later."""
        seconds = float(re.search(r"([0-9]+\.[0-9]+) ", self.ask(machine, b"cat /proc/uptime"))[1])
        return seconds, time.monotonic()

    def test_small(self):
        """Keeps time, too."""
        machine = self.shell(1, "128M")
        before = self.uptime(machine)
        self.check_shape(machine, 1, 128)
        time.sleep(60)
        after = self.uptime(machine)
        passed, ours = after[0] - before[0], after[1] - before[1]
        print(f"the guest's clock went {passed:.2f} s while ours went {ours:.2f} s", flush=True)
        self.assertAlmostEqual(passed / ours, 1, delta=0.01)
        self.power_off(machine)

    def test_two_cpus_and_reboot(self):
        machine = self.shell(2, "512M")
        self.check_shape(machine, 2, 512)
        machine.send(b"reboot\n")
        machine.expect(b"Welcome to Linux")
        machine.expect(PROMPT)
        self.check_shape(machine, 2, 512)
        self.power_off(machine)

    def test_large(self):
        """More processors than the host has, memory above and below the hole under 4 GiB."""
        machine = self.shell(4, "4G")
        self.check_shape(machine, 4, 4096)
        self.power_off(machine)


class Choice(lodge.TestCase):
    def first_line(self, engine="auto", **popen):
        """The first line lodge says, and after how many seconds."""
        started = time.monotonic()
        machine = Machine(["-m", "128M", "--kernel", KERNEL], engine=engine, **popen)
        self.addCleanup(machine.close)
        line = machine.process.stderr.readline().decode()
        return line, time.monotonic() - started

    def test_auto_takes_kvm(self):
        line, seconds = self.first_line()
        print(f"--engine auto: {seconds:.3f} s: {line}", end="", flush=True)
        self.assertRegex(line, "^lodge: engine kvm")
        self.assertLess(seconds, PROBE_LIMIT)

    def as_nobody(self, groups):
        if os.geteuid() != 0:
            self.skipTest("only root can become nobody")
        return {"user": NOBODY, "group": NOBODY, "extra_groups": groups}

    def test_group_of_the_device(self):
        line, _ = self.first_line(**self.as_nobody([os.stat(DEVICE).st_gid]))
        self.assertRegex(line, "^lodge: engine kvm")

    def test_no_permission(self):
        line, _ = self.first_line(**self.as_nobody([]))
        self.assertRegex(line, f"^lodge: engine dbt: .*{DEVICE}")
        line, _ = self.first_line("kvm", **self.as_nobody([]))
        self.assertRegex(line, f"^lodge: .*{DEVICE}")


if __name__ == "__main__":
    if ENGINE != "kvm":
        del Choice  # to try the boots with another engine
    lodge.main()
