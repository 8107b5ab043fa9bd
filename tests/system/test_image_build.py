#!/usr/bin/env python3
"""
`lodge image build` without a whole build: what it refuses, how it ends, what it shows, what its options put on the
disk. test_debian.py boots what it makes.
"""

import io
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import unittest

import lodge

BUILDER = pathlib.Path(lodge.LODGE).absolute().parent / "../share/lodge/build-debian"
SIZE = 1 << 30
ROOT_START = 135168 * 512
CAPABILITY = b"\1\0\0\2\0\x20\0\0" + bytes(12)  # cap_net_raw=ep, as the kernel stores it


class Usage(lodge.TestCase):
    """What `lodge image build` refuses, before it does anything."""

    def refused(self, *arguments):
        done = lodge.run(["image", "build", *arguments], cwd=self.folder)
        self.assertEqual(done.returncode, lodge.EXIT_USAGE, done.stderr)
        self.assertEqual(done.stderr.count(b"\n"), 1)
        self.assertEqual(list(self.folder.glob("*.build.*")), [])
        return done.stderr.decode()

    def test_refusals(self):
        self.assertIn("fedora", self.refused("fedora"))
        self.assertIn("--size", self.refused("debian", "-s", "10M"))
        self.assertIn("--hostname", self.refused("debian", "--hostname", "a b"))
        self.assertIn("--packages", self.refused("debian", "-p", "x; reboot"))
        (self.folder / "there").touch()
        self.assertIn("exists", self.refused("debian", "-o", "there"))

    def test_a_key_that_is_not_there(self):
        done = lodge.run(["image", "build", "debian", "-o", "x.qcow2", "--ssh-key", "missing.pub"], cwd=self.folder)
        self.assertEqual(done.returncode, lodge.EXIT_FAILED)
        self.assertIn(b"missing.pub", done.stderr)
        self.assertEqual(list(self.folder.glob("x.qcow2*")), [])


class Mirror:
    """A server on loopback; answers every request with what is given, or never."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = threading.Event()
        self.requests = []
        self.connections = []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self.server.getsockname()[1]}/debian"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection = self.server.accept()[0]
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        for line in connection.makefile("rb"):
            if line.startswith(b"GET "):
                self.requests.append(line.split()[1].decode())
                self.asked.set()
                if self.answer:
                    connection.sendall(self.answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for each in [self.server, *self.connections]:
            each.close()


@unittest.skipUnless(shutil.which("mmdebstrap"), "mmdebstrap is not installed")
class Ends(lodge.TestCase):
    """A build that does not get far."""

    def setUp(self):
        self.temporary = self.folder / "tmp"
        self.temporary.mkdir(mode=0o777, exist_ok=True)
        self.environment = dict(os.environ, TMPDIR=str(self.temporary), LODGE_CACHE=str(self.folder / "cache"),
                                HOME=str(self.folder), no_proxy="127.0.0.1")  # fmt: skip

    def command(self, mirror):
        return [lodge.LODGE, "image", "build", "debian", "-o", str(self.folder / "x.qcow2"), "--mirror", mirror.uri]

    def check_nothing_is_left(self):
        self.assertEqual(list(self.folder.glob("x.qcow2*")), [])
        self.assertEqual(list(self.temporary.iterdir()), [])
        for process in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                self.assertNotIn(os.fsencode(self.folder), process.read_bytes())
            except OSError:
                pass  # it has ended

    def test_a_mirror_without_debian(self):
        with Mirror(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") as mirror:
            done = subprocess.run(self.command(mirror), env=self.environment, capture_output=True, text=True, check=False,
                                  timeout=lodge.PATIENCE, stdin=subprocess.DEVNULL)  # fmt: skip
        self.assertEqual(done.returncode, lodge.EXIT_FAILED)
        self.assertIn("/debian/dists/bookworm/InRelease", mirror.requests)
        self.assertIn("/debian/dists/bookworm-updates/InRelease", mirror.requests)
        self.assertTrue(done.stderr.startswith("lodge: cannot build the image: "), done.stderr)
        self.assertIn("404", done.stderr)
        self.assertEqual(done.stdout, "")
        self.check_nothing_is_left()

    def test_signals(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            with self.subTest(number), Mirror(None) as mirror:
                with lodge.Program(self.command(mirror), env=self.environment) as build:
                    self.assertTrue(mirror.asked.wait(lodge.PATIENCE))
                    build.signal(number)
                    self.assertEqual(build.wait(), -number)
                    self.assertEqual(build.errors(), "")
                self.check_nothing_is_left()

    def test_terminal(self):
        """Progress is one line, and Ctrl-C takes it away."""
        with Mirror(None) as mirror, lodge.Program(self.command(mirror), terminal=True, env=self.environment) as build:
            build.expect(b"\r\x1b[Klooking for packages (")
            self.assertTrue(mirror.asked.wait(lodge.PATIENCE))
            build.send(b"\x03")
            build.expect(b"\r\x1b[K")
            self.assertEqual(build.wait(), -signal.SIGINT)
            self.assertNotIn(b"\n", build.output)
        self.check_nothing_is_left()

    @unittest.skipUnless(os.geteuid() == 0, "only root can take fakechroot away from another user")
    def test_no_way_without_root(self):
        """One line says what to install."""
        hidden = 'mount --bind /dev/null "$0"; mount --bind /dev/null "$1"; shift; exec "$@"'
        places = [shutil.which(name) or "/dev/null" for name in ("fakechroot", "newuidmap")]
        without = ["unshare", "--mount", "sh", "-ec", hidden, *places]
        if subprocess.run([*without, "true"], capture_output=True, check=False).returncode:
            self.skipTest("this host has no mount namespaces for us")
        self.folder.chmod(0o777)
        self.temporary.chmod(0o777)
        with Mirror(None) as mirror:
            done = subprocess.run(
                [*without, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *self.command(mirror)],
                env=dict(self.environment, LODGE_CACHE=str(self.folder / "other")), capture_output=True, text=True,
                check=False, timeout=lodge.PATIENCE, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self.assertEqual(done.returncode, lodge.EXIT_FAILED, done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn("apt-get install fakechroot", done.stderr)
        self.check_nothing_is_left()


@unittest.skipUnless(os.geteuid() == 0 or shutil.which("fakeroot"), "fakeroot is not installed")
class Disk(lodge.TestCase):
    """What the options put on the disk, with a handful of files in place of Debian's."""

    def archive(self, work):
        """mmdebstrap's root.tar."""

        def add(name, data=b"", uid=0, mode=0o644, kind=tarfile.REGTYPE, **headers):
            member = tarfile.TarInfo("./" + name)
            member.size, member.uid, member.gid, member.mode, member.type = len(data), uid, uid, mode, kind
            member.pax_headers = headers
            archive.addfile(member, io.BytesIO(data))

        with tarfile.open(work / "root.tar", "w", format=tarfile.PAX_FORMAT) as archive:
            for name in ("", "boot", "etc", "etc/ssh", "root", "usr", "usr/bin", "dev"):
                add(name, mode=0o755, kind=tarfile.DIRTYPE)
            add("etc/shadow", b"root:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n", uid=42, mode=0o640)
            add("etc/ssh/ssh_host_rsa_key", b"of the machine that built it")
            add("usr/bin/ping", b"ping", mode=0o755,
                **{"SCHILY.xattr.security.capability": CAPABILITY.decode("utf-8", "surrogateescape")})  # fmt: skip
            add("vmlinuz", b"kernel")
            add("initrd.img", b"initrd")

    def fill(self, name, *options):
        """Runs the second half of the builder; the disk is at self.disk."""
        work = self.folder / "build" / name
        work.mkdir(parents=True)
        self.disk = work / "disk"
        self.disk.touch()
        os.truncate(self.disk, SIZE)
        self.archive(work)
        command = [sys.executable, BUILDER, "--fill", str(64 << 20), "--work", work, "--size", str(SIZE), *options]
        if os.geteuid() != 0:
            command = ["fakeroot", *command]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=lodge.PATIENCE,
                              env=dict(os.environ, HOME=str(self.folder)))  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)

    def ask(self, request):
        return subprocess.run(
            ["debugfs", "-R", request, f"{self.disk}?offset={ROOT_START}"], capture_output=True, check=True,
            timeout=lodge.PATIENCE,
        )  # fmt: skip

    def text(self, name):
        return self.ask(f"cat {name}").stdout.decode()

    def status(self, name):
        """Mode and owner, or None."""
        told = self.ask(f"stat {name}").stdout.decode().replace("\n", " ").split()
        if "Mode:" not in told:
            return None
        return told[told.index("Mode:") + 1], told[told.index("User:") + 1]

    def test_defaults(self):
        (self.folder / ".ssh").mkdir(exist_ok=True)
        (self.folder / ".ssh/id.pub").write_text("ssh-ed25519 AAAA me\n")
        self.fill("defaults")
        self.assertEqual(self.text("/etc/hostname"), "debian\n")
        self.assertIn("127.0.1.1\tdebian\n", self.text("/etc/hosts"))
        self.assertEqual(self.text("/etc/machine-id"), "")
        self.assertEqual(self.text("/root/.ssh/authorized_keys"), "ssh-ed25519 AAAA me\n")
        self.assertEqual(self.status("/root/.ssh/authorized_keys"), ("0600", "0"))
        self.assertEqual(self.status("/root/.ssh"), ("0700", "0"))
        self.assertIn("--autologin root", self.text("/etc/systemd/system/serial-getty@.service.d/autologin.conf"))
        self.assertTrue(self.text("/etc/shadow").startswith("root:*:"))
        self.assertEqual(self.status("/etc/shadow"), ("0640", "42"))
        self.assertIsNone(self.status("/etc/ssh/ssh_host_rsa_key"))
        sources = self.text("/etc/apt/sources.list").splitlines()
        self.assertEqual({line.split("/")[2] for line in sources}, {"deb.debian.org"})
        self.assertEqual(self.text("/var/lib/grow-root/size"), f"{SIZE // 512}\n")
        value = self.folder / "value"
        self.ask(f"ea_get -f {value} /usr/bin/ping security.capability")
        self.assertEqual(value.read_bytes(), CAPABILITY)

    def test_password_and_name(self):
        password = self.folder / "password"
        password.write_text("correct horse\nnot this\n")
        key = self.folder / "key.pub"
        key.write_text("ssh-ed25519 BBBB you")
        self.fill("password", "--password", password, "--hostname", "web.example", "--ssh-key", key)
        self.assertEqual(self.text("/etc/hostname"), "web.example\n")
        self.assertEqual(self.text("/root/.ssh/authorized_keys"), "ssh-ed25519 BBBB you\n")
        self.assertIsNone(self.status("/etc/systemd/system/serial-getty@.service.d/autologin.conf"))
        root, nobody = (line.split(":") for line in self.text("/etc/shadow").splitlines())
        self.assertEqual(nobody[1], "*")
        made = subprocess.run(["openssl", "passwd", "-6", "-salt", root[1].split("$")[2], "correct horse"],
                              capture_output=True, text=True, check=True)  # fmt: skip
        self.assertEqual(root[1], made.stdout.strip())
        self.assertEqual(self.status("/etc/shadow"), ("0640", "42"))


if __name__ == "__main__":
    lodge.main()
