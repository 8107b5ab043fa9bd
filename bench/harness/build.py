"""What the comparison takes from the build folder."""

import os
import subprocess

from .image import build_initrd
from .programs import Failure, list_rows

BENCH = os.path.realpath(os.path.join(os.path.dirname(__file__), ".."))
DEFAULT_FOLDER = os.path.realpath(os.path.join(BENCH, "..", "build"))
CHECKSUMS = os.path.join(BENCH, "checksums")


class Build:
    """Meson's build folder, with a place in it for what the comparison downloads and makes."""

    def __init__(self, folder):
        self.folder = os.path.abspath(folder)
        if not os.path.exists(os.path.join(self.folder, "build.ninja")):
            raise Failure(f"{self.folder} is not a build folder; run 'meson setup' first, or give --build")
        self.images = os.path.join(self.folder, "guest-image")  # tools/guest-image keeps the kernel here
        self.cache = os.path.join(self.folder, "bench", "cache")
        os.makedirs(self.cache, exist_ok=True)
        self.programs = {group: self._make(f"bench/bench-{group}") for group in ("user", "kernel")}
        self.rows = [row for group, program in self.programs.items() for row in list_rows(group, program)]

    def _make(self, target):
        done = subprocess.run(["ninja", "-C", self.folder, target], stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise Failure(f"ninja {target}:\n{done.stdout}")
        return os.path.join(self.folder, target)

    def find_lodge(self):
        """The path of the program, wherever its folder puts it."""
        for folder, _, files in os.walk(self.folder):
            path = os.path.join(folder, "lodge")
            if "lodge" in files and os.access(path, os.X_OK):
                return path
        raise Failure(f"no program called lodge in {self.folder}; build it, or give --lodge or other --sides")

    def initrd(self, with_programs):
        """An initramfs with the benchmark programs, or the small one for measuring the boot."""
        path = os.path.join(self.cache, "rows.cpio" if with_programs else "boot.cpio")
        return build_initrd(path, os.path.join(BENCH, "init"), self.programs.values() if with_programs else [])
