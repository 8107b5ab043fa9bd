"""Programs of the host's in a guest: with their libraries in an initrd, and run by commands over the console."""

import os
import pathlib
import re
import select
import shutil
import subprocess
import sys
import time

from .programs import Failure

TOOLS = pathlib.Path(__file__).resolve().parent.parent.parent / "tools"
BOOT_LIMIT, ROW_LIMIT = 120, 60  # seconds

# What the guest needs to reach a virtio device, in the order in which they need each other.
VIRTIO = ["virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci"]

# Commands come over the console; the answer ends with a line of its own.
JOB = """#!/bin/sh
dmesg -n 1
for driver in {drivers}; do insmod ./$driver.ko; done
export LD_LIBRARY_PATH=/job
{setup}
(echo ready; while read line; do eval "$line" >/tmp/out 2>&1; echo "done $?: $(tail -n 1 /tmp/out)"; done) </dev/ttyS0 >/dev/ttyS0 2>&1
"""


def processor_seconds(pid):
    """User and system time of a process that still runs, with all its threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Guest:
    """A machine, with its console on pipes."""

    def __init__(self, command):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )
        self.output = b""
        try:
            self.expect(rb"ready\r?\n", BOOT_LIMIT)
        except Failure:
            self.close()
            raise

    def expect(self, pattern, seconds):
        limit = time.monotonic() + seconds
        while not (match := re.search(pattern, self.output)):
            left = limit - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise Failure(f"nothing came for {seconds} s; the console ends with {self.output[-500:]!r}")
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                raise Failure(f"the machine has ended; its console: {self.output[-500:]!r}")
            self.output += data
        self.output = self.output[match.end():]  # fmt: skip
        return match

    def do(self, command):
        """The last line that the command prints. Raises Failure if it fails."""
        self.process.stdin.write(command.encode() + b"\n")
        status, last = self.expect(rb"done (\d+): (.*?)\r?\n", ROW_LIMIT).groups()
        last = last.decode(errors="replace")
        if status != b"0":
            raise Failure(f"'{command}' failed in the guest: {last}")
        return last

    def close(self):
        self.process.kill()
        self.process.wait()


def tool(*arguments):
    """What tools/guest-image prints."""
    command = [TOOLS / "guest-image", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def kernel():
    return tool("modules", "cloud") + "/vmlinuz"


def build_initrd(folder, name, program, drivers, setup):
    """
    A file in the folder: the guest loads the drivers, does the setup, and answers commands, among which is
    './ld.so ./PROGRAM'.
    """
    path = shutil.which(program) or sys.exit(f"{sys.argv[0]}: needs {program}")
    listed = subprocess.run(["ldd", path], check=True, capture_output=True, text=True).stdout
    libraries = re.findall(r"(/\S+) \(0x", listed)
    loader = next(file for file in libraries if "ld-linux" in file)
    shutil.copy(loader, folder / "ld.so")
    job, archive, both = folder / "run", folder / f"{name}.cpio", folder / f"{name}.initrd"
    job.write_text(JOB.format(drivers=" ".join(VIRTIO + drivers), setup=setup), encoding="ascii")
    modules = tool("modules", "cloud")
    tool(
        "job", archive, job, path, folder / "ld.so", *[file for file in libraries if file != loader],
        *[f"{modules}/{driver}.ko" for driver in VIRTIO + drivers],
    )  # fmt: skip
    both.write_bytes(pathlib.Path(tool("initramfs")).read_bytes() + archive.read_bytes())
    archive.unlink()
    return both
