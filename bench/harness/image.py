"""The guest: Debian's cloud kernel, and an initramfs with a shell and the benchmark programs."""

import os
import re
import subprocess

from .programs import Failure

GUEST_IMAGE = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "..", "tools", "guest-image")
DOWNLOAD_LIMIT = 600  # seconds
BUSYBOX = "/bin/busybox"
APPLETS = ["sh", "mount", "echo", "sleep", "reboot", "setsid", "cttyhack", "ls", "cat", "dmesg", "ps", "free"]


def fetch_kernel(cache):
    """The path of Debian's cloud kernel, downloaded into the folder the first time."""
    environment = {"LODGE_CACHE": cache, **os.environ}
    command = [GUEST_IMAGE, "kernel", "cloud"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=DOWNLOAD_LIMIT)
    if done.returncode != 0:
        raise Failure("no guest kernel; give --kernel")
    return done.stdout.strip()


def kernel_version(path):
    """What a bzImage says about itself (Linux Documentation/arch/x86/boot.rst, kernel_version)."""
    with open(path, "rb") as file:
        header = file.read(0x8000)
    if header[0x202:0x206] != b"HdrS":
        return "unknown version"
    start = int.from_bytes(header[0x20E:0x210], "little") + 0x200
    text = header[start : start + 128].split(b"\0")[0].decode("ascii", "replace")
    return re.sub(r" \(.*?\)", "", text)


class Archive:
    """An initramfs in the kernel's newc format (Documentation/driver-api/early-userspace/buffer-format.rst)."""

    def __init__(self):
        self._parts = []
        self._inode = 0

    def add(self, name, mode, data=b"", device=(0, 0)):
        """mode includes the file's type; device is (major, minor) of a device node."""
        self._inode += 1
        encoded = name.encode() + b"\0"
        fields = [self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0]
        self._parts.append(pad(b"070701" + b"".join(b"%08x" % field for field in fields) + encoded))
        self._parts.append(pad(data))

    def bytes(self):
        self.add("TRAILER!!!", 0)
        return b"".join(self._parts)


def pad(data):
    return data + bytes(-len(data) % 4)


def build_initrd(path, init, programs):
    """Writes an initramfs with the shell, the script init as /init, and these programs in /bin."""
    if not os.path.exists(BUSYBOX):
        raise Failure(f"no {BUSYBOX}: install busybox-static")
    archive = Archive()
    for folder in ["bin", "dev", "proc", "tmp"]:
        archive.add(folder, 0o040755)
    archive.add("dev/console", 0o020600, device=(5, 1))
    archive.add("bin/busybox", 0o100755, read(BUSYBOX))
    for applet in APPLETS:
        archive.add(f"bin/{applet}", 0o120777, b"busybox")
    archive.add("init", 0o100755, read(init))
    for program in programs:
        archive.add(f"bin/{os.path.basename(program)}", 0o100755, read(program))
    with open(path, "wb") as file:
        file.write(archive.bytes())
    return path


def read(path):
    with open(path, "rb") as file:
        return file.read()
