#!/usr/bin/env python3
"""Virtio devices under a stock Debian kernel and its own drivers."""

import fcntl
import hashlib
import os
import socket
import struct
import subprocess
import tempfile
import termios
import threading
import unittest

import lodge

# In the order in which they need each other.
DRIVERS = [
    "virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk",
    "virtio-rng", "virtio_balloon", "virtio_console", "vsock", "vmw_vsock_virtio_transport_common",
    "vmw_vsock_virtio_transport",
]

LOAD = "".join(f"insmod ./{name}.ko || echo 'no {name}'\n" for name in DRIVERS)


class Virtio(lodge.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.modules = lodge.guest_image("modules", "cloud")
        cls.initramfs = lodge.guest_image("initramfs")

    def disk(self, name, size):
        path = self.folder / name
        with open(path, "wb") as file:
            file.truncate(size)
        return path

    def arguments(self, script, *arguments, files=()):
        """The options of a machine that runs the script with all drivers loaded."""
        run = self.folder / "run"
        run.write_text("#!/bin/sh\ndmesg -n 1\n" + LOAD + script)
        job = self.folder / "job.cpio"
        lodge.guest_image("job", job, run, *[f"{self.modules}/{name}.ko" for name in DRIVERS], *files)
        return [
            "--no-reboot", "-m", "512M", "--kernel", self.modules + "/vmlinuz", "--initrd", self.initramfs,
            "--initrd", str(job), "--append", "console=ttyS0 quiet panic=-1", *arguments,
        ]

    def run_in_guest(self, script, *arguments, files=()):
        """What the guest prints while it runs the script."""
        result = lodge.run(
            ["run", "--engine", lodge.ENGINE, *self.arguments(script, *arguments, files=files)],
            timeout=5 * lodge.PATIENCE,
        )
        output = result.stdout.decode(errors="replace").replace("\r\n", "\n")
        self.assertEqual(result.returncode, 0, result.stderr.decode())
        self.assertIn("job: status 0\n", output)
        self.errors = result.stderr.decode()
        return output

    def test_disk_keeps_files(self):
        """A file system made and filled in the guest is whole on the host, and there again the next time."""
        disk = self.disk("disk.raw", 64 << 20)
        content = bytes(range(256)) * 4096 * 3
        given = self.folder / "given"
        given.write_bytes(content)
        self.run_in_guest(
            "set -e\nmke2fs -q /dev/vda\nmount -t ext4 /dev/vda /tmp\ncp given /tmp/kept\n"
            "dd if=/dev/urandom of=/tmp/random bs=64k count=100 2>/dev/null\nmd5sum </tmp/random >/tmp/sum\n"
            "umount /tmp\n",
            "-c", "2", "-d", str(disk), files=[given],
        )
        subprocess.run(["e2fsck", "-fn", disk], check=True, capture_output=True)
        dumped = subprocess.run(["debugfs", "-R", "cat kept", disk], check=True, capture_output=True).stdout
        self.assertEqual(hashlib.sha256(dumped).digest(), hashlib.sha256(content).digest())
        output = self.run_in_guest(
            "set -e\nmount -t ext4 -o ro /dev/vda /tmp\nmd5sum </tmp/random\ncat /tmp/sum\n", "-d", f"{disk},readonly"
        )
        sums = [line for line in output.splitlines() if line.endswith("  -")]
        self.assertEqual(len(sums), 2, output)
        self.assertEqual(sums[0], sums[1])

    def test_disks_are_told_apart(self):
        """Size, serial number, read-only, several queues; writes to a read-only disk fail."""
        one, two = self.disk("one.raw", 1 << 20), self.disk("two.raw", 3 << 20)
        output = self.run_in_guest(
            "cd /sys/block\nfor disk in vda vdb; do\n"
            'echo "$disk: $(cat $disk/size) $(cat $disk/ro) $(cat $disk/serial) $(ls $disk/mq | wc -l)"\ndone\n'
            "dd if=/dev/zero of=/dev/vdb bs=512 count=1 2>/dev/null || echo refused\n",
            "-c", "3", "-d", f"{one},serial=FIRST", "-d", f"{two},format=raw,readonly,serial=second-0123456789abc",
        )
        self.assertIn("vda: 2048 0 FIRST 3\n", output)
        self.assertIn("vdb: 6144 1 second-0123456789abc 3\n", output)
        self.assertIn("refused\n", output)

    def test_restart_without_messages(self):
        """Interrupts by shared wires; restarts while the disk is being read."""
        disk = self.disk("restart.raw", 32 << 20)
        script = (
            "set -e\n[ $(head -c 1 /dev/vda) = 2 ] && { grep virtio /proc/interrupts; exit 0; }\n"
            "count=$(head -c 1 /dev/vda | tr '\\0' 0)\necho $((count + 1)) | dd of=/dev/vda conv=fsync 2>/dev/null\n"
            "dd if=/dev/vda of=/dev/null bs=4k iflag=direct 2>/dev/null &\nsleep 0.1\nreboot -f\nsleep 60\n"
        )
        arguments = self.arguments(script, "-c", "2", "-d", str(disk))
        arguments.remove("--no-reboot")
        arguments[arguments.index("--append") + 1] += " pci=nomsi"
        result = lodge.run(["run", "--engine", lodge.ENGINE, *arguments], timeout=5 * lodge.PATIENCE)
        output = result.stdout.decode(errors="replace")
        self.assertIn("job: status 0", output, result.stderr.decode())
        self.assertRegex(output, r"IO-APIC +\d+-fasteoi +virtio")
        self.assertEqual(disk.read_bytes()[:1], b"2")

    def test_unplugged_in_use(self):
        """Drivers go and come, and the device is taken from the guest while it has requests: nothing is lost."""
        disk = self.disk("unplugged.raw", 64 << 20)
        content = os.urandom(64 << 20)
        disk.write_bytes(content)
        read = "dd if=/dev/vda of=/dev/null bs=4k iflag=direct count=1000000 2>/dev/null & sleep 0.2\n"
        output = self.run_in_guest(
            f"for i in 1 2 3; do\n{read}kill $!; wait\nrmmod virtio_blk && insmod ./virtio_blk.ko || echo failed\ndone\n"
            f"{read}echo 1 >/sys/bus/pci/devices/0000:00:09.0/remove; wait\n[ -e /dev/vda ] && echo still there\n"
            "echo 1 >/sys/bus/pci/rescan; sleep 0.3\nmd5sum </dev/vda\n",
            "-c", "2", "-d", str(disk),
        )
        self.assertNotIn("failed", output)
        self.assertNotIn("still there", output)
        self.assertIn(hashlib.md5(content).hexdigest(), output)

    def test_discard_gives_space_back(self):
        disk = self.disk("space.raw", 16 << 20)
        disk.write_bytes(b"x" * (16 << 20))
        self.run_in_guest("blkdiscard /dev/vda\n", "-d", str(disk))
        self.assertEqual(disk.stat().st_size, 16 << 20)
        self.assertLess(disk.stat().st_blocks * 512, 1 << 20)

    def test_random_numbers(self):
        output = self.run_in_guest("cat /sys/class/misc/hw_random/rng_current\nhead -c 32 /dev/hwrng | md5sum\n")
        self.assertIn("virtio_rng", output)
        again = self.run_in_guest("head -c 32 /dev/hwrng | md5sum\n")
        sums = [line for line in (output + again).splitlines() if line.endswith("  -")]
        self.assertEqual(len(set(sums)), 2)

    def test_free_memory_goes_back(self):
        """A guest that has used memory and freed it does not keep it from the host."""
        script = (
            "mkdir /big && mount -t tmpfs -o size=400M none /big && dd if=/dev/zero of=/big/x bs=1M count=300 2>/dev/null\n"
            "echo used; read line; rm /big/x; echo freed; read line\n"
        )
        with lodge.Machine(self.arguments("(" + script + ") </dev/ttyS0\n")) as machine:
            machine.expect(b"used", 5 * lodge.PATIENCE)
            used = self.resident(machine)
            machine.send(b"\n")
            machine.expect(b"freed")
            limit = 20
            while used - self.resident(machine) < 270 << 10 and limit > 0:
                machine.read_some(0.5)
                limit -= 0.5
            self.assertGreaterEqual(used - self.resident(machine), 270 << 10)
            machine.send(b"\n")
            machine.expect(b"job: status 0")
            self.assertEqual(machine.wait(), 0)

    def test_balloon(self):
        """Memory is taken from the guest, and given back when the guest needs it."""
        output = self.run_in_guest(
            "free() { awk '/MemFree/ { print $2 }' /proc/meminfo; }\nbefore=$(free)\n"
            "for i in $(seq 100); do [ $(free) -lt $((before - 100000)) ] && break; sleep 0.5; done\n"
            "[ $i -lt 100 ] && echo taken\nmkdir /big && mount -t tmpfs -o size=450M none /big\n"
            "dd if=/dev/zero of=/big/x bs=1M count=$((before / 1024 - 60)) 2>/dev/null && echo given back\n",
            "--balloon", "160M", "--stats",
        )
        self.assertIn("taken\ngiven back\n", output)
        figures = dict(line[6:].strip().rsplit(None, 1) for line in self.errors.splitlines() if "KiB" in line)
        self.assertGreater(int(figures["guest's memory, KiB"]), 400 << 10)

    @staticmethod
    def resident(machine):
        """KiB of guest memory that the host holds."""
        with open(f"/proc/{machine.process.pid}/smaps_rollup", encoding="ascii") as file:
            return int(next(line for line in file if line.startswith("Rss:")).split()[1])

    def test_console(self):
        """The terminal on a virtio console: both directions, and its size, which changes."""
        # The terminal stays open: what is typed while nobody has it open is lost.
        script = (
            '(echo; sleep 1; stty size; read line; echo "got $line"; read line; stty size) </dev/hvc0 >/dev/hvc0\n'
        )
        arguments = self.arguments(script, "--console", "virtio")

        def resize(machine, rows, columns):
            fcntl.ioctl(machine.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

        class Sized(lodge.Machine):
            def _take_terminal(self):
                super()._take_terminal()
                fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))

        with Sized(arguments, terminal=True) as machine:
            machine.expect(b"31 97")
            machine.send(b"hello\r")
            machine.expect(b"got hello")
            resize(machine, 55, 120)
            machine.read_some(2)
            machine.send(b"\r")
            machine.expect(b"55 120")
            self.assertEqual(machine.wait(), 0)

    def compile_vsock(self):
        program = self.folder / "vsock"
        source = lodge.HERE / "guests" / "vsock.c"
        subprocess.run(["gcc", "-O2", "-static", "-o", program, source], check=True)
        return program

    def test_guest_calls_host(self):
        """A megabyte there and back, over a socket of the host."""
        folder = tempfile.mkdtemp(dir=self.folder)
        server = socket.socket(socket.AF_UNIX)
        server.bind(f"{folder}/v_1234")
        server.listen(1)
        received = []

        def answer():
            connection = server.accept()[0]
            data = b""
            while part := connection.recv(65536):
                data += part
            received.append(data)
            connection.sendall(data[::-1])
            connection.close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        content = os.urandom(1 << 20)
        given = self.folder / "given"
        given.write_bytes(content)
        output = self.run_in_guest(
            "./vsock call 1234 <given | md5sum\n./vsock call 1235 </dev/null 2>&1 || echo refused\n",
            "--vsock", f"{folder}/v", files=[given, self.compile_vsock()],
        )
        thread.join(lodge.PATIENCE)
        server.close()
        self.assertEqual(received, [content])
        self.assertIn(hashlib.md5(content[::-1]).hexdigest(), output)
        self.assertIn("refused", output)
        self.assertFalse(os.path.exists(f"{folder}/v"))

    def test_host_calls_guest(self):
        folder = tempfile.mkdtemp(dir=self.folder)
        arguments = self.arguments("./vsock answer 77\n", "--vsock", f"{folder}/v,cid=9", files=[self.compile_vsock()])
        content = b"abc xyz\n" * 30000
        with lodge.Machine(arguments) as machine:
            machine.expect(b"listening", 5 * lodge.PATIENCE)
            with socket.socket(socket.AF_UNIX) as wrong:
                wrong.connect(f"{folder}/v")
                wrong.sendall(b"CONNECT 78\n")
                self.assertEqual(wrong.recv(100), b"")
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(lodge.PATIENCE)
                connection.connect(f"{folder}/v")
                connection.sendall(b"CONNECT 77\n")
                self.assertEqual(connection.recv(6, socket.MSG_WAITALL), b"OK 77\n")
                sender = threading.Thread(target=lambda: (connection.sendall(content), connection.shutdown(socket.SHUT_WR)))
                sender.start()
                data = b""
                while part := connection.recv(65536):
                    data += part
                sender.join()
            self.assertEqual(data, content.upper())
            machine.expect(b"job: status 0")
            self.assertEqual(machine.wait(), 0)

    def test_wrong_backends(self):
        """One line each that says what is wrong."""
        taken = self.folder / "taken"
        taken.touch()
        odd = self.folder / "odd.raw"
        odd.write_bytes(b"x" * 1000)
        kernel = ["run", "--engine", lodge.ENGINE, "--kernel", self.modules + "/vmlinuz"]
        for option, spec, said in (
            ("-d", f"{self.folder}/none", "No such file"),
            ("-d", str(self.folder), "disk"), ("-d", f"{odd},format=vmdk", "vmdk"),
            ("-d", f"{odd},serial={'x' * 21}", "20"), ("-d", f"{odd},what", "'what'"), ("-d", "", "file"),
            ("--vsock", str(taken), "in use"), ("--vsock", f"{self.folder}/v,cid=2", "cid=2"),
            ("--vsock", f"{self.folder}/v,cid=", "cid="), ("--vsock", f"{self.folder}/v,x=3", "x=3"),
            ("--vsock", "x" * 120, "too long"), ("--vsock", f"{self.folder}/none/v", "none/v"),
        ):
            with self.subTest(spec=spec):
                result = lodge.run([*kernel, option, spec])
                self.assertEqual(result.returncode, lodge.EXIT_FAILED)
                lines = result.stderr.decode().splitlines()
                self.assertEqual(len(lines), 1, lines)
                self.assertIn(said, lines[0])


if __name__ == "__main__":
    lodge.main()
