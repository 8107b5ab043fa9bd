#!/usr/bin/env python3
"""
User programs in a guest: they must print what they print on the processor itself.

Where the host's kernel runs no 32-bit programs, those are compared with their 64-bit builds, which print the same but
for lines that begin with the width that they depend on ("64-bit: ").
"""

import difflib
import errno
import re
import subprocess
import unittest

import lodge
from lodge import HERE

PROGRAMS = sorted(path.stem for path in (HERE / "programs").glob("*.c"))

# Single-stepping and watchpoints are written for 64-bit code; x87 prints differ in no other way
# between the two than the compiler's choice of registers, so they are all compared with themselves.
PROGRAMS_32 = [name for name in PROGRAMS if name != "ptrace"]

# The end of ptrace.c's output where the processor's watchpoints reach programs.
WATCHED = """\
watchpoint: stopped by 5
value 1, dr6 1
watchpoint: stopped by 5
value 2, dr6 1
syscall: stopped by 5
number 110
end: ended with 15
status 0
"""


class Programs(lodge.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.kernel = lodge.guest_image("kernel", "cloud")
        cls.initramfs = lodge.guest_image("initramfs")
        cls.binaries = {name: cls.compile(name, []) for name in PROGRAMS}
        if cls.has_32_bit_compiler():
            cls.binaries |= {name + "-32": cls.compile(name, ["-m32"]) for name in PROGRAMS_32}
        cls.borrowed = cls.native_32_missing()
        if cls.borrowed:
            print("this kernel runs no 32-bit programs: they are compared with their 64-bit builds")
        cls.native = {name: cls.run_natively(cls.stand_in(name)) for name in cls.binaries}
        before, missed, _ = cls.native["ptrace"].partition("watchpoint: ended")
        if missed:
            print("this host has no watchpoints for programs: the guest's are compared with what the manual says")
            cls.native["ptrace"] = before + WATCHED

    @classmethod
    def native_32_missing(cls):
        """Are there 32-bit programs that this host cannot run?"""
        for name, path in cls.binaries.items():
            if name.endswith("-32"):
                try:
                    cls.run_natively(path)
                except OSError as error:
                    if error.errno != errno.ENOEXEC:
                        raise
                    return True
                return False
        return False

    @classmethod
    def stand_in(cls, name):
        return cls.binaries[name.removesuffix("-32") if cls.borrowed else name]

    def comparable(self, name, text):
        """The lines that a program's stand-in prints too."""
        if self.borrowed and name.endswith("-32"):
            text = re.sub(r"^(64|32)-bit: .*\n", "", text, flags=re.M)
        return text.splitlines(True)

    @staticmethod
    def has_32_bit_compiler():
        result = subprocess.run(
            ["gcc", "-m32", "-static", "-x", "c", "-", "-o", "/dev/null"], input=b"#include <stdio.h>\nint main(void){}",
            capture_output=True, check=False,
        )
        return result.returncode == 0

    @classmethod
    def compile(cls, name, options):
        target = cls.folder / (name + ("-32" if options else ""))
        source = HERE / "programs" / (name + ".c")
        subprocess.run(
            ["gcc", "-O2", "-static", "-pthread", "-mfpmath=sse", "-msse2", *options, "-o", target, source, "-lm"],
            check=True,
        )
        return target

    @staticmethod
    def run_natively(path):
        result = subprocess.run([path], capture_output=True, timeout=120, check=False)
        return f"{result.stdout.decode()}status {result.returncode}\n"

    def run_in_guest(self, *arguments):
        script = self.folder / "run"
        script.write_text(
            "#!/bin/sh\ndmesg -n 1\n"
            + "".join(
                f"echo '<{name}>'\ntimeout 100 ./{name} 2>&1\nstatus=$?\necho \"status $status\"\necho '</{name}>'\n"
                "[ $status -eq 0 ] || dmesg | tail -n 5\n"
                for name in self.binaries
            )
        )
        job = self.folder / "job.cpio"
        lodge.guest_image("job", job, script, *self.binaries.values())
        result = lodge.run(
            ["run", "--engine", lodge.ENGINE, "--no-reboot", "-m", "512M", "--kernel", self.kernel, "--initrd",
             self.initramfs, "--initrd", job, "--append", "console=ttyS0 quiet panic=-1", *arguments],
            timeout=10 * lodge.PATIENCE,
        )
        self.assertEqual(result.returncode, 0, result.stderr.decode())
        return result.stdout.decode(errors="replace").replace("\r\n", "\n")

    def compare(self, *arguments):
        output = self.run_in_guest(*arguments)
        for name, expected in self.native.items():
            with self.subTest(program=name):
                self.assertIn(f"<{name}>\n", output, output[-2000:])
                got = output.split(f"<{name}>\n", 1)[1].split(f"</{name}>\n", 1)[0]
                difference = "".join(
                    difflib.unified_diff(
                        self.comparable(name, expected), self.comparable(name, got), "processor", "guest"
                    )
                )
                said = output.split(f"</{name}>\n", 1)[-1].split("<", 1)[0]
                self.assertEqual(difference, "", f"\n{difference[:4000]}\nthe guest's kernel: {said}")

    def test_one_cpu(self):
        self.compare("-c", "1")

    def test_two_cpus(self):
        self.compare("-c", "2")


if __name__ == "__main__":
    lodge.main()
