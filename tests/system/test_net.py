#!/usr/bin/env python3
"""Networks under a stock Debian kernel with its own driver: a user network, without privileges, and a tap interface."""

import hashlib
import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import threading
import unittest

import lodge

DRIVERS = [
    "virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "failover",
    "net_failover", "virtio_net",
]  # fmt: skip

START = "dmesg -n 1\n" + "".join(f"insmod ./{name}.ko\n" for name in DRIVERS) + "ip link set lo up\nip link set eth0 up\n"

DHCP = r"""cat >/tmp/bound <<'END'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add $ip/24 dev $interface
ip route add default via $router
echo "bound $ip $router $dns $hostname"
END
chmod +x /tmp/bound
udhcpc -i eth0 -n -q -f -s /tmp/bound 2>&1
"""

MEGABYTES = 8


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def resolver():
    """The address of the host's name server, or None if none answers."""
    try:
        lines = pathlib.Path("/etc/resolv.conf").read_text(encoding="utf-8").splitlines()
        socket.getaddrinfo("deb.debian.org", 80)
    except OSError:
        return None
    return next((line.split()[1] for line in lines if line.startswith("nameserver")), None)


class Net(lodge.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.modules = lodge.guest_image("modules", "cloud")
        cls.initramfs = lodge.guest_image("initramfs")
        # Whoever runs this as root must not get more than others.
        cls.unprivileged = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            cls.unprivileged = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            copies = cls.folder / "images"
            copies.mkdir()
            cls.kernel = shutil.copy(f"{cls.modules}/vmlinuz", copies)
            cls.initramfs = shutil.copy(cls.initramfs, copies)
            cls.program = shutil.copy(lodge.LODGE, copies)
        else:
            cls.kernel, cls.program = f"{cls.modules}/vmlinuz", lodge.LODGE

    def machine(self, script, *arguments, files=(), prefix=(), unprivileged=True):
        run = self.folder / "run"
        run.write_text("#!/bin/sh\n" + START + script)
        job = self.folder / "job.cpio"
        lodge.guest_image("job", job, run, *[f"{self.modules}/{name}.ko" for name in DRIVERS], *files)
        job.chmod(0o644)
        if not any(argument == "-n" or argument.startswith("--net") for argument in arguments):
            arguments = ("-n", "user", *arguments)
        popen = self.unprivileged if unprivileged else {}
        before, lodge.LODGE = lodge.LODGE, self.program
        try:
            return lodge.Machine(
                ["--no-reboot", "-m", "512M", "--kernel", self.kernel, "--initrd", self.initramfs, "--initrd", str(job),
                 "--append", "console=ttyS0 quiet panic=-1", *arguments],
                prefix=prefix, **popen,
            )  # fmt: skip
        finally:
            lodge.LODGE = before

    def finish(self, machine):
        """The rest of what the guest says, with status 0."""
        output = machine.expect(b"job: status 0", 5 * lodge.PATIENCE)
        self.assertEqual(machine.wait(), 0)
        return output.decode(errors="replace").replace("\r\n", "\n")

    def test_address_and_echo(self):
        """An address by DHCP; the way out answers; the address of the card follows the name."""
        cards = []
        for name in ("one", "two", "one"):
            with self.machine(DHCP + "ping -c 2 10.0.2.2\ncat /sys/class/net/eth0/address\n", "--name", name) as machine:
                output = self.finish(machine)
            self.assertIn("bound 10.0.2.15 10.0.2.2 10.0.2.3", output)
            self.assertIn("2 packets received", output)
            cards.append(next(line for line in output.splitlines() if line.startswith("02:")))
        self.assertEqual(cards[0], cards[2])
        self.assertNotEqual(cards[0], cards[1])

    def test_options(self):
        """Several cards, an address that was given, a name by DHCP, and no card at all."""
        with self.machine(
            DHCP + "cat /sys/class/net/eth*/address\n",
            "-n", "user,mac=52:54:00:12:34:56,hostname=box", "-n", "none", "--net=user,restrict",
        ) as machine:
            output = self.finish(machine)
        self.assertIn("bound 10.0.2.15 10.0.2.2 10.0.2.3 box\n", output)
        self.assertIn("52:54:00:12:34:56\n02:", output)
        with self.machine("ls /sys/class/net\n", "-n", "none") as machine:
            self.assertNotIn("eth0\n", self.finish(machine).partition("ls:")[2])

    def test_guest_calls_host(self):
        """Megabytes in both directions over a connection that the guest opens."""
        content = os.urandom(MEGABYTES << 20)
        given = self.folder / "given"
        given.write_bytes(content)
        received = []
        with socket.create_server(("127.0.0.1", 0)) as server:
            def serve():
                for _ in range(2):
                    connection = server.accept()[0]
                    with connection:
                        if received:
                            connection.sendall(received[0][::-1])
                            continue
                        data = bytearray()
                        while part := connection.recv(1 << 16):
                            data += part
                        received.append(bytes(data))

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            port = server.getsockname()[1]
            with self.machine(
                DHCP + f"nc 10.0.2.2 {port} <given\nnc 10.0.2.2 {port} </dev/null | md5sum\n", files=[given]
            ) as machine:
                output = self.finish(machine)
            thread.join(lodge.PATIENCE)
        self.assertEqual(hashlib.sha256(received[0]).digest(), hashlib.sha256(content).digest())
        self.assertIn(hashlib.md5(content[::-1]).hexdigest(), output)

    def test_forward(self):
        """Megabytes in both directions over connections from the host, and datagrams that are answered, small and large."""
        content = os.urandom(MEGABYTES << 20)
        tcp, udp = free_port(), free_port(socket.SOCK_DGRAM)
        script = DHCP + (
            "echo waiting\nnc -l -p 80 >/tmp/got\nmd5sum </tmp/got\necho again\nnc -l -p 80 </tmp/got >/dev/null\n"
            "./answer 53 & echo datagram\nread line </dev/ttyS0\n"
        )
        answer = self.folder / "answer"
        source = lodge.HERE / "guests" / "udp_size.c"
        subprocess.run(["gcc", "-O2", "-static", "-o", answer, source], check=True)
        forwards = f"user,forward=tcp:{tcp}:80,forward=udp:127.0.0.1:{udp}:53"
        with self.machine(script, "-n", forwards, files=[answer]) as machine:
            machine.expect(b"waiting", 5 * lodge.PATIENCE)
            machine.read_some(1)
            with socket.create_connection(("127.0.0.1", tcp)) as connection:
                connection.sendall(content)
            machine.expect(hashlib.md5(content).hexdigest().encode(), 2 * lodge.PATIENCE)
            machine.expect(b"again")
            machine.read_some(1)
            data = bytearray()
            with socket.create_connection(("127.0.0.1", tcp)) as connection:
                connection.settimeout(lodge.PATIENCE)
                while len(data) < len(content) and (part := connection.recv(1 << 16)):
                    data += part
            self.assertEqual(hashlib.sha256(data).digest(), hashlib.sha256(content).digest())
            machine.expect(b"datagram")
            self.assertEqual(self.ask(udp, b"x" * 100), b"got 100")
            self.assertEqual(self.ask(udp, b"y" * 4000), b"got 4000")  # in fragments
            machine.send(b"\n")
            self.finish(machine)

    def ask(self, port, question):
        """What comes back for a datagram; it may be lost."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.settimeout(2)
            for _ in range(10):
                sender.sendto(question, ("127.0.0.1", port))
                try:
                    return sender.recv(100)
                except TimeoutError:
                    pass
        return None

    def test_names(self):
        if not resolver():
            self.skipTest("the host resolves no names")
        with self.machine(DHCP + "nslookup deb.debian.org 10.0.2.3\n") as machine:
            self.assertRegex(self.finish(machine), r"Name:\s+deb\S+")

    def test_restrict(self):
        """Nothing of the host is reached."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            script = DHCP + f"nc -w 5 10.0.2.2 {port} </dev/null && echo reached || echo kept in\n"
            with self.machine(script, "-n", "user,restrict") as machine:
                self.assertIn("kept in\n", self.finish(machine))

    def test_wrong_networks(self):
        """One line each that says what is wrong."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            for spec, said in (
                (f"user,forward=tcp:{port}:80", str(port)), ("tap=lodge-none", "ip tuntap add"), ("bridge", "'bridge'"),
                ("tap=lo", "lo"), ("user,mac=ff:ff:ff:ff:ff:ff", "mac="), ("user,forward=tcp:1", "forward="),
            ):
                with self.subTest(spec=spec):
                    result = lodge.run(["run", "--engine", lodge.ENGINE, "--kernel", self.kernel, "-n", spec])
                    self.assertEqual(result.returncode, lodge.EXIT_FAILED)
                    lines = result.stderr.decode().splitlines()
                    self.assertEqual(len(lines), 1, lines)
                    self.assertIn(said, lines[0])

    def test_tap(self):
        """In a network namespace of its own: the host's kernel and the guest reach each other, over two queues."""
        own = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
        make = "ip tuntap add lodge0 mode tap multi_queue && ip addr add 10.9.8.1/24 dev lodge0 && ip link set lodge0 up"
        if subprocess.run([*own, "sh", "-c", make], capture_output=True, check=False).returncode != 0:
            self.skipTest("no tap interface can be made here")
        content = os.urandom(MEGABYTES << 20)
        given = self.folder / "given"
        given.write_bytes(content)
        server = (
            "import socket\nserver = socket.create_server(('10.9.8.1', 7000))\nconnection = server.accept()[0]\n"
            "data = b''\nwhile part := connection.recv(65536): data += part\nconnection.close()\n"
            "connection = server.accept()[0]\nconnection.sendall(data[::-1])\nconnection.close()\n"
        )
        helper = self.folder / "helper.py"
        helper.write_text(server)
        script = (
            "ip addr add 10.9.8.2/24 dev eth0\nping -c 2 10.9.8.1\nls /sys/class/net/eth0/queues\n"
            "nc 10.9.8.1 7000 <given\nnc 10.9.8.1 7000 </dev/null | md5sum\n"
        )
        prefix = [*own, "sh", "-c", f'{make} && {{ python3 {helper} & exec "$@"; }}', "sh"]
        with self.machine(
            script, "-n", "tap=lodge0", "-c", "2", files=[given], prefix=prefix, unprivileged=False
        ) as machine:
            output = self.finish(machine)
        self.assertIn("2 packets received", output)
        self.assertIn("rx-1", output)
        self.assertIn(hashlib.md5(content[::-1]).hexdigest(), output)


if __name__ == "__main__":
    lodge.main()
