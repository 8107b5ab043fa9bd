#!/usr/bin/env python3
"""
A whole Debian, from the image that `lodge image build debian` makes: boots, alone and through SeaBIOS and OVMF, keeps
what is written, has a network.

The image is built once and kept in $LODGE_CACHE; what a test changes is in an overlay of its own. What needs a mirror
of Debian is skipped where the guest reaches none.
"""

import os
import pathlib
import re
import socket
import subprocess
import time
import unittest

import lodge

PROMPT = b":~# "
BOOT = 6 * lodge.PATIENCE
ROOT_OFFSET = 135168 * 512  # of the third partition


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Debian(lodge.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        built = subprocess.run(
            [lodge.TOOLS / "guest-image", "debian"], stdout=subprocess.PIPE, text=True, check=True, timeout=1500,
            env=dict(os.environ, LODGE=lodge.LODGE),
        )  # fmt: skip
        cls.debian = pathlib.Path(built.stdout.strip())

    def overlay(self, name):
        """A disk of its own, over the image that all share."""
        disk = self.folder / name
        base = self.folder / "base.qcow2"
        if not base.exists():
            # A file in the same folder: what is elsewhere is not opened without being allowed.
            subprocess.run(["cp", "--reflink=auto", self.debian / "disk.qcow2", base], check=True)
        done = lodge.run(["image", "create", "-b", "base.qcow2", "-F", "qcow2", str(disk)], cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        return disk

    def machine(self, disk, *more):
        return lodge.Machine(["-c", "2", "-m", "1G", "-d", str(disk), *more])

    def kernel(self):
        """Past the firmware."""
        return ["--kernel", f"{self.debian}/vmlinuz", "--initrd", f"{self.debian}/initrd.img",
                "--append", "root=/dev/vda3 ro console=ttyS0 quiet"]  # fmt: skip

    def log_in(self, machine):
        """Waits for the shell of whom the console logs in."""
        machine.expect(b"login:", BOOT)
        machine.expect(PROMPT, BOOT)

    def type(self, machine, command, timeout=BOOT):
        """What the command says, and its status. The mark is typed in two parts, so that its echo is not it."""
        machine.send(command.encode() + b'; echo "sta""tus $?."\n')
        machine.expect(b'tus $?."', timeout)
        said = machine.expect(b"status ", timeout).decode(errors="replace").replace("\r", "")
        said = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", said)  # what the shell tells the terminal
        status = int(machine.expect(b".", timeout))
        machine.expect(PROMPT, timeout)
        return said, status

    def power_off(self, machine):
        machine.send(b"poweroff\n")
        # Reading goes on: a guest whose output nobody takes does not come to its end.
        while machine.process.poll() is None and machine.read_some(BOOT):
            pass
        self.assertEqual(machine.wait(BOOT), 0)

    def check_root(self, disk):
        """The root file system as the machine left it."""
        raw = self.folder / "checked.raw"
        done = lodge.run(["image", "convert", "-O", "raw", str(disk), str(raw)], timeout=BOOT)
        self.assertEqual(done.returncode, 0, done.stderr)
        checked = subprocess.run(["e2fsck", "-fn", f"{raw}?offset={ROOT_OFFSET}"], capture_output=True, text=True, check=False)
        raw.unlink()
        self.assertEqual(checked.returncode, 0, checked.stdout)

    def test_boots_and_keeps(self):
        """Systemd is content, a restart finds what was written, the file system is whole after the power-off."""
        disk = self.overlay("keeps.qcow2")
        start = time.monotonic()
        with self.machine(disk, *self.kernel()) as machine:
            machine.expect(b"login:", BOOT)
            print(f"login prompt after {time.monotonic() - start:.1f} s", flush=True)
            machine.expect(PROMPT, BOOT)
            said, status = self.type(machine, "systemctl is-system-running --wait")
            self.assertEqual((said.split()[-1], status), ("running", 0), said)
            said, _ = self.type(machine, "nproc; cut -d. -f1 /etc/debian_version")
            self.assertEqual(said.split()[-2:], ["2", "12"])
            self.type(machine, "cat /etc/machine-id >kept; sha256sum /usr/bin/* >sums; sync")
            first = self.type(machine, "cat kept /etc/ssh/ssh_host_ed25519_key.pub")[0]
            self.assertRegex(first, r"\b[0-9a-f]{32}\b")
            self.assertIn("ssh-ed25519 ", first)
            machine.send(b"reboot\n")
            self.log_in(machine)
            said, status = self.type(machine, "cmp kept /etc/machine-id && sha256sum --quiet -c sums && echo same")
            self.assertEqual((said.split()[-1], status), ("same", 0), said)
            self.power_off(machine)
        self.check_root(disk)

    def test_grows_with_the_disk(self):
        """A larger disk makes a larger file system at the next boot, which is one through SeaBIOS, and only then."""
        disk = self.overlay("grows.qcow2")
        done = lodge.run(["image", "resize", str(disk), "+3G"])
        self.assertEqual(done.returncode, 0, done.stderr)
        with self.machine(disk) as machine:
            self.log_in(machine)
            self.assertNotEqual(self.type(machine, "test -d /sys/firmware/efi")[1], 0)
            self.type(machine, "systemctl is-system-running --wait")
            said, _ = self.type(machine, "df -BM --output=size / | tail -n 1")
            self.assertGreater(int(re.search(r"(\d+)M", said).group(1)), 6000)
            said, _ = self.type(machine, "sh -x /usr/local/sbin/grow-root 2>&1 | grep -c repart")
            self.assertEqual(said.split()[-1], "0", said)
            self.power_off(machine)
        self.check_root(disk)

    def test_network(self):
        """Through OVMF: an address by DHCP, ssh through a forward with the image's key, a package from a mirror."""
        port = free_port()
        disk = f"{self.debian}/disk.qcow2,discard-changes"
        with self.machine(disk, "--firmware", "ovmf", "-n", f"user,forward=tcp:{port}:22") as machine:
            self.log_in(machine)
            self.assertEqual(self.type(machine, "test -d /sys/firmware/efi")[1], 0)
            self.type(machine, "systemctl is-system-running --wait")
            done = subprocess.run(
                ["ssh", "-p", str(port), "-i", self.debian / "key", "-o", "BatchMode=yes",
                 "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "root@127.0.0.1", "hostname"],
                capture_output=True, text=True, timeout=BOOT, check=False, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            self.assertEqual((done.stdout, done.returncode), ("debian\n", 0), done.stderr)
            if self.type(machine, "timeout 60 apt-get update -q")[1] != 0:
                self.skipTest("the guest reaches no mirror of Debian")
            self.assertEqual(self.type(machine, "apt-get install -q -y hello")[1], 0)
            self.assertIn("Hello, world!", self.type(machine, "hello")[0])


if __name__ == "__main__":
    lodge.main()
