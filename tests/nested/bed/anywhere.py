"""Where a command finds a working KVM: here if this machine has one, otherwise in the outer guest."""

import os
import subprocess
import sys

from . import outer
from .payload import Payload, Unusable

EXIT_SKIP = 77
PROBE_LIMIT = 20  # seconds


def works_here(lodge, guest):
    """Whether lodge, left to itself, runs a guest program under KVM on this machine."""
    command = [lodge, "run", "--debug-exit", "--no-reboot", "--kernel", guest]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return False
    return b"lodge: engine kvm" in done.stderr


def run(here, settings, files, command):
    """
    Runs a command here or in the outer guest with the files; returns its exit status. 77 if QEMU, which is
    needed for that, is not installed. Raises Unusable if the outer guest fails.
    """
    if here:
        print("anywhere: /dev/kvm works here, no outer guest is needed", flush=True)
        done = subprocess.run(command, env={**os.environ, **settings.environment}, stdin=subprocess.DEVNULL,
                              timeout=settings.limit, check=False)  # fmt: skip
        return done.returncode
    try:
        outer.check_installed(settings)
    except Unusable as reason:
        print(f"anywhere: not tested: {reason}")
        return EXIT_SKIP
    payload = Payload()
    for file in files:
        payload.add(file)
    outcome = outer.run(settings, payload, command, sys.stdout.buffer)
    print(f"anywhere: {outcome.seconds:.1f} s; in the outer guest, the command began after "
          f"{outcome.boot_seconds:.1f} s and took {outcome.command_seconds:.1f} s", flush=True)  # fmt: skip
    return outcome.status
