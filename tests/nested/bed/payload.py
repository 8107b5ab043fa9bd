"""What goes into the outer guest: files with all that they need to run, as an initramfs."""

import os
import re
import stat
import subprocess
import sys

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
sys.path.append(os.path.join(ROOT, "bench"))

from harness.image import Archive  # noqa: E402

FOLDERS = ["bin", "dev", "etc", "proc", "root", "run", "sbin", "sys", "tmp", "usr/bin", "usr/sbin"]
IMPORTS = os.path.join(os.path.dirname(os.path.realpath(__file__)), "imports.py")
# Debian's, which is one file; others may bring a library of fifty megabytes.
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable


class Unusable(Exception):
    """The bed cannot be made or run; the reason is for the user."""


# What programs bring along there is for themselves: GDB's Python is not a script of ours.
PACKAGED = "/usr/share/"


class Payload:
    """Collects files. Host files keep their absolute path in the guest unless told otherwise."""

    def __init__(self):
        self._files = {}  # guest path: (mode, bytes or host path)
        self._folders = set(FOLDERS)
        self._scripts = []

    def add_text(self, guest, text, mode=0o644):
        self._put(guest, stat.S_IFREG | mode, text.encode())

    def add_link(self, guest, target):
        self._put(guest, stat.S_IFLNK | 0o777, target.encode())

    def add_folder(self, guest):
        """An empty folder, with those above it."""
        parts = guest.strip("/").split("/")
        self._folders.update("/".join(parts[: i + 1]) for i in range(len(parts)))

    def add(self, host, guest=None):
        """
        A file, with the shared libraries or the Python modules that it needs; or a folder with all that is
        in it. Raises Unusable.
        """
        path = os.path.abspath(host)
        if os.path.isdir(path):
            for folder, _, names in os.walk(path):
                for name in names:
                    below = os.path.join(folder, name)
                    self.add(below, guest and os.path.join(guest, os.path.relpath(below, path)))
            return
        if not os.path.isfile(path):
            raise Unusable(f"{host}: no such file")
        self._put(guest or path, stat.S_IFREG | (os.stat(path).st_mode & 0o555) | 0o444, path)
        with open(path, "rb") as file:
            head = file.read(64)
        if head.startswith(b"\x7fELF"):
            self._add_libraries(path)
        elif not path.startswith(PACKAGED) and (path.endswith(".py") or re.match(rb"#!.*python", head)):
            self._scripts.append(path)

    def _put(self, guest, mode, content):
        name = os.path.normpath(guest).strip("/")
        if os.path.dirname(name):
            self.add_folder(os.path.dirname(name))
        self._files[name] = (mode, content)

    def _add_libraries(self, path):
        told = subprocess.run(["ldd", path], capture_output=True, text=True, timeout=20, check=False)
        for library in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", told.stdout, re.MULTILINE):
            if library.strip("/") not in self._files:
                self._put(library, stat.S_IFREG | 0o755, os.path.realpath(library))

    def _add_python(self):
        """The interpreter and the modules of the scripts; the library's are compiled already, which helps a slow guest."""
        program = os.path.realpath(PYTHON)
        self.add(program)
        self.add_link("usr/bin/python3", program)
        told = subprocess.run([program, IMPORTS, *self._scripts], capture_output=True, text=True, timeout=60, check=False)
        if told.returncode != 0:
            raise Unusable(f"what do {', '.join(self._scripts)} import? {told.stderr.strip()}")
        for line in told.stdout.splitlines():
            source, compiled = line.split()
            if source.endswith(".py") and "/lib/python3" in source and compiled != "-":
                # Beside where the source would be, it counts without one.
                self._put(source + "c", stat.S_IFREG | 0o644, compiled)
            elif source.endswith(".py"):
                self._put(source, stat.S_IFREG | 0o644, source)
            else:
                self.add(source)

    def build(self, path):
        """Writes the initramfs."""
        if self._scripts:
            self._add_python()
        archive = Archive()
        for name in sorted(self._folders):
            archive.add(name, stat.S_IFDIR | 0o755)
        archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
        for name, (mode, content) in sorted(self._files.items()):
            archive.add(name, mode, content if isinstance(content, bytes) else read(content))
        with open(path, "wb") as file:
            file.write(archive.bytes())


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}") from None
