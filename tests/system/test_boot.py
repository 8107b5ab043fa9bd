#!/usr/bin/env python3
"""
Stock Debian kernels from their first instruction to power-off.

  test_boot.py                      the cloud kernel in a few shapes
  LODGE_TEST_FULL=1 test_boot.py    both kernels, 1, 2 and 4 processors, 128 MiB to 4 GiB
  LODGE_TEST_BOOTS=20 test_boot.py ManyBoots
                                    so many boots in a row; one that hangs or differs fails
"""

import hashlib
import os
import re
import subprocess
import time
import unittest

import lodge
from lodge import Machine

FULL = os.environ.get("LODGE_TEST_FULL") == "1"
BOOTS = int(os.environ.get("LODGE_TEST_BOOTS", "3"))

# Leaf, register and bit of what a model promises: of instructions, and of the system, which engine dbt has by itself.
LEVEL_2 = {
    "sse3": (1, "c", 0), "ssse3": (1, "c", 9), "cx16": (1, "c", 13), "sse4_1": (1, "c", 19), "sse4_2": (1, "c", 20),
    "popcnt": (1, "c", 23), "lahf_lm": (0x80000001, "c", 0),
}
LEVEL_3 = LEVEL_2 | {
    "pclmulqdq": (1, "c", 1), "fma": (1, "c", 12), "movbe": (1, "c", 22), "aes": (1, "c", 25), "xsave": (1, "c", 26),
    "avx": (1, "c", 28), "f16c": (1, "c", 29), "rdrand": (1, "c", 30), "bmi1": (7, "b", 3), "avx2": (7, "b", 5),
    "bmi2": (7, "b", 8), "abm": (0x80000001, "c", 5),
}
SYSTEM_2 = {"rdtscp": (0x80000001, "d", 27)}
SYSTEM_3 = SYSTEM_2 | {"fsgsbase": (7, "b", 0), "smep": (7, "b", 7)}
MODELS = {"x86-64-v2": (LEVEL_2, SYSTEM_2), "x86-64-v3": (LEVEL_3, SYSTEM_3)}

# The processor's own words: /proc/cpuinfo leaves out what the host's kernel does not use.
CPUID = """
#include <cpuid.h>
#include <stdio.h>
#include <stdlib.h>
int main(int count, char **arguments)
{
    unsigned a, b, c, d;
    if (!__get_cpuid_count((unsigned)strtoul(arguments[count - 1], NULL, 0), 0, &a, &b, &c, &d))
        b = c = d = 0;
    printf("%u %u %u", b, c, d);
    return 0;
}
"""

JOB = """#!/bin/sh
dmesg -n 1
echo "cpus $(nproc)"
echo "memory $(awk '/^MemTotal/ { print $2 }' /proc/meminfo)"
echo "release $(uname -r)"
uptime > /dev/null || exit 1
for cpu in $(seq 0 $(($(nproc) - 1))); do
    taskset -c $cpu sh -c 'i=0; while [ $i -lt 2000 ]; do i=$((i + 1)); done' || exit 1
done
start=$(date +%s)
sleep 1
took=$(($(date +%s) - start))
[ $took -ge 1 ] && [ $took -le 3 ] || { echo "sleep 1 took $took s"; exit 1; }
date -u +'time %s'
grep -c '^processor' /proc/cpuinfo | sed 's/^/cpuinfo /'
dmesg | grep -E 'BUG:|WARNING:|Oops|Call Trace|soft lockup|rcu.*stall|Unstable clock|MCE' && exit 1
exit 0
"""


class LinuxCase(lodge.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.initramfs = lodge.guest_image("initramfs")
        script = cls.folder / "run"
        script.write_text(JOB)
        cls.job = cls.folder / "job.cpio"
        lodge.guest_image("job", cls.job, script)

    def arguments(self, kernel="cloud", cpus=1, memory="256M", job=True, append=""):
        initrds = ["--initrd", self.initramfs] + (["--initrd", str(self.job)] if job else [])
        return [
            "--kernel", lodge.guest_image("kernel", kernel), *initrds, "-c", str(cpus), "-m", memory,
            "--append", "console=ttyS0 quiet panic=-1 " + append,
        ]

    def boot(self, *options, prefix=(), **shape):
        command = [*prefix, lodge.LODGE, "run", "--engine", lodge.ENGINE, "--no-reboot", *self.arguments(**shape), *options]
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=5 * lodge.PATIENCE, check=False
        )
        output = result.stdout.decode(errors="replace").replace("\r\n", "\n")
        self.assertEqual(result.returncode, 0, result.stderr.decode() + output[-3000:])
        self.assertIn("job: status 0\n", output, result.stderr.decode() + output[-3000:])
        return output

    def value(self, output, name):
        return int(re.search(rf"^{name} (\d+)$", output, re.M).group(1))

    def check(self, cpus, mib, output):
        self.assertEqual(self.value(output, "cpus"), cpus)
        self.assertEqual(self.value(output, "cpuinfo"), cpus)
        total = self.value(output, "memory") / 1024
        self.assertLess(total, mib)
        self.assertGreater(total, mib * 0.95 - 64)
        self.assertLess(abs(self.value(output, "time") - time.time()), 10)


class Boots(LinuxCase):
    def test_shapes(self):
        shapes = [("cloud", 1, 128), ("cloud", 2, 512), ("generic", 1, 256)]
        if FULL:
            shapes = [(k, c, m) for k in ("cloud", "generic") for c in (1, 2, 4) for m in (128, 512, 2048, 2049, 4096)]
        for kernel, cpus, mib in shapes:
            with self.subTest(kernel=kernel, cpus=cpus, mib=mib):
                started = time.monotonic()
                output = self.boot(kernel=kernel, cpus=cpus, memory=f"{mib}M")
                print(f"[{kernel} {cpus} CPUs {mib} MiB: {time.monotonic() - started:.1f} s]", end=" ", flush=True)
                self.check(cpus, mib, output)

    def test_models(self):
        """Each boots where it can, and is refused with the reason where the host lacks what it promises."""
        for model in MODELS:
            with self.subTest(model=model):
                missing = self.missing_features(model)
                if missing:
                    self.check_refusal(model, missing)
                else:
                    self.boot("--cpu", model)

    def missing_features(self, model):
        """What a model promises and neither this host nor the engine has."""
        program = self.folder / "cpuid"
        subprocess.run(["gcc", "-x", "c", "-", "-o", program], input=CPUID.encode(), check=True)
        words = {}
        for leaf in (1, 7, 0x80000001):
            printed = subprocess.run([program, str(leaf)], capture_output=True, check=True).stdout
            words |= {(leaf, register): int(word) for register, word in zip("bcd", printed.split())}
        instructions, system = MODELS[model]
        promised = instructions if lodge.ENGINE == "dbt" else instructions | system
        return {name for name, (leaf, register, bit) in promised.items() if not words[leaf, register] >> bit & 1}

    def check_refusal(self, model, missing):
        result = lodge.run(["run", "--engine", lodge.ENGINE, *self.arguments(job=False), "--cpu", model])
        self.assertEqual(result.returncode, lodge.EXIT_FAILED)
        self.assertEqual(result.stdout, b"")
        line = re.fullmatch(
            rf"lodge: cpu model {model}: this host or engine lacks (\w+); use --cpu host, or a smaller model\n",
            result.stderr.decode(),
        )
        self.assertIsNotNone(line, result.stderr)
        self.assertIn(line.group(1), missing)

    def test_nobody(self):
        """No user, no groups, no capabilities, no home."""
        if os.geteuid() != 0:
            self.skipTest("only root can become nobody")
        setpriv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all",
                   "--inh-caps=-all", "--no-new-privs", "env", "-i"]
        self.boot(prefix=setpriv)

    def test_messages_of_a_whole_boot(self):
        """Nothing that the kernel complains about."""
        output = self.boot(append="loglevel=8")
        for word in ("BUG:", "WARNING:", "Oops", "Call Trace", "stall", "unchecked MSR", "mismatch", "[Firmware Bug]"):
            self.assertNotIn(word, output)

    def test_auto_engine(self):
        """One line says which engine was taken and why, and the machine runs."""
        arguments = self.arguments(job=False)  # fetches the kernel the first time
        started = time.monotonic()
        machine = Machine(arguments, engine="auto", stderr=subprocess.PIPE)
        self.addCleanup(machine.close)
        line = machine.process.stderr.readline().decode()
        self.assertLess(time.monotonic() - started, 1.5)
        self.assertRegex(line, r"^lodge: engine (dbt|kvm): .+\n$")
        machine.expect(b"Welcome to Linux")


class Ends(LinuxCase):
    def shell(self, *options, **shape):
        machine = Machine([*self.arguments(job=False, **shape), *options], stderr=subprocess.STDOUT)
        self.addCleanup(machine.close)
        machine.expect(b"/root # ")
        return machine

    def test_poweroff(self):
        machine = self.shell()
        machine.send(b"poweroff\n")
        self.assertEqual(machine.wait(), lodge.EXIT_OK)

    def test_reboot(self):
        machine = self.shell()
        for _ in range(2):
            machine.send(b"reboot\n")
            machine.expect(b"Welcome to Linux")
            machine.expect(b"/root # ")
        machine.send(b"poweroff\n")
        self.assertEqual(machine.wait(), lodge.EXIT_OK)

    def test_reboot_ways(self):
        for way in ("k", "t", "a", "p"):  # keyboard controller, triple fault, ACPI, port 0xcf9
            with self.subTest(way=way):
                machine = self.shell("--no-reboot", append=f"reboot={way}")
                machine.send(b"reboot\n")
                self.assertEqual(machine.wait(), lodge.EXIT_TRIPLE_FAULT if way == "t" else lodge.EXIT_OK)

    def test_panic(self):
        machine = self.shell("--no-reboot")
        machine.send(b"echo c > /proc/sysrq-trigger\n")
        self.assertEqual(machine.wait(), lodge.EXIT_OK)

    def test_typing(self):
        machine = self.shell()
        for i in range(20):
            machine.send(f"echo $(({i} * {i} + 1000000))\n".encode())
            machine.expect(str(i * i + 1000000).encode())
        text = b"".join(b"%060d\n" % i for i in range(100))
        machine.send(b"cat > /tmp/x <<END\n" + text + b"END\nmd5sum < /tmp/x\n")
        machine.expect(hashlib.md5(text).hexdigest().encode())

    def test_a_busy_guest_ends_at_once(self):
        machine = self.shell(cpus=2)
        machine.send(b"yes > /dev/null & yes > /dev/null & cat /dev/urandom > /dev/null &\n")
        machine.expect(b"/root # ")
        started = time.monotonic()
        machine.process.terminate()
        self.assertEqual(machine.wait(), -15)
        self.assertLess(time.monotonic() - started, 2)


class ManyBoots(LinuxCase):
    """LODGE_TEST_BOOTS=20 for the full measure."""

    def test_in_a_row(self):
        for i in range(BOOTS):
            with self.subTest(boot=i):
                self.boot(cpus=1 + i % 2)


if __name__ == "__main__":
    lodge.main()
