#!/usr/bin/env python3
"""What a kernel's author has: the debug ports, the report on a triple fault, traces."""

import os
import re
import signal
import subprocess
import time
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


EVENT = re.compile(r"(\d+) (\d+) (-|\d+) (\w+) ([\w-]+)((?: [\w-]+=\S+)*)")
KINDS = ["exits", "irq", "exceptions", "mmio", "pio", "msr", "cr", "power"]


class Event:
    """A line of a trace, as lodge-run(1) describes it."""

    def __init__(self, line):
        match = EVENT.fullmatch(line)
        if match is None:
            raise AssertionError(f"not a line of a trace: {line!r}")
        self.ns, self.tsc = int(match[1]), int(match[2])
        self.cpu = None if match[3] == "-" else int(match[3])
        self.kind, self.name = match[4], match[5]
        self.values = dict(pair.split("=", 1) for pair in match[6].split())

    def number(self, name):
        return int(self.values[name], 0)


class Trace(lodge.TestCase):
    def trace(self, kinds, name, options="", *arguments, status=1):
        """The events of a run."""
        path = self.folder / "trace"
        path.unlink(missing_ok=True)
        result = guest(name, options, "--debug-exit", "--trace", kinds, "--trace-file", str(path), *arguments)
        self.assertEqual(result[0], status, result)
        return self.events(path.read_text())

    def events(self, text):
        self.assertEqual(text[-1:], "\n" if text else "")
        events = [Event(line) for line in text.splitlines()]
        self.assertEqual([event.ns for event in events], sorted(event.ns for event in events))
        return events

    def test_ports(self):
        """What the guest prints is what the trace has seen."""
        events = self.trace("pio", "hello")
        self.assertEqual({event.kind for event in events}, {"pio"})
        for device, address, text in (("isa/uart0", 0x3F8, "hello: serial port, 0 failures"),
                                      ("isa/debug-console", 0xE9, "hello: debug console, 0 failures")):
            written = bytes(event.number("value") for event in events
                            if event.name == "write" and event.values["device"] == device
                            and event.number("address") == address)
            self.assertIn(text.encode(), written)
        last = events[-1]
        self.assertEqual((last.name, last.values["device"], last.number("address"), last.number("value"), last.cpu),
                         ("write", "isa/debug-exit", 0xF4, 0, 0))

    def test_kinds_are_what_was_asked_for(self):
        for kind in KINDS:
            events = self.trace(kind, "hello")
            self.assertLessEqual({event.kind for event in events}, {kind})
        everything = self.trace("all", "hello")
        listed = self.trace(",".join(KINDS), "hello")
        self.assertEqual({event.kind for event in everything}, {event.kind for event in listed})

    @unittest.skipUnless(lodge.ENGINE == "dbt", "only the translator tells these")
    def test_the_way_into_long_mode(self):
        events = self.trace("cr,msr", "hello")
        registers = [event.values.get("register") or hex(event.number("index")) for event in events]
        self.assertEqual(registers, ["cr4", "cr3", "efer", "0xc0000080", "efer", "cr0"])
        self.assertEqual(events[3].values["result"], "ok")
        self.assertEqual(events[4].number("value") & 0x500, 0x500)  # LME and LMA
        self.assertEqual(events[5].number("value") & 0x80000001, 0x80000001)

    @unittest.skipUnless(lodge.ENGINE == "dbt", "only the translator tells these")
    def test_exceptions(self):
        events = self.trace("exceptions", "shutdown", "console=serial case=4", status=lodge.EXIT_TRIPLE_FAULT)
        last = events[-4:]
        self.assertEqual([event.number("vector") for event in last], [14, 14, 8, 14])
        self.assertEqual(last[0].values["cr2"], last[0].values["rip"])
        self.assertEqual(last[0].number("error"), 0x10)
        self.assertNotIn("cr2", last[2].values)

    def test_processors(self):
        """INIT, start-up and sleep of a second processor, and the interrupts that wake it."""
        events = self.trace("power,irq", "smp", "cpus=2", "-c", "2")
        power = [event.name for event in events if event.kind == "power" and event.cpu == 1]
        self.assertEqual(power[:2], ["init", "sipi"])
        self.assertGreater(power.count("wake"), 10)
        for before, after in zip(power, power[1:]):
            self.assertIn((before, after), {("init", "init"), ("init", "sipi"), ("sipi", "halt"), ("sipi", "init"),
                                            ("halt", "wake"), ("halt", "init"), ("wake", "halt"), ("wake", "init")})
        self.assertEqual([event.name for event in events if event.kind == "power" and event.cpu is None], ["start"])
        accepted = [event for event in events if event.name == "accept" and event.number("to") == 1]
        self.assertGreater({event.values["mode"] for event in accepted}, {"init", "startup", "fixed"})
        delivered = [event for event in events if event.name == "deliver" and event.cpu == 1]
        self.assertLessEqual({event.number("vector") for event in delivered if event.values["what"] == "interrupt"},
                             {event.number("vector") for event in accepted})
        self.assertGreater(len(delivered), 10)

    def test_timer_interrupts_follow_their_wires(self):
        events = self.trace("irq", "apic")
        lines = {event.values["wire"] for event in events if event.name == "line"}
        self.assertIn("ioapic", lines)
        messages = [event for event in events if event.name == "message"]
        self.assertTrue(messages)
        for event in messages:
            self.assertEqual(event.number("address") >> 20, 0xFEE)

    def test_standard_error_and_the_default_file(self):
        status, _, errors = guest("hello", "", "--debug-exit", "--trace", "power", "--trace-file", "-")
        self.assertEqual(status, 1)
        self.assertEqual([event.name for event in self.events("\n".join(errors) + "\n")], ["start", "debug-exit"])
        result = subprocess.run(
            [os.path.abspath(lodge.LODGE), "run", "--engine", lodge.ENGINE, "-m", "64M", "--debug-exit", "--name",
             "probe", "--kernel", lodge.GUESTS.absolute() / "hello", "--trace", "power"],
            cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=lodge.PATIENCE, check=False,
        )
        self.assertEqual((result.returncode, result.stderr), (1, b""))
        self.assertEqual(len(self.events((self.folder / "probe.trace").read_text())), 2)

    def machine(self, path, *arguments):
        machine = lodge.Machine(["--kernel", self.build_guest("console"), "-m", "16M", "--trace", "all",
                                 "--trace-file", str(path), *arguments])
        self.addCleanup(machine.close)
        machine.expect(b"ready\n")
        return machine

    def test_nothing_is_lost_at_the_end(self):
        """Also when a signal ends the run, in the middle of output."""
        path = self.folder / "signal.trace"
        machine = self.machine(path)
        machine.send(b"abcf")
        machine.expect(b"abc")
        machine.signal(signal.SIGTERM)
        self.assertEqual(machine.wait(timeout=20), -signal.SIGTERM)
        events = self.events(path.read_text())
        self.assertIn("stopped", [event.name for event in events if event.kind == "power"])
        self.assertEqual(machine.errors(), "")

    def test_a_restart_goes_on_in_the_same_file(self):
        path = self.folder / "restart.trace"
        machine = self.machine(path)
        machine.send(b"r")
        machine.expect(b"ready\n")
        machine.send(b"q")
        self.assertEqual(machine.wait(), lodge.EXIT_OK)
        power = [event.name for event in self.events(path.read_text()) if event.kind == "power"]
        self.assertEqual([name for name in power if name not in ("halt", "wake")],
                         ["start", "reset", "start", "power-off"])

    def test_a_trace_that_nobody_reads_does_not_hold_the_machine(self):
        path = self.folder / "fifo"
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            machine = self.machine(path)
            machine.send(b"f")  # it prints for ever
            seen, limit = 0, time.monotonic() + lodge.PATIENCE
            while seen < 2000000 and time.monotonic() < limit:
                seen += len(machine.read_some(1))
            self.assertGreaterEqual(seen, 2000000)
            machine.signal(signal.SIGTERM)
            self.assertEqual(machine.wait(timeout=20), -signal.SIGTERM)
            self.assertRegex(machine.errors(), r"trace: \d+ events are missing")
        finally:
            os.close(reader)

    def test_a_full_disk_is_said_once(self):
        machine = self.machine("/dev/full")
        machine.send(b"abcq")
        machine.expect(b"abc")
        self.assertEqual(machine.wait(), lodge.EXIT_OK)
        self.assertEqual(machine.errors().count("cannot write the trace /dev/full: No space left"), 1)


if __name__ == "__main__":
    lodge.main()
