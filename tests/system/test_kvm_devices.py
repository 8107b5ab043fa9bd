#!/usr/bin/env python3
"""Disks, a user network and vsock under KVM: their threads send interrupts. Run by tests/nested, where /dev/kvm works.

LODGE_KERNEL and LODGE_INITRD name the guest's files, LODGE_JOB what it does (below), with the drivers.
"""

import os
import pathlib
import socket
import sys
import threading

sys.dont_write_bytecode = True

import lodge  # noqa: E402

CPU = os.environ.get("LODGE_CPU", "host")
DRIVERS = (
    "virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk", "failover",
    "net_failover", "virtio_net", "vsock", "vmw_vsock_virtio_transport_common", "vmw_vsock_virtio_transport",
)  # fmt: skip
PORT = 7777  # of the host's loopback
SCRIPT = "#!/bin/sh\nset -e\ndmesg -n 1\n" + "".join(f"insmod ./{name}.ko\n" for name in DRIVERS) + f"""
for disk in vda vdb; do
    dd if=/dev/urandom of=/dev/$disk bs=64k count=32 conv=fsync 2>/dev/null
    dd if=/dev/$disk of=/dev/null bs=64k count=32 2>/dev/null
    blkdiscard /dev/$disk
done
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
dd if=/dev/zero bs=1k count=100 2>/dev/null | nc 10.0.2.2 {PORT}
dd if=/dev/zero bs=1k count=100 2>/dev/null | ./vsock call 1234 >/dev/null
"""


class Devices(lodge.TestCase):
    def collect(self, server, received):
        def serve():
            connection, _ = server.accept()
            with connection:
                size = 0
                while part := connection.recv(65536):
                    size += len(part)
            received.append(size)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        return thread

    def test_work(self):
        raw, qcow2, path = self.folder / "raw", self.folder / "qcow2", self.folder / "v"
        for file in (raw, qcow2):
            self.assertEqual(lodge.run(["image", "create", "-f", file.name, str(file), "16M"]).returncode, 0)
        received = []
        with socket.create_server(("127.0.0.1", PORT)) as tcp, socket.socket(socket.AF_UNIX) as local:
            local.bind(f"{path}_1234")
            local.listen(1)
            servers = [self.collect(server, received) for server in (tcp, local)]
            machine = lodge.Machine([
                "--no-reboot", "--cpu", CPU, "-m", "256M", "--kernel", os.environ["LODGE_KERNEL"], "--initrd",
                os.environ["LODGE_INITRD"], "--initrd", os.environ["LODGE_JOB"], "--append", "console=ttyS0 quiet panic=-1",
                "-d", f"{raw},format=raw", "-d", str(qcow2), "-n", "user", "--vsock", str(path),
            ])  # fmt: skip
            self.addCleanup(machine.close)
            machine.expect(b"job: status 0", 4 * lodge.PATIENCE)
            self.assertEqual(machine.wait(), lodge.EXIT_OK)
            for server in servers:
                server.join(lodge.PATIENCE)
        self.assertEqual(received, [100 << 10] * 2)
        for thread in ("lodge/disk", "sandbox"):
            self.assertNotIn(thread, machine.errors())
        self.assertFalse(pathlib.Path(path).exists())


if __name__ == "__main__":
    lodge.main()
