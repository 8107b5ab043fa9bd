#!/usr/bin/env python3
"""
A guest writes numbered records and says which are synced, and the VMM is killed while it does.

No record that the guest has spoken of may ever be missing, the images and the file systems in them stay whole, and
the machine starts again. LODGE_TEST_KILLS (default 1) says how often each machine is killed, LODGE_TEST_SEED when:

    LODGE_TEST_KILLS=50 LODGE=build/src/cli/lodge tests/system/test_durable.py
"""

import os
import random
import re
import shutil
import struct
import subprocess
import time

import lodge

KILLS = int(os.environ.get("LODGE_TEST_KILLS", "1"))
SEED = int(os.environ.get("LODGE_TEST_SEED", str(random.randrange(1 << 32))))

# What the guest needs to reach a disk, in the order in which they need each other.
DRIVERS = ["virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk"]

# As in guests/records.c.
RECORD_SIZE, SECTOR, SLOTS, SLOT_STRIDE = 1000, 512, 64, 4096

DISK_MIB = 128
RUN_MOST = 1.0  # seconds that a machine runs on before it is killed
LEAKS_ONLY = 3  # qemu-img check: clusters that nobody refers to, and nothing else


def words(number, size):
    return struct.pack("<I", number) * (size // 4)


class Durable(lodge.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        print(f"LODGE_TEST_SEED={SEED} LODGE_TEST_KILLS={KILLS}", flush=True)
        cls.modules = lodge.guest_image("modules", "cloud")
        cls.initramfs = lodge.guest_image("initramfs")
        cls.records = cls.folder / "records"
        subprocess.run(["gcc", "-O2", "-static", "-o", cls.records, lodge.HERE / "guests" / "records.c"], check=True)

    def job(self, name, script):
        run = self.folder / "run"
        run.write_text(
            "#!/bin/sh\ndmesg -n 1\n" + "".join(f"insmod ./{driver}.ko\n" for driver in DRIVERS) + "set -e\n" + script
        )
        job = self.folder / f"{name}.cpio"
        lodge.guest_image("job", job, run, self.records, *[f"{self.modules}/{driver}.ko" for driver in DRIVERS])
        return job

    def start(self, job, disk, cache):
        return lodge.Machine([
            "--no-reboot", "-m", "256M", "-c", "2", "--kernel", self.modules + "/vmlinuz", "--initrd", self.initramfs,
            "--initrd", str(job), "--append", "console=ttyS0 quiet panic=-1", "-d", f"{disk},cache={cache}",
        ])  # fmt: skip

    def tool(self, *command, accept=(0,)):
        """A tool that may find the image locked for a moment: until the kernel has buried the dead machine."""
        limit = time.monotonic() + lodge.PATIENCE
        while True:
            result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
            if "lock" not in result.stderr or time.monotonic() > limit:
                break
            time.sleep(0.05)
        said = result.stdout + result.stderr
        self.assertIn(result.returncode, accept, f"{command}: {said}")
        return said

    def run_and_kill(self, job, disk, cache, chance):
        """
        What the guest found when it started, and the last number it has kept; None for what it did not say. Mostly it
        is killed while it writes, sometimes while it mounts what the last one has left.
        """
        with self.start(job, disk, cache) as machine:
            machine.expect(b"mounting", 5 * lodge.PATIENCE)
            limit = time.monotonic() + (5 * lodge.PATIENCE if chance.random() < 0.75 else 0)
            while b"kept" not in machine.output and time.monotonic() < limit:
                machine.read_some(1)
            end = time.monotonic() + chance.uniform(0, RUN_MOST)
            while (left := end - time.monotonic()) > 0:
                machine.read_some(left)
            self.assertIsNone(machine.process.poll(), machine.output[-2000:])
            machine.process.kill()
            machine.process.wait()
            while machine.read_some(1):
                pass
            output = machine.output.decode(errors="replace")
        self.assertNotIn("records:", output)
        found = re.search(r"found (-?\d+)\r?\n", output)
        kept = re.findall(r"kept (\d+)\r?\n", output)
        return int(found[1]) if found else None, int(kept[-1]) if kept else None

    def check_image(self, disk):
        """As QEMU sees it: no errors, and none that the next opening leaves."""
        self.tool("qemu-img", "check", disk, accept=(0, LEAKS_ONLY))
        opened = self.folder / "opened.qcow2"
        shutil.copyfile(disk, opened)
        self.tool(lodge.LODGE, "image", "check", "--repair", opened)
        self.tool("qemu-img", "check", opened)

    def check_files(self, disk, form, kept):
        """Replays the journal, as a mount would; then there is nothing to repair, and every record is there."""
        copy = self.folder / "copy.raw"
        self.tool("qemu-img", "convert", "-f", form, "-O", "raw", disk, copy)
        self.assertRegex(self.tool("e2fsck", "-p", copy, accept=(0, 1)), r": clean, \d+/\d+ files")
        self.tool("e2fsck", "-f", "-n", copy)
        if kept is None:
            return
        log, slots = self.folder / "log", self.folder / "slots"
        self.tool("debugfs", "-R", f"dump log {log}", copy)
        self.tool("debugfs", "-R", f"dump slots {slots}", copy)
        content = log.read_bytes()
        for number in range(kept + 1):
            record = content[number * RECORD_SIZE : (number + 1) * RECORD_SIZE]
            self.assertEqual(record, words(number, RECORD_SIZE), f"record {number} of {kept}")
        content = slots.read_bytes()
        for number in range(max(0, kept - SLOTS + 1), kept + 1):
            at = number % SLOTS * SLOT_STRIDE
            (there,) = struct.unpack_from("<I", content, at)
            self.assertIn(there, (number, number + SLOTS), f"the slot of record {number}")
            self.assertEqual(content[at : at + SECTOR], words(there, SECTOR))

    def survive(self, name, form, *, layout="", options="rw", cache="writeback"):
        chance = random.Random(f"{SEED} {name}")
        plain, disk = self.folder / "plain", self.folder / name
        plain.touch()
        os.truncate(plain, DISK_MIB << 20)
        self.tool("mkfs.ext4", "-q", "-F", plain)
        self.tool("qemu-img", "convert", "-f", "raw", "-O", form, *(["-o", layout] if layout else []), plain, disk)
        mount = f"echo mounting\nmount -t ext4 -o {options} /dev/vda /tmp\n"
        write = self.job("write", mount + "./records /tmp\n")
        kept = None
        for number in range(KILLS):
            found, last = self.run_and_kill(write, disk, cache, chance)
            print(f"{name}: kill {number + 1}: found {found}, kept {last}", flush=True)
            if kept is not None and found is not None:
                self.assertGreaterEqual(found, kept, "records were there, and are not when the machine starts again")
            kept = last if last is not None else kept
            if form == "qcow2":
                self.check_image(disk)
            self.check_files(disk, form, kept)
        with self.start(self.job("check", mount + "./records /tmp check\numount /tmp\n"), disk, cache) as machine:
            machine.expect(b"found ", 5 * lodge.PATIENCE)
            found = int(machine.expect(b"\n"))
            machine.expect(b"job: status 0")
            self.assertEqual(machine.wait(), 0)
        if kept is not None:
            self.assertGreaterEqual(found, kept)
        if form == "qcow2":
            self.tool("qemu-img", "check", disk)
            self.tool("qemu-img", "convert", "-f", "qcow2", "-O", "raw", disk, plain)
            disk = plain
        self.tool("e2fsck", "-f", "-n", disk)
        print(f"{name}: {KILLS} kills, {(kept or -1) + 1} records kept", flush=True)

    def test_raw(self):
        self.survive("raw", "raw")

    def test_qcow2(self):
        self.survive("qcow2", "qcow2")

    def test_small_clusters_that_come_and_go(self):
        """Many tables, which change with every file that is deleted; and the other way to the host's disk."""
        self.survive("small", "qcow2", layout="cluster_size=1k,lazy_refcounts=on", options="discard", cache="direct")


if __name__ == "__main__":
    lodge.main()
