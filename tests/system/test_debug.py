#!/usr/bin/env python3
"""What a kernel's author has: the debug ports and the report on a triple fault."""

import re
import subprocess
import unittest

import lodge


def guest(name, options, *arguments, timeout=None):
    """A program of tests/guest to its end: the exit status, what it printed, and the lines of standard error."""
    result = lodge.run(
        ["run", "--engine", lodge.ENGINE, "-m", "64M", "--no-reboot", "--kernel", str(lodge.GUESTS / name),
         "--append", options, *arguments],
        timeout=timeout,
    )
    return result.returncode, result.stdout.decode(), result.stderr.decode().splitlines()


class Ports(lodge.TestCase):
    def test_debug_console_and_debug_exit(self):
        status, output, errors = guest("hello", "", "--debug-exit")
        self.assertEqual((status, errors), (1, []))
        self.assertIn("hello: debug console, 0 failures", output)


class Report(lodge.TestCase):
    def crash(self, case):
        status, output, errors = guest("shutdown", f"console=serial case={case}")
        self.assertEqual(status, lodge.EXIT_TRIPLE_FAULT)
        self.assertEqual(output, f"SHUTDOWN EXPECTED: case {case}\n")
        self.assertEqual(errors[0], "lodge: triple fault on CPU 0; its registers:")
        return errors

    def find(self, pattern, errors):
        """The only line that is this, and its groups."""
        found = [match for match in (re.fullmatch("lodge: " + pattern, line) for line in errors) if match]
        self.assertEqual(len(found), 1, f"{pattern} in:\n" + "\n".join(errors))
        return found[0]

    def test_no_interrupt_table(self):
        errors = self.crash(0)
        rip = self.find("rip ([0-9a-f]{16}) rflags ([0-9a-f]{16}) cpl 0", errors)[1]
        for names in ("rax rcx rdx rbx", "rsp rbp rsi rdi", "r8  r9  r10 r11", "r12 r13 r14 r15"):
            self.find(" ".join(f"{name:3} [0-9a-f]{{16}}" for name in names.split()), errors)
        self.find("cr0 0{8}80010033 cr2 [0-9a-f]{16} cr3 .* cr4 .* efer [0-9a-f]{13}d01", errors)
        self.find("gdt [0-9a-f]{16}/[0-9a-f]{4} idt 0{16}/0000", errors)
        for name in ("ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR"):
            self.find(f"{name:4} [0-9a-f]{{4}} base [0-9a-f]{{16}} limit [0-9a-f]{{8}} attributes [0-9a-f]{{4}}", errors)
        self.find(f"64-bit code around rip, at linear address {rip}:", errors)
        self.find(f"> {rip} 0f0b +ud2", errors)
        self.find("  [0-9a-f]{16} 0f015c24.. +lidt .*", errors)

    def test_exceptions(self):
        errors = self.crash(0)
        rip = self.find("rip ([0-9a-f]{16}) .*", errors)[1]
        if lodge.ENGINE == "dbt":
            self.find(f"exception 6 at rip {rip}", errors)
            self.find(f"exception 13 at rip {rip} error 0033", errors)  # entry 6 of the IDT, from outside
            self.assertEqual(len([line for line in errors if "exception" in line]), 4)
        else:
            self.find("the last exceptions are not known: engine .* does not see them", errors)

    def test_page_tables_are_gone(self):
        errors = self.crash(4)
        rip = self.find("rip ([0-9a-f]{16}) .*", errors)[1]
        self.find(rf"the code at rip is not mapped \(linear address {rip}\)", errors)
        if lodge.ENGINE == "dbt":
            self.find(f"exception 14 at rip {rip} error 0010 address {rip}", errors)

    def test_thirty_two_bit_code(self):
        kernel = self.build_guest("console")
        result = lodge.run(["run", "--engine", lodge.ENGINE, "-m", "16M", "--kernel", kernel], input=b"t", stdin=None)
        errors = result.stderr.decode().splitlines()
        self.assertEqual(result.returncode, lodge.EXIT_TRIPLE_FAULT)
        rip = self.find("rip ([0-9a-f]{16}) .*", errors)[1]
        self.find(f"32-bit code around rip, at linear address {rip}:", errors)
        listing = subprocess.run(["objdump", "-d", "-M", "intel", kernel], capture_output=True, text=True, check=True)
        mnemonic = re.search(rf"^ *{rip.lstrip('0')}:\t[0-9a-f ]+\t(\S+)", listing.stdout, re.M)[1]
        self.find(f"> {rip} [0-9a-f]+ +{mnemonic}.*", errors)


if __name__ == "__main__":
    lodge.main()
