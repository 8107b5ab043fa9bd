"""How much memory a virtual machine takes besides what its guest uses."""

import re
from dataclasses import dataclass

from .programs import Failure

HEADER = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ (?P<offset>[0-9a-f]+) \S+ (?P<inode>\d+) *(?P<name>.*)$")
FIELD = re.compile(r"^(?P<field>Size|Pss): +(?P<kib>\d+) kB$")


@dataclass(frozen=True)
class Memory:
    """All in bytes."""

    own: int  # proportional share of everything that is not guest memory
    guest: int  # guest memory that is resident
    page_tables: int


def measure_memory(pid, guest_mib):
    """Looks at a running machine."""
    try:
        with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as file:
            mappings = list(parse_mappings(file))
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            tables = re.search(r"^VmPTE:\s+(\d+) kB$", file.read(), re.MULTILINE)
    except OSError as error:
        raise Failure(f"/proc/{pid}: {error.strerror}") from None
    guest_kib = guest_mib << 10
    files = guest_files(mappings, guest_kib)
    own = guest = 0
    for mapping in mappings:
        if mapping.inode in files or mapping.is_anonymous_guest(guest_kib):
            guest += mapping.pss
        else:
            own += mapping.pss
    return Memory(own * 1024, guest * 1024, int(tables[1]) * 1024 if tables else 0)


@dataclass
class Mapping:
    """One paragraph of smaps; offset, size and pss in KiB."""

    inode: int
    name: str
    offset: int
    size: int = 0
    pss: int = 0

    def is_anonymous_guest(self, guest_kib):
        """QEMU's guest memory: one anonymous mapping of exactly the guest's size."""
        return self.inode == 0 and self.size == guest_kib


def parse_mappings(lines):
    mapping = None
    for line in lines:
        header = HEADER.match(line)
        field = FIELD.match(line)
        if header:
            if mapping:
                yield mapping
            mapping = Mapping(int(header["inode"]), header["name"], int(header["offset"], 16) >> 10)
        elif field and mapping:
            setattr(mapping, field["field"].lower(), int(field["kib"]))
    if mapping:
        yield mapping


def guest_files(mappings, guest_kib):
    """The inodes of memory files that reach to the guest's size: Lodge's guest memory, however often it is mapped."""
    return {
        mapping.inode
        for mapping in mappings
        if mapping.name.startswith("/memfd:") and mapping.offset + mapping.size >= guest_kib
    }
