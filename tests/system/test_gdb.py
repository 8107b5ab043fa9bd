#!/usr/bin/env python3
"""Stock GDB on guests: a program of ours with its symbols, and a Debian kernel.

LODGE_GUESTS is where tests/guest was built. With LODGE_VMLINUX, a vmlinux with debug information of the very kernel
that tools/guest-image fetches (Debian's linux-image-VERSION-dbg), the kernel is debugged at its source level too.
"""

import os
import pathlib
import re
import select
import shutil
import signal
import socket
import subprocess
import time
import unittest

import lodge

GUESTS = pathlib.Path(os.environ.get("LODGE_GUESTS", "build/tests/guest"))
VMLINUX = os.environ.get("LODGE_VMLINUX")

# Where the symbols of a kernel without kernel address space randomization begin.
KERNEL_TEXT = 0xFFFFFFFF81000000
KERNEL_SYMBOLS = ["start_kernel", "rest_init", "kernel_init", "do_sys_openat2", "__x64_sys_openat", "do_syscall_64",
                  "entry_SYSCALL_64", "_stext", "schedule"]


# What GDB prints of a place in the code: with and without its source.
WHERE = r" in |\) at "


class Gdb:
    """GDB with its terminal on pipes. What a command prints is its answer."""

    def __init__(self, program=None):
        self.output = b""
        self.count = 0
        self.process = subprocess.Popen(
            ["gdb", "-nx", "-q", *([str(program)] if program else [])], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, bufsize=0, start_new_session=True,
        )
        for setting in ("pagination off", "confirm off", "width 0", "height 0", "debuginfod enabled off",
                        "print entry-values no"):
            self.command("set " + setting)

    def start(self, text):
        self.count += 1
        self.marker = f"<<{self.count}>>"
        self.process.stdin.write(f"{text}\nprintf \"<<%d>>\\n\", {self.count}\n".encode())

    def answer(self, timeout=lodge.PATIENCE):
        limit = time.monotonic() + timeout
        while self.marker.encode() + b"\n" not in self.output:
            left = limit - time.monotonic()
            ready = left > 0 and select.select([self.process.stdout], [], [], left)[0]
            data = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not data:
                raise AssertionError(f"GDB does not come back; its last words: {self.output[-2000:]!r}")
            self.output += data
        before, _, self.output = self.output.partition(self.marker.encode() + b"\n")
        return before.decode(errors="replace").replace("(gdb) ", "")

    def command(self, text, timeout=lodge.PATIENCE):
        self.start(text)
        return self.answer(timeout)

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)

    def value(self, expression):
        printed = self.command(f"output/d (long){expression}").strip()
        return int(printed)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@unittest.skipIf(shutil.which("gdb") is None, "gdb is not installed")
class WithGdb(lodge.TestCase):
    def setUp(self):
        self.socket = str(self.folder / f"gdb-{self.id().rsplit('.', 1)[-1]}")

    def machine(self, *arguments, gdb=None, **popen):
        machine = lodge.Machine(["--gdb", gdb or "unix:" + self.socket, *arguments], stderr=subprocess.STDOUT, **popen)
        self.addCleanup(machine.close)
        machine.expect(b"gdb: listening at ")
        return machine

    def gdb(self, program=None, where=None):
        gdb = Gdb(program)
        self.addCleanup(gdb.close)
        if where is not False:
            self.connect(gdb, where)
        return gdb

    def connect(self, gdb, where=None):
        answer = gdb.command(f"target remote {where or self.socket}")
        self.assertRegex(answer, WHERE)
        return answer


class Program(WithGdb):
    """tests/guest/debuggee.c"""

    def debuggee(self, *words, cpus=2, gdb=None, arguments=()):
        return self.machine(
            "-c", str(cpus), "-m", "64M", "--debug-exit", "--kernel", str(GUESTS / "debuggee"), "--append",
            " ".join(["console=serial", f"cpus={cpus}", *words]), *arguments, gdb=gdb,
        )

    def debug(self, *words, cpus=2, arguments=()):
        machine = self.debuggee(*words, cpus=cpus, arguments=arguments)
        return machine, self.gdb(GUESTS / "debuggee.elf64")

    def assert_passes(self, machine):
        machine.expect(b" 0 failures")
        self.assertEqual(machine.wait(), 1)

    def test_breakpoints_and_stack(self):
        machine, gdb = self.debug()
        gdb.command("break inner")
        self.assertIn("Breakpoint 1, inner (n=3)", gdb.command("continue"))
        stack = gdb.command("bt")
        self.assertRegex(stack, r"(?s)#0  inner \(n=3\).*#1 .* middle \(n=2\).*#2 .* outer \(n=1\).*#3 .* test_main \(\)")
        # INT3 is in memory, and nobody sees it.
        self.assertNotIn("int3", gdb.command("x/4i inner"))
        self.assertIn("Value returned is $1 = 8", gdb.command("finish"))
        self.assertIn("Breakpoint 1, inner (n=5)", gdb.command("continue"))
        gdb.command("delete")
        gdb.command("hbreak outer")
        self.assertIn("outer (n=3)", gdb.command("continue"))
        self.assertEqual(gdb.value("watched"), 9)
        gdb.command("delete")
        gdb.command("tbreak inner if n == 7")
        self.assertIn("inner (n=7)", gdb.command("continue"))
        self.assertIn("exited with code 01", gdb.command("continue"))
        self.assert_passes(machine)

    def test_watchpoints(self):
        machine, gdb = self.debug()
        gdb.command("break test_main")
        gdb.command("continue")
        gdb.command("watch watched")
        answer = gdb.command("continue")
        self.assertRegex(answer, r"(?s)Hardware watchpoint 2: watched.*Old value = 1.*New value = 4.*inner")
        gdb.command("delete")
        gdb.command("rwatch watched")
        self.assertRegex(gdb.command("continue"), r"(?s)Hardware read watchpoint 3: watched.*Value = 4")
        gdb.command("delete")
        gdb.command("awatch result")
        self.assertRegex(gdb.command("continue"), r"(?s)access.*result.*Old value = 10.*New value = 20")
        gdb.command("delete")
        # Four at a time.
        for variable in ("watched", "result", "vector[0]", "vector[2]"):
            gdb.command(f"watch {variable}")
        gdb.command("watch go_on")
        self.assertIn("Could not insert hardware", gdb.command("continue"))
        gdb.command("delete")
        self.assertIn("exited", gdb.command("continue"))
        self.assert_passes(machine)

    def test_steps(self):
        machine, gdb = self.debug()
        gdb.command("break outer")
        gdb.command("continue")
        self.assertIn("middle", gdb.command("step"))
        before = gdb.value("$rip")
        gdb.command("stepi")
        self.assertGreater(gdb.value("$rip"), before)
        self.assertLess(gdb.value("$rip"), before + 16)
        gdb.command("delete")
        gdb.command("advance inner")
        self.assertIn("watched * 2", gdb.command("next"))
        self.assertEqual(gdb.value("watched"), 4)
        self.assertNotIn("TF", gdb.command("p $eflags"))
        self.assertIn("middle", gdb.command("finish"))
        self.assertIn("exited", gdb.command("continue"))
        self.assert_passes(machine)

    def test_registers_and_memory(self):
        machine, gdb = self.debug(cpus=1)
        gdb.command("break inner")
        gdb.command("continue")
        self.assertIn("[ PE", gdb.command("p $cr0"))
        self.assertIn("LMA", gdb.command("p $efer"))
        self.assertGreater(gdb.value("$cr3"), 0)
        self.assertEqual(gdb.value("$cs"), 8)
        # The guest computes with what is written.
        gdb.command("set $rdi = 100")
        gdb.command("set var watched = 11")
        gdb.command("delete")
        gdb.command("tbreak store_vector")
        gdb.command("continue")
        self.assertEqual(gdb.value("watched"), 11 + 100 + 5 + 7)
        gdb.command("set var $xmm1.v4_int32[0] = 0x12345678")
        gdb.command("finish")
        self.assertEqual(gdb.value("vector[0]"), 0x12345678)
        if re.search(r"(?m)^ymm1 ", gdb.command("info all-registers")):  # the host has AVX
            self.assertEqual(gdb.value("$ymm1.v8_int32[0]"), 0x12345678)
        gdb.command("set var result = 34")
        self.assertIn("Cannot access memory", gdb.command("x/x 0x7f0000000000"))
        self.assertIn("Cannot access memory", gdb.command("set var *(int *)0x7f0000000000 = 1"))
        # Identity-mapped: the same by physical address.
        address = gdb.value("&watched")
        self.assertRegex(gdb.command(f"monitor xp/1dg {address:#x}"), r": 123\n")
        gdb.command("monitor phys on")
        gdb.command("maintenance flush dcache")
        self.assertEqual(gdb.value("watched"), 123)
        self.assertIn("ring 0", gdb.command("monitor regs"))
        self.assertIn("engine " + lodge.ENGINE, gdb.command("monitor info"))
        gdb.command("monitor phys off")
        self.assertIn("exited", gdb.command("continue"))
        self.assertEqual(machine.wait(), 3)  # its assertion fails, for we have changed the result

    def test_processors(self):
        machine, gdb = self.debug("wait")
        threads = gdb.command("info threads")
        self.assertRegex(threads, r"(?s)\* 1 .*CPU 0, running.*2 .*CPU 1, waiting to be started")
        gdb.command("break spin if $_thread == 2")
        self.assertIn("Thread 2 hit Breakpoint 1, spin", gdb.command("continue"))
        gdb.command("delete")
        # The other stays while one is stepped.
        gdb.command("watch counters[1]")
        self.assertIn("New value = 1", gdb.command("continue"))
        gdb.command("delete")
        gdb.command("thread 2")
        gdb.command("stepi")
        before = gdb.value("counters[0]")
        for _ in range(20):
            gdb.command("stepi")
        self.assertEqual(gdb.value("counters[0]"), before)
        self.assertGreater(gdb.value("counters[1]"), 1)
        gdb.command("thread 1")
        gdb.command("set var go_on = 1")
        self.assertIn("exited", gdb.command("continue"))
        self.assert_passes(machine)

    def test_interrupt_and_detach(self):
        machine, gdb = self.debug("wait")
        for _ in range(3):
            gdb.start("continue")
            time.sleep(0.3)
            gdb.interrupt()
            self.assertIn("received signal SIGINT", gdb.answer())
            self.assertGreater(gdb.value("counters[0]"), 0)
        gdb.command("break spin")
        gdb.command("set var go_on = 1")
        self.assertIn("detached", gdb.command("detach"))
        self.assert_passes(machine)

    def test_attach_to_a_running_machine(self):
        machine = self.debuggee("wait", gdb="unix:" + self.socket + ",nowait")
        time.sleep(0.5)
        gdb = self.gdb(GUESTS / "debuggee.elf64")
        self.assertIn("spin", gdb.command("bt"))
        seen = gdb.value("counters[0]")
        gdb.command("detach")
        time.sleep(0.2)
        self.connect(gdb)
        self.assertGreater(gdb.value("counters[0]"), seen)
        # Only one at a time.
        second = self.gdb(where=False)
        self.assertNotRegex(second.command(f"target remote {self.socket}", timeout=30), WHERE)
        machine.expect(b"there is a debugger already")
        # A debugger that dies leaves the machine as it is, without its breakpoints.
        gdb.command("break spin")
        gdb.command("stepi")
        gdb.close()
        machine.expect(b"stands still until another one comes")
        self.connect(second)
        second.command(f"file {GUESTS / 'debuggee.elf64'}")
        second.command("set var go_on = 1")
        self.assertIn("exited", second.command("continue"))
        self.assert_passes(machine)

    def test_kill(self):
        machine, gdb = self.debug("wait")
        self.assertIn("killed", gdb.command("kill"))
        self.assertEqual(machine.wait(), 0)
        self.assertFalse(os.path.exists(self.socket))

    def test_quit(self):
        machine, gdb = self.debug("wait")
        gdb.command("monitor quit")
        self.assertEqual(machine.wait(), 0)

    def test_reset(self):
        machine, gdb = self.debug(arguments=["--no-reboot"])
        start = gdb.value("$rip")
        gdb.command("break inner")
        gdb.command("continue")
        self.assertEqual(gdb.value("watched"), 1)
        gdb.command("set var watched = 5")
        for _ in range(2):
            self.assertIn("starts again", gdb.command("monitor reset"))
            gdb.command("maintenance flush register-cache")
            self.assertEqual(gdb.value("$rip"), start)
            self.assertIn("inner (n=3)", gdb.command("continue"))
            self.assertEqual(gdb.value("watched"), 1)
        gdb.command("delete")
        self.assertIn("exited", gdb.command("continue"))
        self.assert_passes(machine)

    def test_guest_restarts(self):
        machine, gdb = self.debug("restart")
        start = gdb.value("$rip")
        gdb.command("break store_vector")
        for _ in range(2):
            self.assertIn("store_vector", gdb.command("continue"))
            gdb.command("set var watched = 99")
            # It stops where it starts, with its memory as it was.
            self.assertIn("SIGTRAP", gdb.command("continue"))
            self.assertEqual(gdb.value("$rip"), start)
            self.assertEqual(gdb.value("watched"), 1)
        self.assertIn("killed", gdb.command("kill"))
        self.assertEqual(machine.wait(), 0)

    def test_triple_fault(self):
        machine = self.machine("-m", "64M", "--kernel", str(GUESTS / "shutdown"), "--append", "console=serial")
        gdb = self.gdb(GUESTS / "shutdown.elf64")
        self.assertIn("SIGSEGV", gdb.command("continue"))
        self.assertIn("test_main", gdb.command("bt"))
        self.assertIn("ud2", gdb.command("x/i $rip"))
        self.assertIn("exited with code 03", gdb.command("continue"))
        self.assertEqual(machine.wait(), 3)

    def test_run_again(self):
        machine, gdb = self.debug()
        gdb.command("disconnect")
        self.assertRegex(gdb.command(f"target extended-remote {self.socket}"), WHERE)
        gdb.command("break inner")
        gdb.command("continue")
        gdb.command("continue")
        self.assertIn("inner (n=3)", gdb.command("run"))
        gdb.command("delete")
        # Killed, the machine waits for `run`, or for the end.
        self.assertIn("killed", gdb.command("kill"))
        self.assertIn("exited", gdb.command("run"))
        self.assert_passes(machine)

    def test_tcp(self):
        machine = self.debuggee(gdb=":0")
        where = machine.expect(b";").decode()
        self.assertRegex(where, r"^127\.0\.0\.1:[0-9]+$")
        gdb = self.gdb(GUESTS / "debuggee.elf64", where)
        self.assertIn("exited", gdb.command("continue"))
        self.assert_passes(machine)

    def test_i386(self):
        machine = self.debuggee(gdb="unix:" + self.socket + ",i386")
        gdb = self.gdb(GUESTS / "debuggee")  # the same in a 32-bit file
        self.assertIn("start32", gdb.command("bt"))
        gdb.command("stepi")
        self.assertRegex(gdb.command("info registers"), r"(?s)eax .*esp .*eip .*start32")
        self.assertEqual(gdb.value("$cr0 & 1"), 1)
        self.assertIn("exited", gdb.command("continue"))
        self.assert_passes(machine)

    # Bytes that no debugger sends do no harm.
    def test_rubbish(self):
        machine = self.debuggee("wait")
        for rubbish in (b"$" * 5000, b"$g#67" * 300, os.urandom(20000), b"$m0,ffffffffffffffff#zz\x03\x03+-+-$#00"):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(20)
                connection.connect(self.socket)
                try:
                    connection.sendall(rubbish)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
                except OSError:
                    pass
        gdb = self.gdb(GUESTS / "debuggee.elf64")
        gdb.command("kill")
        self.assertEqual(machine.wait(), 0)


class Usage(lodge.TestCase):
    def refused(self, address, expected):
        result = lodge.run(["run", "--engine", lodge.ENGINE, "--kernel", "/dev/null", "--gdb", address])
        message = result.stderr.decode()
        self.assertEqual(result.returncode, lodge.EXIT_USAGE, message)
        self.assertRegex(message, rf"^lodge: --gdb .*{expected}.*\n$")

    def test_addresses(self):
        self.refused("0.0.0.0:1234", "only loopback")
        self.refused("192.168.0.1:1234,nowait", "only loopback")
        self.refused("[::]:1234", "only loopback")
        self.refused("1234567", "neither HOST:PORT")
        self.refused("example.com:1", "neither HOST:PORT")
        self.refused("unix:", "path of a socket")

    def test_taken(self):
        kernel = GUESTS / "debuggee"
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            port = listener.getsockname()[1]
            result = lodge.run(["run", "--engine", lodge.ENGINE, "--kernel", kernel, "--gdb", f":{port}"])
        self.assertEqual(result.returncode, lodge.EXIT_FAILED)
        self.assertRegex(result.stderr.decode(), r"cannot listen there: Address already in use\n$")


class Kernel(WithGdb):
    """A Debian kernel."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.kernel = lodge.guest_image("kernel", "cloud")
        cls.initramfs = lodge.guest_image("initramfs")

    def boot(self, *arguments):
        return self.machine(
            "-c", "2", "-m", "512M", "--no-reboot", "--kernel", self.kernel, "--initrd", self.initramfs, *arguments,
            "--append", "console=ttyS0 nokaslr quiet panic=-1",
        )

    def symbols(self):
        """Some of the kernel's symbols, from itself, in a file that GDB can read."""
        script = self.folder / "run"
        script.write_text("#!/bin/sh\ndmesg -n 1\necho '<symbols>'\ngrep -E ' (%s)$' /proc/kallsyms\necho '</symbols>'\n"
                          % "|".join(KERNEL_SYMBOLS))
        job = self.folder / "job.cpio"
        lodge.guest_image("job", job, script)
        result = lodge.run(
            ["run", "--engine", lodge.ENGINE, "--no-reboot", "-m", "512M", "--kernel", self.kernel, "--initrd",
             self.initramfs, "--initrd", job, "--append", "console=ttyS0 nokaslr quiet panic=-1"],
            timeout=4 * lodge.PATIENCE,
        )
        output = result.stdout.decode(errors="replace").replace("\r\n", "\n")
        table = output.split("<symbols>\n", 1)[1].split("</symbols>", 1)[0]
        found = sorted((int(address, 16), name) for address, _, name in map(str.split, table.splitlines()))
        self.assertEqual({name for _, name in found}, set(KERNEL_SYMBOLS))
        return self.assemble(found)

    def assemble(self, found):
        source, target = self.folder / "symbols.S", self.folder / "symbols"
        lines = ['.section .symbols,"ax",@nobits']
        for address, name in found:
            lines += [f".org {address - KERNEL_TEXT:#x}", f".globl {name}", f".type {name}, @function", f"{name}:"]
        lines += [".skip 0x1000"]
        source.write_text("\n".join(lines) + "\n")
        subprocess.run(
            ["gcc", "-nostdlib", "-static", "-no-pie", f"-Wl,--section-start=.symbols={KERNEL_TEXT:#x},-e,_stext,--build-id=none",
             "-o", target, source],
            check=True, timeout=lodge.PATIENCE,
        )
        return target

    def assert_lives(self, machine, gdb):
        """The kernel goes on to its shell, and time has not jumped: no watchdog complains."""
        self.assertIn("detached", gdb.command("detach"))
        machine.expect(b"/root # ", 2 * lodge.PATIENCE)
        machine.send(b"dmesg | grep -c -i -E 'lockup|stall|clocksource.*unstable'; poweroff -f\n")
        machine.expect(b"\r\n0\r\n")
        self.assertEqual(machine.wait(), 0)

    def test_boot(self):
        symbols = self.symbols()
        machine = self.boot()
        gdb = self.gdb(symbols)
        # Not mapped yet: the breakpoint waits in a debug register.
        gdb.command("break *start_kernel")
        self.assertIn("Breakpoint 1, ", gdb.command("continue"))
        self.assertEqual(gdb.value("$rip - (long)&start_kernel"), 0)
        self.assertIn("[ PE", gdb.command("p $cr0"))
        self.assertRegex(gdb.command("monitor info"), rf"cr3 0*{gdb.value('$cr3') & ~0xfff:x}")
        gdb.command("stepi")
        self.assertNotEqual(gdb.value("$rip - (long)&start_kernel"), 0)
        gdb.command("break *do_sys_openat2")
        self.assertIn("Breakpoint 2, ", gdb.command("continue", 2 * lodge.PATIENCE))
        # The return address, and the name in user memory through the process's page tables.
        self.assertRegex(gdb.command("x/a $rsp"), "<__x64_sys_openat|<do_sys_openat2")
        self.assertIn('"/', gdb.command("x/s $rsi"))
        self.assertIn("Breakpoint 2, ", gdb.command("continue"))
        gdb.command("delete")
        gdb.command("hbreak *schedule")
        for _ in range(20):
            self.assertIn("schedule", gdb.command("continue"))
            gdb.command("stepi")
        time.sleep(3)  # nothing of this the guest must notice
        gdb.command("delete")
        gdb.start("continue")
        time.sleep(1)
        gdb.interrupt()
        self.assertIn("SIGINT", gdb.answer())
        self.assert_lives(machine, gdb)

    @unittest.skipIf(VMLINUX is None, "LODGE_VMLINUX is not set")
    def test_source_level(self):
        machine = self.boot()
        gdb = self.gdb(VMLINUX)
        gdb.command("break start_kernel")
        self.assertIn("start_kernel () at init/main.c", gdb.command("continue"))
        self.assertIn("secondary_startup_64", gdb.command("bt"))
        gdb.command("break do_sys_openat2")
        self.assertIn("do_sys_openat2 (dfd=", gdb.command("continue", 2 * lodge.PATIENCE))
        stack = gdb.command("bt")
        self.assertRegex(stack, r"(?s)#0  do_sys_openat2 .*do_sys_open .*do_syscall_64 .*entry_SYSCALL_64")
        self.assertIn('"/', gdb.command("p filename"))
        for _ in range(5):
            self.assertNotIn("Cannot", gdb.command("next"))
        gdb.command("delete")
        self.assertIn("__x64_sys_openat", gdb.command("finish"))
        self.assertIn("Linux version", gdb.command("x/s linux_banner"))
        self.assert_lives(machine, gdb)


if __name__ == "__main__":
    lodge.main()
