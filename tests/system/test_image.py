#!/usr/bin/env python3
"""`lodge image` from outside: what it makes, tells, mends and refuses; QEMU's programs are the judges."""

import json
import os
import pathlib
import pty
import random
import signal
import subprocess
import time
import unittest

import lodge

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


class Image(lodge.TestCase):
    def setUp(self):
        for path in self.folder.iterdir():
            path.unlink()

    def path(self, name):
        return str(self.folder / name)

    def image(self, *arguments, status=0, **kwargs):
        """`lodge image` with names below the scratch folder where an argument begins with @."""
        arguments = [self.path(a[1:]) if a.startswith("@") else a for a in arguments]
        result = lodge.run(["image", *arguments], **kwargs)
        self.assertEqual(result.returncode, status, (arguments, result.stderr.decode(), result.stdout.decode()))
        if status == 0:
            self.assertEqual(result.stderr, b"")
        return result

    def refuse(self, status, text, *arguments, **kwargs):
        result = self.image(*arguments, status=status, **kwargs)
        errors = result.stderr.decode()
        self.assertEqual(result.stdout, b"")
        self.assertEqual(len(errors.splitlines()), 1, errors)
        self.assertTrue(errors.startswith("lodge: "), errors)
        self.assertIn(text, errors)
        return errors

    def qemu(self, *command, status=0):
        result = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, status, (command, result.stdout, result.stderr))
        return result.stdout

    def info(self, name):
        return json.loads(self.image("info", "--format", "json", "@" + name).stdout)

    def names(self):
        return sorted(path.name for path in self.folder.iterdir())

    def make_data(self, name, size=24 * MIB):
        rng = random.Random(5)
        with open(self.folder / name, "wb") as out:
            out.truncate(size)
            for at in range(0, size, 3 * MIB):
                out.seek(at)
                out.write(rng.randbytes(300 * KIB + 17) + b"lodge" * 50000)

    def test_create(self):
        self.image("create", "@a.qcow2", "10G")
        self.qemu("qemu-img", "check", "a.qcow2")
        theirs = json.loads(self.qemu("qemu-img", "info", "--output", "json", "a.qcow2"))
        self.assertEqual((theirs["format"], theirs["virtual-size"]), ("qcow2", 10 * GIB))
        ours = self.info("a.qcow2")
        self.assertEqual((ours["format"], ours["size"], ours["cluster-size"]), ("qcow2", 10 * GIB, 64 * KIB))
        self.assertLess(ours["space-taken"], MIB)
        self.image("create", "-f", "raw", "@a.raw", "1M")
        self.assertEqual(os.stat(self.path("a.raw")).st_size, MIB)
        self.image("create", "--cluster-size", "512", "--compression", "zstd", "@b.qcow2", "100M")
        self.qemu("qemu-img", "check", "b.qcow2")
        self.assertEqual(self.info("b.qcow2")["compression"], "zstd")
        self.image("create", "@large.qcow2", "60T")
        self.qemu("qemu-img", "check", "large.qcow2")

    def test_create_over_a_backing_file(self):
        self.make_data("base.raw")
        self.image("create", "-b", "base.raw", "-F", "raw", "@over.qcow2")
        self.image("create", "-b", "over.qcow2", "-F", "qcow2", "@top.qcow2", "50M")
        self.assertEqual(self.info("over.qcow2")["size"], 24 * MIB)
        self.assertEqual(self.info("top.qcow2")["backing-file"], "over.qcow2")
        self.qemu("qemu-img", "compare", "-F", "raw", "-f", "qcow2", "over.qcow2", "base.raw")
        self.image("convert", "-O", "raw", "@top.qcow2", "@flat")
        self.qemu("qemu-img", "compare", "-F", "raw", "-f", "qcow2", "top.qcow2", "flat")
        before = self.names()
        self.refuse(1, "backing=allow", "create", "-b", "/etc/passwd", "-F", "raw", "@x.qcow2")
        self.refuse(1, "No such file", "create", "-b", "missing", "-F", "raw", "@x.qcow2")
        self.assertEqual(self.names(), before)
        self.image("create", "--backing-rule", "allow", "-b", "/etc/passwd", "-F", "raw", "@x.qcow2")

    def test_convert_there_and_back(self):
        self.make_data("data")
        for options in ([], ["-c"], ["-c", "--compression", "zstd"], ["-c", "--cluster-size", "4K"], ["--cluster-size", "2M"]):
            with self.subTest(options=options):
                self.image("convert", *options, "@data", "@out.qcow2")
                self.qemu("qemu-img", "check", "out.qcow2")
                self.qemu("qemu-img", "compare", "-f", "raw", "-F", "qcow2", "data", "out.qcow2")
                self.assertEqual(self.image("check", "@out.qcow2").stdout.splitlines()[0], b"no errors")
                self.image("convert", "-O", "raw", "@out.qcow2", "@back")
                self.assertEqual(
                    (self.folder / "back").read_bytes()[: 24 * MIB], (self.folder / "data").read_bytes()[: 24 * MIB]
                )
        self.assertLess(os.stat(self.path("back")).st_blocks * 512, 12 * MIB)  # holes stay holes
        self.assertEqual(self.names(), ["back", "data", "out.qcow2"])

    def test_convert_packs(self):
        (self.folder / "data").write_bytes(b"much the same" * 1000000)
        self.image("convert", "@data", "@plain.qcow2")
        self.image("convert", "-c", "@data", "@packed.qcow2")
        self.assertLess(os.stat(self.path("packed.qcow2")).st_size * 5, os.stat(self.path("plain.qcow2")).st_size)

    def test_convert_shows_progress_on_a_terminal_only(self):
        self.make_data("data")
        self.image("convert", "@data", "@out")  # asserts an empty stderr
        master, slave = pty.openpty()
        subprocess.run([lodge.LODGE, "image", "convert", self.path("data"), self.path("out")], stderr=slave, check=True)
        os.close(slave)
        self.assertIn(b"100 %", os.read(master, 65536))
        os.close(master)

    def test_convert_that_is_interrupted_leaves_nothing(self):
        with open(self.folder / "data", "wb") as out:
            for _ in range(48):
                out.write(random.randbytes(MIB))
        (self.folder / "out").write_bytes(b"what was there before")
        process = subprocess.Popen([lodge.LODGE, "image", "convert", "-c", self.path("data"), self.path("out")])
        while len(self.names()) < 3:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(30), -signal.SIGTERM)
        self.assertEqual(self.names(), ["data", "out"])
        self.assertEqual((self.folder / "out").read_bytes(), b"what was there before")

    def test_convert_without_room(self):
        import resource

        self.make_data("data")

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (4 * MIB, 4 * MIB))

        self.refuse(1, "make room", "convert", "@data", "@out", preexec_fn=limit)
        self.assertEqual(self.names(), ["data"])

    def test_resize(self):
        for form in ("raw", "qcow2"):
            with self.subTest(form=form):
                self.image("create", "-f", form, "@disk", "10M")
                self.image("resize", "-f", form, "@disk", "+5M")
                self.assertEqual(self.info("disk")["size"], 15 * MIB)
                self.refuse(1, "--shrink", "resize", "-f", form, "@disk", "3M")
                self.image("resize", "--shrink", "-f", form, "@disk", "3M")
                self.assertEqual(self.info("disk")["size"], 3 * MIB)
                os.unlink(self.path("disk"))

    def test_check_and_repair(self):
        self.image("create", "@disk", "10M")
        self.image("check", "@disk")
        with open(self.folder / "disk", "r+b") as disk:
            disk.truncate(2 * MIB)
            disk.seek(2 * 64 * KIB + 2 * 20)  # the count of a cluster that nobody refers to
            disk.write(b"\0\1")
        result = self.image("check", "--format", "json", "@disk", status=3)
        self.assertEqual(json.loads(result.stdout)["leaks"], 1)
        self.image("check", "--repair", "@disk")
        self.image("check", "@disk")
        self.qemu("qemu-img", "check", "disk")
        with open(self.folder / "disk", "r+b") as disk:
            disk.seek(2 * 64 * KIB)  # the header's own count
            disk.write(b"\0\0")
        result = self.image("check", "@disk", status=4)
        self.assertIn(b"more references than are counted", result.stderr)
        lodge.run(["image", "check", "--repair", self.path("disk")])
        self.qemu("qemu-img", "check", "disk")

    def test_an_image_in_use(self):
        self.image("create", "@disk", "10M")
        holder = subprocess.Popen(["qemu-io", self.path("disk")], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        holder.stdin.write(b"write 0 4k\n")
        holder.stdin.flush()
        holder.stdout.readline()
        self.refuse(1, "in use by another machine", "resize", "@disk", "20M")
        self.refuse(1, "in use by another machine", "convert", "@disk", "@out")
        self.refuse(1, "in use by another machine", "check", "@disk")
        self.image("info", "@disk")
        holder.communicate(b"quit\n", timeout=30)
        self.image("resize", "@disk", "20M")

    def test_usage(self):
        for text, *arguments in [
            ("no command",),
            ("unknown command 'image frob'", "frob"),
            ("needs FILE", "create"),
            ("needs a SIZE", "create", "x"),
            ("like 10G, not '10'", "create", "x", "10"),
            ("like 10G, not '-1G'", "create", "x", "--", "-1G"),
            ("like 10G, not '1.5G'", "create", "x", "1.5G"),
            ("larger than a file", "create", "x", "16777215T"),
            ("one operand too many", "create", "x", "1G", "y"),
            ("unknown option --frob;", "create", "--frob", "x", "1G"),
            ("unknown option --repair;", "create", "--repair", "x", "1G"),
            ("-f needs a value", "create", "x", "1G", "-f"),
            ("--image-format vmdk is not known (there are: raw, qcow2)", "create", "-f", "vmdk", "x", "1G"),
            ("power of two", "create", "--cluster-size", "3K", "x", "1G"),
            ("power of two", "create", "--cluster-size", "4M", "x", "1G"),
            ("-F raw or -F qcow2", "create", "-b", "y", "x"),
            ("a raw image has no backing", "create", "-f", "raw", "-b", "y", "-F", "raw", "x"),
            ("is not compressed", "convert", "-c", "-O", "raw", "x", "y"),
            ("--repair takes no value", "check", "--repair=yes", "x"),
            ("there are: text, json", "info", "--format", "xml", "x"),
            ("there are: beside, allow, deny", "convert", "--backing-rule", "maybe", "x", "y"),
        ]:
            errors = self.refuse(2, text, *arguments)
            self.assertIn("try 'lodge", errors)
        self.assertEqual(self.names(), [])

    def test_refusals(self):
        (self.folder / "text").write_bytes(b"no image at all" * 100)
        self.image("create", "@disk", "10M")
        self.refuse(1, "exists; remove it", "create", "@disk", "10M")
        self.refuse(1, "No such file", "info", "@missing")
        self.refuse(1, "No such file", "create", "@missing/disk", "10M")
        self.refuse(1, "is not a qcow2 image", "check", "@text")
        self.refuse(1, "is not a qcow2 image", "info", "-f", "qcow2", "@text")
        self.refuse(1, "neither a file nor a block device", "info", "/dev/null")
        self.refuse(1, "choose larger clusters", "create", "--cluster-size", "512", "@big", "8T")

    def test_help(self):
        for command in ([], ["create"], ["info"], ["check"], ["resize"], ["convert"]):
            text = self.image(*command, "--help").stdout.decode()
            self.assertIn("Usage: lodge image", text)
            self.assertLessEqual(max(map(len, text.splitlines())), 120)


if __name__ == "__main__":
    lodge.main()
