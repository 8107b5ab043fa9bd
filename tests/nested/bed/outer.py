"""The outer guest: QEMU's translator with AMD's virtualization, a Debian kernel, and a command in it."""

import dataclasses
import os
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time

from .payload import ROOT, Unusable

GUEST_IMAGE = os.path.join(ROOT, "tools", "guest-image")
INIT = os.path.join(ROOT, "tests", "nested", "outer-init")
BUSYBOX = "/bin/busybox"
PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/sh\n"
GROUP = "root:x:0:\nkvm:x:106:nobody\nnogroup:x:65534:\n"
FETCH_LIMIT = 600  # seconds
WAKE_PERIOD = 0.05  # seconds
QUOTED_LINES = 15  # of the outer kernel's messages, when it ended without a result

KVM_MODULES = ["irqbypass", "kvm", "kvm-amd npt=1"]
NETWORK_MODULES = [
    "virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "failover",
    "net_failover", "virtio_net",
]  # fmt: skip
# oops=panic: a KVM that stumbles ends in a report.
COMMAND_LINE = "console=ttyS0 quiet panic=-1 oops=panic mitigations=off no5lvl tsc=reliable"


@dataclasses.dataclass
class Settings:
    """How the outer guest is made. Sizes in MiB, times in seconds."""

    qemu: str = "qemu-system-x86_64"
    cpus: int = 1
    processor: str = "max,+svm,+npt,-la57"
    memory: int = 2048
    clock: str = "instructions"  # or "host"
    limit: float = 120
    user: bool = False
    interactive: bool = False
    environment: dict = dataclasses.field(default_factory=dict)
    bridges: list = dataclasses.field(default_factory=list)  # (host port, guest port)
    results: list = dataclasses.field(default_factory=list)  # (guest path, host path)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a command."""

    status: int
    seconds: float  # on the host's clock, from starting QEMU to its end
    boot_seconds: float  # on the outer guest's clock, until the command began
    command_seconds: float  # on the outer guest's clock
    missing: list  # result files that were not there


def check_installed(settings):
    """Raises Unusable if something is not installed."""
    if shutil.which(settings.qemu) is None:
        raise Unusable(f"{settings.qemu} is not installed (Debian: qemu-system-x86)")
    if not os.path.exists(BUSYBOX):
        raise Unusable(f"{BUSYBOX} is not installed (Debian: busybox-static)")


def fetch_modules():
    """The folder of the outer kernel and its modules, downloaded the first time."""
    done = subprocess.run([GUEST_IMAGE, "modules", "cloud"], stdout=subprocess.PIPE, text=True, timeout=FETCH_LIMIT,
                          check=False)  # fmt: skip
    if done.returncode != 0:
        raise Unusable("no outer kernel")
    return done.stdout.strip()


def add_system(payload, settings, command, modules):
    """What each outer guest has: busybox, the modules, and the command as a script."""
    wanted = KVM_MODULES + (NETWORK_MODULES if settings.bridges else [])
    for module in wanted:
        name = module.split()[0]
        payload.add(os.path.join(modules, name + ".ko"), f"modules/{name}.ko")
    payload.add(os.path.realpath(BUSYBOX), "bin/busybox")
    payload.add(INIT, "init")
    payload.add_text("etc/passwd", PASSWD)
    payload.add_text("etc/group", GROUP)
    payload.add_text("run/modules", "".join(module + "\n" for module in wanted))
    payload.add_text("run/results", "".join(guest.lstrip("/") + "\n" for guest, _ in settings.results))
    payload.add_text("run/bridges", "".join(f"{inside} {inside ^ 0x8000}\n" for _, inside in settings.bridges))
    payload.add_text("run/command", command_script(settings, command), 0o755)
    payload.add_folder(os.getcwd())
    if settings.interactive:
        payload.add_text("run/interactive", "")


def command_script(settings, command):
    """The command runs in a folder of the same name as the one here, so that relative paths mean the same."""
    lines = ["#!/bin/sh", f"cd {shlex.quote(os.getcwd())}"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in settings.environment.items()]
    words = " ".join(map(shlex.quote, command))
    lines.append(f"exec su -p -s /bin/sh nobody -c {shlex.quote('exec ' + words)}" if settings.user else f"exec {words}")
    return "\n".join(lines) + "\n"


def qemu_command(settings, kernel, initrd, folder):
    """
    QEMU's command line. The processor's time is the number of instructions by default, on one thread of the
    host: then QEMU's timers run between two instructions, and cannot lose an interrupt to a world switch that
    another thread makes at the same moment; a host that is busy makes nothing look slow; nobody waits for a
    guest that sleeps.
    """
    threads = "single" if settings.clock == "instructions" or settings.cpus == 1 else "multi"
    command = [
        "setpriv", "--pdeathsig", "KILL", settings.qemu, "-nodefaults", "-no-user-config", "-display", "none",
        "-no-reboot", "-machine", "q35", "-accel", f"tcg,thread={threads}", "-cpu", settings.processor,
        "-smp", str(settings.cpus), "-m", str(settings.memory), "-kernel", kernel, "-initrd", initrd,
        "-append", COMMAND_LINE,
        "-chardev", f"file,id=kernel,path={folder}/kernel", "-device", "isa-serial,chardev=kernel",
        "-chardev", "stdio,id=command,signal=off", "-device", "isa-serial,chardev=command",
        # With interrupts of their own: the legacy ones are shared by twos, and edges get lost.
        "-chardev", f"file,id=results,path={folder}/results", "-device", "isa-serial,chardev=results,irq=5",
    ]  # fmt: skip
    if settings.clock == "instructions":
        # Nobody waits for a guest that sleeps, unless it waits for somebody out here.
        sleep = "on" if settings.bridges or settings.interactive else "off"
        command += ["-icount", f"shift=1,sleep={sleep}"]
    if settings.bridges:
        forwards = "".join(f",hostfwd=tcp:127.0.0.1:{host}-:{inside ^ 0x8000}" for host, inside in settings.bridges)
        command += ["-netdev", f"user,id=net,restrict=on{forwards}", "-device", "virtio-net-pci,netdev=net,romfile="]
    return command


def run(settings, payload, command, output):
    """
    Runs a command with the files of the payload; its output goes to `output`, a binary stream, as it comes.
    Returns an Outcome. Raises Unusable if there is no result: QEMU failed, the outer kernel, or time was up.
    """
    check_installed(settings)
    modules = fetch_modules()
    with tempfile.TemporaryDirectory(prefix="nested-") as folder:
        add_system(payload, settings, command, modules)
        initrd = os.path.join(folder, "initrd")
        payload.build(initrd)
        started = time.monotonic()
        with Qemu(settings, qemu_command(settings, os.path.join(modules, "vmlinuz"), initrd, folder)) as qemu:
            in_time = qemu.copy_output(output)
        seconds = time.monotonic() - started
        if not in_time:
            raise Unusable(f"no end within {settings.limit:g} s; killed")
        return read_outcome(settings, folder, seconds)


class Qemu:
    """The process; at the end of the block nothing is left of it."""

    def __init__(self, settings, command):
        self._settings = settings
        self._timer = threading.Timer(settings.limit, self._time_is_up)
        self._in_time = True
        self._process = subprocess.Popen(
            command, stdin=None if settings.interactive else subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            start_new_session=not settings.interactive,
        )  # fmt: skip

    def __enter__(self):
        self._timer.start()
        if not self._settings.interactive:
            threading.Thread(target=self._wake, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._timer.cancel()
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def _time_is_up(self):
        self._in_time = False
        self._process.kill()

    def _wake(self):
        """See outer-init; only the host's clock needs it."""
        try:
            while self._settings.clock == "host" and self._process.poll() is None:
                self._process.stdin.write(b".")
                time.sleep(WAKE_PERIOD)
        except OSError:
            pass

    def copy_output(self, output):
        """Until the end. False if it was killed because time was up."""
        while data := os.read(self._process.stdout.fileno(), 65536):
            output.write(data)
            output.flush()
        self._process.wait()
        return self._in_time


def read_outcome(settings, folder, seconds):
    """Takes the archive on the third serial port apart."""
    try:
        with tarfile.open(os.path.join(folder, "results")) as archive:
            status = int(archive.extractfile("run/status").read())
            before, after = map(float, archive.extractfile("run/times").read().split())
            missing = [guest for guest, host in settings.results if not extract(archive, guest, host)]
    except (tarfile.TarError, KeyError, ValueError):
        with open(os.path.join(folder, "kernel"), encoding="ascii", errors="replace") as file:
            last = file.read().strip().splitlines()[-QUOTED_LINES:]
        raise Unusable("\n".join(["the outer guest ended without a result; its last messages:", *last])) from None
    return Outcome(status, seconds, before, after - before, missing)


def extract(archive, guest, host):
    """Writes one file of the archive; False if it is not in it."""
    try:
        file = archive.extractfile(guest.lstrip("/"))
    except KeyError:
        return False
    if file is None:
        return False
    with open(host, "wb") as out:
        shutil.copyfileobj(file, out)
    return True
