#!/usr/bin/env python3
"""The process that runs a machine, seen from outside: what it has given up, and that this does not show."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import lodge
from lodge import Machine

NOBODY = 65534
MAIN = pathlib.Path(lodge.LODGE).name[:15]  # the main thread's name


def status_of(folder):
    """The lines of a status file under /proc, by name."""
    lines = (pathlib.Path(folder) / "status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def children_of(process):
    return [int(word) for word in pathlib.Path(f"/proc/{process}/task/{process}/children").read_text().split()]


class Sandbox(lodge.ConsoleCase):
    def threads(self, machine):
        """name -> status; threads of the same name are counted."""
        found = {}
        for task in pathlib.Path(f"/proc/{machine.process.pid}/task").iterdir():
            status = status_of(task)
            name = status["Name"]
            while name in found:
                name += "'"
            found[name] = status
        return found


class Status(Sandbox):
    def settled(self, machine, names):
        """The threads, once each of these has its name and its list; a processor that sleeps may be late."""
        limit = time.monotonic() + 10
        while True:
            threads = self.threads(machine)
            if names <= set(threads) and sum(status["Seccomp_filters"] == "2" for status in threads.values()) >= len(names) - 1:
                return threads
            self.assertLess(time.monotonic(), limit, threads)
            time.sleep(0.01)

    def check_thread(self, name, status):
        with self.subTest(thread=name):
            self.assertEqual(status["NoNewPrivs"], "1")
            self.assertEqual(status["Seccomp"], "2")
            for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                self.assertEqual(int(status[kind], 16), 0, kind)

    def test_every_thread_is_inside(self):
        trace = self.folder / "inside.trace"
        machine = self.ready("-c", "2", "--trace", "power", "--trace-file", str(trace))
        for _ in range(2):
            threads = self.settled(machine, {MAIN, MAIN + "'", "lodge/trace", "lodge/cpu0", "lodge/cpu1"})
            for name, status in threads.items():
                self.check_thread(name, status)
            filters = {name: int(status["Seccomp_filters"]) for name, status in threads.items()}
            self.assertEqual(sorted(filters.values()), [1, 2, 2, 2, 2])
            self.assertEqual(filters["lodge/cpu0"], 2, "a vCPU has less than the main thread")
            self.assertEqual(filters["lodge/trace"], 2)
            machine.send(b"r")  # and those of the next machine are, too
            machine.expect(b"ready\n")

    def test_root_becomes_nobody(self):
        if os.geteuid() != 0:
            self.skipTest("only root can")
        for name, status in self.threads(self.ready()).items():
            with self.subTest(thread=name):
                self.assertEqual(status["Uid"].split(), [str(NOBODY)] * 4)
                self.assertEqual(status["Gid"].split(), [str(NOBODY)] * 4)
                self.assertEqual(status["Groups"], "")
                self.assertEqual(int(status["CapBnd"], 16), 0)

    def test_root_becomes_somebody_else(self):
        if os.geteuid() != 0:
            self.skipTest("only root can")
        status = status_of(f"/proc/{self.ready('--user', '12345').process.pid}")
        self.assertEqual((status["Uid"].split(), status["Gid"].split()), (["12345"] * 4, ["12345"] * 4))

    def test_root_may_stay_root(self):
        if os.geteuid() != 0:
            self.skipTest("only root can")
        machine = self.ready("--user", "keep")
        status = status_of(f"/proc/{machine.process.pid}")
        self.assertEqual(status["Uid"].split(), ["0"] * 4)
        self.check_thread("main", status)
        self.assertEqual(int(status["CapBnd"], 16), 0)

    def test_off(self):
        machine = self.ready("--sandbox", "off")
        status = status_of(f"/proc/{machine.process.pid}")
        mine = status_of("/proc/self")
        for name in ("Uid", "NoNewPrivs", "Seccomp", "CapEff"):
            self.assertEqual(status[name], mine[name], name)
        self.assertEqual(children_of(machine.process.pid), [])

    def test_strict(self):
        """Runs, or says which layer is missing; here all of them are thought to be there."""
        machine = self.ready("--sandbox", "strict")
        machine.send(b"q")
        self.assertEqual(machine.wait(), lodge.EXIT_OK)
        self.assertEqual(machine.errors(), "")


class Opener(Sandbox):
    def test_is_shut_in_and_ends_with_the_machine(self):
        machine = self.ready()
        (opener,) = children_of(machine.process.pid)
        limit = time.monotonic() + 10
        while (status := status_of(f"/proc/{opener}"))["Name"] == MAIN or status["Seccomp"] == "0":
            self.assertLess(time.monotonic(), limit, "it is not shut in")  # that nobody waits for
            time.sleep(0.01)
        self.assertEqual((status["Name"], status["NoNewPrivs"], status["Seccomp"]), ("lodge/opener", "1", "2"))
        self.assertLess(len(os.listdir(f"/proc/{opener}/fd")), 2, "it holds nothing open but its socket")
        machine.signal(signal.SIGKILL)
        machine.wait()
        limit = time.monotonic() + 10
        while os.path.exists(f"/proc/{opener}") and status_of(f"/proc/{opener}")["State"][0] != "Z":
            self.assertLess(time.monotonic(), limit, "the opener stays behind")
            time.sleep(0.01)

    def test_is_not_there_for_nothing(self):
        self.assertEqual(children_of(self.ready("--no-reboot").process.pid), [])

    def test_reads_what_only_its_user_can(self):
        """A kernel that has been replaced, in a folder that nobody else may enter."""
        private = self.folder / "private"
        private.mkdir(mode=0o700)
        kernel = private / "kernel"
        original = pathlib.Path(self.kernel).read_bytes()
        kernel.write_bytes(original)
        machine = self.machine("--kernel", str(kernel))
        machine.expect(b"ready\n")
        replacement = private / "replacement"
        replacement.write_bytes(original.replace(b"ready\n", b"again\n"))
        replacement.chmod(0o600)
        replacement.rename(kernel)
        machine.send(b"r")
        machine.expect(b"again\n")

    def test_removes_the_debuggers_socket(self):
        private = self.folder / "sockets"
        private.mkdir(mode=0o700)
        path = private / "gdb"
        machine = self.ready("--gdb", f"unix:{path},nowait")
        self.assertTrue(path.is_socket())
        with socket.socket(socket.AF_UNIX) as debugger:
            debugger.connect(str(path))
            debugger.sendall(b"+$qSupported#37")
            self.assertEqual(debugger.recv(1), b"+")
        machine.signal(signal.SIGTERM)  # it stands still for the debugger
        self.assertEqual(machine.wait(), -signal.SIGTERM)
        self.assertFalse(path.exists())


class Work(Sandbox):
    """What a machine's process does in its life, inside."""

    def test_figures(self):
        machine = self.ready()
        for _ in range(2):
            machine.signal(signal.SIGUSR1)
            while b"own memory" not in (line := machine.process.stderr.readline()):
                self.assertNotEqual(line, b"")
            self.assertGreater(int(line.split()[-1]), 0)
            machine.send(b"r")
            machine.expect(b"ready\n")

    def test_many_restarts(self):
        machine = self.ready()
        for _ in range(20):
            machine.send(b"r")
            machine.expect(b"ready\n")
        machine.send(b"q")
        self.assertEqual(machine.wait(), lodge.EXIT_OK)
        self.assertEqual(machine.errors(), "")

    def test_stop_and_go_on(self):
        machine = self.ready()
        machine.signal(signal.SIGTSTP)
        limit = time.monotonic() + 10
        while status_of(f"/proc/{machine.process.pid}")["State"][0] != "T":
            self.assertLess(time.monotonic(), limit, "it does not stop")
            time.sleep(0.01)
        machine.signal(signal.SIGCONT)
        machine.send(b"z")
        machine.expect(b"z")


class Devices(Sandbox):
    """With all back ends that need no privileges."""

    BACK_ENDS = ("vsock", "slirp", "lodge/disk-io", "lodge/disk", "lodge/disk'")

    def disks(self):
        """A plain image and a qcow2 one, which grows."""
        raw, qcow2 = self.folder / "raw", self.folder / "qcow2"
        raw.unlink(missing_ok=True)
        qcow2.unlink(missing_ok=True)
        for name, size in ((raw, "64M"), (qcow2, "1G")):
            result = lodge.run(["image", "create", "-f", name.name, str(name), size])
            self.assertEqual(result.returncode, 0, result.stderr)
        return "-d", f"{raw},format=raw", "-d", str(qcow2)

    def everything(self):
        sockets = tempfile.mkdtemp(dir=self.folder)
        return (*self.disks(), "-n", "user", "--vsock", f"{sockets}/v", "--trace", "power",
                "--trace-file", f"{sockets}/trace")  # fmt: skip

    def test_every_thread_is_inside(self):
        """Who starts a back end's thread waits for it: they are inside before the guest says a word."""
        machine = self.ready(*self.everything())
        for _ in range(2):
            threads = self.threads(machine)
            for name in self.BACK_ENDS:
                self.assertIn(name, threads)
                self.assertEqual(threads[name]["Seccomp_filters"], "1", name)
            for name, status in threads.items():
                with self.subTest(thread=name):
                    self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
                    self.assertEqual(int(status["CapEff"], 16), 0)
                    if os.geteuid() == 0:
                        self.assertEqual(status["Uid"].split(), [str(NOBODY)] * 4)
            machine.send(b"r")
            machine.expect(b"ready\n")

    def inject(self, machine, name, call):
        """Lets a thread make a system call. What the debugger says; skips the test if it may not, on this host."""
        (task,) = (int(task.name) for task in pathlib.Path(f"/proc/{machine.process.pid}/task").iterdir()
                   if status_of(task)["Name"] == name and int(task.name) != machine.process.pid or
                   name == "main" and int(task.name) == machine.process.pid)  # fmt: skip
        result = subprocess.run(
            ["gdb", "-q", "-nx", "-batch", "-p", str(machine.process.pid), "-ex", "handle all nostop noprint pass",
             "-ex", f"python [t.switch() for t in gdb.selected_inferior().threads() if t.ptid[1] == {task}]",
             "-ex", f"call (long)syscall({call})"],
            capture_output=True, stdin=subprocess.DEVNULL, timeout=2 * lodge.PATIENCE, check=False,
        )  # fmt: skip
        if b"ptrace: Operation not permitted" in result.stderr:
            self.skipTest("this user may not debug other processes")
        return result.stdout.decode()

    def test_files_are_closed_to_a_user_network(self):
        """Its thread may open for reading: the list of name servers, and nothing else."""
        if not shutil.which("gdb"):
            self.skipTest("there is no gdb")
        machine = self.ready("-n", "user")
        for path, opens in (("/etc/passwd", False), ("/etc/resolv.conf", os.path.exists("/etc/resolv.conf"))):
            with self.subTest(path=path):
                said = self.inject(machine, "slirp", f'257, -100, "{path}", 0')  # openat
                self.assertRegex(said, r"(?m)^\$1 = \d+$" if opens else r"(?m)^\$1 = -1$")
        machine.send(b"q")
        self.assertEqual(machine.wait(), lodge.EXIT_OK)

    def test_a_call_that_is_not_in_the_list_is_the_end(self):
        """In every kind of thread of a machine, made by a debugger in the thread's name."""
        if not shutil.which("gdb"):
            self.skipTest("there is no gdb")
        for name in ("main", "lodge/cpu0", "lodge/trace", "lodge/disk-io", "lodge/disk", "vsock", "slirp"):
            with self.subTest(thread=name):
                arguments = self.everything()
                machine = self.ready(*arguments[2:])  # one disk, so that names are one thread's
                self.inject(machine, name, "59, 0, 0, 0")
                self.assertEqual(machine.wait(), -signal.SIGSYS)
                thread = MAIN if name == "main" else name
                self.assertEqual(
                    machine.errors(),
                    f"lodge: the sandbox ends the machine: thread {thread} made system call 59 (execve), "
                    "which it has no need of\n",
                )

    DRIVERS = (
        "virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk", "failover",
        "net_failover", "virtio_net", "vsock", "vmw_vsock_virtio_transport_common", "vmw_vsock_virtio_transport",
    )  # fmt: skip

    SCRIPT = """set -e
dmesg -n 1
for name in %(drivers)s; do insmod ./$name.ko; done
for disk in vda vdb; do
    mke2fs -q /dev/$disk
    mount -t ext4 -o discard /dev/$disk /tmp
    dd if=/dev/zero of=/tmp/zeroes bs=64k count=100 2>/dev/null
    dd if=/dev/urandom of=/tmp/random bs=64k count=400 2>/dev/null
    sync
    rm /tmp/random
    cp given /tmp/kept
    umount /tmp
done
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
nc 10.0.2.2 %(port)d <given
./vsock call 1234 <given >/dev/null
./vsock call 1235 </dev/null 2>/dev/null && exit 1
echo done
"""

    def collect(self, server, received):
        def serve():
            connection, _ = server.accept()
            with connection:
                data = b""
                while part := connection.recv(65536):
                    data += part
                received.append(data)

        server.settimeout(5 * lodge.PATIENCE)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        return thread

    def test_a_guest_uses_all_of_them(self):
        """Debian's kernel, through firmware that keeps variables; with no layer missing."""
        modules = lodge.guest_image("modules", "cloud")
        store = self.folder / "vars"
        sockets = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        given = self.folder / "given"
        given.write_bytes(os.urandom(1 << 20))
        program = self.folder / "vsock"
        subprocess.run(["gcc", "-O2", "-static", "-o", program, lodge.HERE / "guests" / "vsock.c"], check=True)
        received = []
        with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as local:
            local.bind(f"{sockets}/v_1234")
            local.listen(1)
            servers = [self.collect(server, received) for server in (tcp, local)]
            run = self.folder / "run"
            run.write_text("#!/bin/sh\n" + self.SCRIPT % {"drivers": " ".join(self.DRIVERS), "port": tcp.getsockname()[1]})
            job = self.folder / "job.cpio"
            lodge.guest_image("job", job, run, given, program, *[f"{modules}/{name}.ko" for name in self.DRIVERS])
            machine = self.machine(
                "--sandbox", "strict", "--no-reboot", "-m", "512M", "-c", "2", "--firmware", f"ovmf,vars={store}", "--kernel",
                f"{modules}/vmlinuz", "--initrd", lodge.guest_image("initramfs"), "--initrd", str(job),
                "--append", "console=ttyS0 quiet panic=-1", *self.disks(), "-n", "user", "--vsock", f"{sockets}/v",
            )  # fmt: skip
            machine.expect(b"done", 5 * lodge.PATIENCE)
            machine.expect(b"job: status 0")
            self.assertEqual(machine.wait(), lodge.EXIT_OK)
            for server in servers:
                server.join(lodge.PATIENCE)
        self.assertEqual(received, [given.read_bytes()] * 2)
        self.assertFalse((sockets / "v").exists())
        self.assertNotEqual(store.read_bytes(), pathlib.Path("/usr/share/OVMF/OVMF_VARS.fd").read_bytes())
        subprocess.run(["e2fsck", "-fn", self.folder / "raw"], check=True, capture_output=True)
        subprocess.run(["qemu-img", "check", "-q", self.folder / "qcow2"], check=True, capture_output=True)


class Hosts(Sandbox):
    """Hosts that are not as they should be. The guest writes to its disk, reads and discards."""

    SCRIPT = """dmesg -n 1
for name in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk; do insmod ./$name.ko; done
dd if=/dev/urandom of=/dev/vda bs=64k count=400 conv=fsync 2>/dev/null && echo written || echo not written
dd if=/dev/vda of=/dev/null bs=64k count=400 2>/dev/null && echo read
blkdiscard /dev/vda && echo discarded
"""
    IO_URING_SETUP, LANDLOCK_CREATE_RULESET, SECCOMP = 425, 444, 317

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.without = cls.folder / "without"
        subprocess.run(["gcc", "-O2", "-o", cls.without, lodge.HERE / "without.c"], check=True)
        cls.modules = lodge.guest_image("modules", "cloud")
        run = cls.folder / "run"
        run.write_text("#!/bin/sh\n" + cls.SCRIPT)
        cls.job = cls.folder / "job.cpio"
        drivers = ("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk")
        lodge.guest_image("job", cls.job, run, *[f"{cls.modules}/{name}.ko" for name in drivers])

    def run_guest(self, disk, *arguments, prefix=()):
        """What it says, and what Lodge does."""
        machine = Machine(
            ["--no-reboot", "-m", "256M", "--kernel", f"{self.modules}/vmlinuz", "--initrd", lodge.guest_image("initramfs"),
             "--initrd", str(self.job), "--append", "console=ttyS0 quiet panic=-1", "-d", disk, *arguments],
            prefix=prefix,
        )  # fmt: skip
        self.addCleanup(machine.close)
        output = machine.expect(b"job: status 0", 2 * lodge.PATIENCE).decode(errors="replace").replace("\r\n", "\n")
        self.assertEqual(machine.wait(), lodge.EXIT_OK)
        return output, machine.errors()

    def test_no_io_uring(self):
        """A pool of threads does the I/O."""
        disk = self.folder / "pool.qcow2"
        self.assertEqual(lodge.run(["image", "create", "-f", "qcow2", str(disk), "64M"]).returncode, 0)
        output, errors = self.run_guest(str(disk), prefix=(self.without, str(self.IO_URING_SETUP)))
        self.assertIn("\nwritten\nread\ndiscarded\n", "\n" + output)
        self.assertEqual(errors, "")

    def test_no_landlock(self):
        """A root of its own, empty, stands in for it, or a warning says that nothing does."""
        disk = self.folder / "rootless"
        with open(disk, "wb") as file:
            file.truncate(64 << 20)
        output, errors = self.run_guest(f"{disk},format=raw", prefix=(self.without, str(self.LANDLOCK_CREATE_RULESET)))
        self.assertIn("\nwritten\nread\ndiscarded\n", "\n" + output)
        self.assertRegex(errors, r"\A(lodge: sandbox: this host refuses Landlock and a root of our own: .*\n)?\Z")

    def test_no_seccomp(self):
        """A warning, and with --sandbox strict an error that leaves no socket behind."""
        lacks = "lodge: sandbox: this host refuses a filter for system calls (seccomp): Function not implemented; "
        path = self.folder / "socket"
        prefix = (self.without, str(self.SECCOMP))
        machine = self.machine("--vsock", str(path), prefix=prefix)
        machine.expect(b"ready\n")
        machine.send(b"q")
        self.assertEqual(machine.wait(), lodge.EXIT_OK)
        self.assertEqual(machine.errors(), lacks + "the machine runs without that\n")
        machine = self.machine("--vsock", str(path), "--sandbox", "strict", prefix=prefix)
        self.assertEqual(machine.wait(), lodge.EXIT_FAILED)
        self.assertEqual(machine.errors(), lacks + "--sandbox on does without\n")
        self.assertFalse(path.exists())

    def test_full_disk(self):
        """It has no room for what the guest writes."""
        if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode != 0:
            self.skipTest("no mounts of one's own on this host")
        folder = self.folder / "small"
        folder.mkdir()
        prepare = f'mount -t tmpfs -o size=8m none {folder} && truncate -s 64M {folder}/disk && exec "$@"'
        output, errors = self.run_guest(
            f"{folder}/disk,format=raw", "--user", "keep", prefix=("unshare", "-rm", "sh", "-c", prepare, "sh")
        )
        self.assertIn("not written\n", output)
        self.assertIn("No space left on device", errors)


class Usage(Sandbox):
    def refused(self, *arguments):
        result = lodge.run(["run", "--engine", lodge.ENGINE, "--kernel", self.kernel, *arguments])
        self.assertEqual(result.stdout, b"")
        self.assertEqual(result.stderr.count(b"\n"), 1, result.stderr)
        return result.returncode, result.stderr.decode()

    def test_modes(self):
        status, line = self.refused("--sandbox", "maybe")
        self.assertEqual(status, lodge.EXIT_USAGE)
        self.assertIn("on, off, strict", line)

    def test_users(self):
        status, line = self.refused("--user", "nobody", "--sandbox", "off")
        self.assertEqual(status, lodge.EXIT_USAGE)
        status, line = self.refused("--user", "no such user")
        self.assertEqual(status, lodge.EXIT_FAILED)
        self.assertIn("no such user" if os.geteuid() == 0 else "only root", line)

    def test_only_root_changes_users(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become another user to try")
        result = subprocess.run(
            ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", lodge.LODGE, "run", "--engine", lodge.ENGINE,
             "--kernel", self.kernel, "--user", "root"],
            capture_output=True, stdin=subprocess.DEVNULL, timeout=lodge.PATIENCE, check=False,
        )
        self.assertEqual(result.returncode, lodge.EXIT_FAILED)
        self.assertIn(b"only root can change", result.stderr)


if __name__ == "__main__":
    lodge.main()
