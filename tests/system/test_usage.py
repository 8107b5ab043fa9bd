#!/usr/bin/env python3
"""Every way to start it wrong: the exit status, and exactly one line that says what is wrong."""

import os
import pathlib
import subprocess
import time
import unittest

import lodge


class Usage(lodge.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.kernel = cls.build_guest("console")
        (cls.folder / "empty").write_bytes(b"")
        (cls.folder / "text").write_bytes(b"#!/bin/sh\necho this is no kernel\n" * 100)
        (cls.folder / "half").write_bytes(pathlib.Path(cls.kernel).read_bytes()[:100])
        (cls.folder / "large").write_bytes(b"")
        os.truncate(cls.folder / "large", 3 << 30)

    def refuse(self, status, text, *arguments, **kwargs):
        arguments = [str(self.folder / a[1:]) if a.startswith("@") else a for a in arguments]
        result = lodge.run(arguments, **kwargs)
        errors = result.stderr.decode()
        with self.subTest(arguments=arguments):
            self.assertEqual(result.returncode, status, errors)
            self.assertEqual(result.stdout, b"")
            self.assertEqual(len(errors.splitlines()), 1, errors)
            self.assertTrue(errors.startswith("lodge: "), errors)
            self.assertIn(text, errors)
        return errors

    def test_kvm_by_name(self):
        """It runs where KVM does, and is refused with the reason elsewhere; both within a second."""
        (self.folder / "keys").write_bytes(b"x")
        started = time.monotonic()
        with open(self.folder / "keys", "rb") as keys:
            result = lodge.run(["run", "--engine", "kvm", "--debug-exit", "--kernel", str(self.kernel)], stdin=keys)
        self.assertLess(time.monotonic() - started, 1.5)
        if result.returncode == lodge.EXIT_FAILED:
            self.assertRegex(result.stderr.decode(), r"^lodge: engine kvm cannot be used: .+; use --engine dbt\n$")
        else:
            self.assertEqual(result.returncode, 21 << 1 | 1)

    def test_usage_errors(self):
        for text, *arguments in [
            ("no command",),
            ("unknown command 'frob'", "frob"),
            ("unknown command", "--frob"),
            ("nothing to boot", "run"),
            ("nothing to boot", "run", "-m", "512M"),
            ("unknown option --frob;", "run", "--frob"),
            ("unknown option --frob;", "run", "--frob=1"),
            ("unknown option -z;", "run", "-z9"),
            ("unknown option -;", "run", "-"),
            ("unknown option --;", "run", "--"),
            ("'vmlinuz' is not an option", "run", "vmlinuz"),
            ("'' is not an option", "run", ""),
            ("unknown option --kern;", "run", "--kern", "x"),
            ("--balloon takes a size", "run", "--balloon", "much"),
            ("--balloon must be less", "run", "-m", "64M", "--balloon", "64M"),
            ("--console loud is not known", "run", "--console", "loud"),
            ("--kernel needs a value", "run", "--kernel"),
            ("-m needs a value", "run", "--kernel", "x", "-m"),
            ("--no-reboot takes no value", "run", "--no-reboot=yes"),
            ("not 'lots'", "run", "-m", "lots"),
            ("not '-1'", "run", "-m", "-1"),
            ("not '1.5G'", "run", "-m", "1.5G"),
            ("not '1GB'", "run", "-m", "1GB"),
            ("not ''", "run", "-m", ""),
            ("not ' 64M'", "run", "-m", " 64M"),
            ("not '99999999999999999999'", "run", "-m", "99999999999999999999"),
            ("not '18014398509481984K'", "run", "-m", "18014398509481984K"),
            ("between 2M and 1T", "run", "-m", "0"),
            ("between 2M and 1T", "run", "-m", "1"),
            ("between 2M and 1T", "run", "-m", "2047K"),
            ("between 2M and 1T", "run", "-m", "2T"),
            ("between 2M and 1T", "run", "-m", "9999999G"),
            ("multiple of 4K", "run", "-m", "2049K"),
            ("from 1 to 64, not '0'", "run", "-c", "0"),
            ("from 1 to 64, not '65'", "run", "-c", "65"),
            ("from 1 to 64, not '-1'", "run", "-c", "-1"),
            ("from 1 to 64, not '2x'", "run", "-c", "2x"),
            ("from 1 to 64, not '4294967297'", "run", "-c", "4294967297"),
            ("--cpu 486 is not known (there are: host", "run", "--cpu", "486"),
            ("--engine tcg is not known (there are: auto, kvm, dbt)", "run", "--engine", "tcg"),
            ("--name takes", "run", "--name", "a b"),
            ("--name takes", "run", "--name", ""),
            ("--name takes", "run", "--name", "x" * 64),
            ("--trace does not know 'x' (there are: exits, irq, exceptions, mmio, pio, msr, cr, power, all)",
             "run", "--trace", "x"),
            ("--trace does not know ''", "run", "--trace", ""),
            ("--trace does not know ''", "run", "--trace", "irq,"),
            ("--trace does not know 'al'", "run", "--trace", "irq,al,power"),
            ("--trace-file needs --trace", "run", "--trace-file", "x"),
            # This belongs to a version to come.
            ("unknown option --control;", "run", "--control", "x"),
        ]:
            errors = self.refuse(lodge.EXIT_USAGE, text, *arguments)
            self.assertIn("try 'lodge", errors)

    def test_start_errors(self):
        for text, *arguments in [
            ("@missing: No such file", "--kernel", "@missing"),
            ("Is a directory", "--kernel", "@"),
            ("is not a kernel", "--kernel", "@empty"),
            ("is not a kernel", "--kernel", "@text"),
            ("is not a kernel", "--kernel", "/dev/null"),
            ("half", "--kernel", "@half"),
            ("does not fit", "--kernel", "@large"),
            ("does not fit", "--kernel", "/dev/zero", "-m", "16M"),
            ("missing: No such file", "--kernel", "@console", "--initrd", "@missing"),
            ("cannot write the trace @missing/x: No such", "--engine", "dbt", "--kernel", "@console", "--trace", "all",
             "--trace-file", "@missing/x"),
            ("does not fit", "--kernel", "@console", "--initrd", "@large"),
            ("choose a smaller -m", "--kernel", "@console", "-m", "1023G"),
        ]:
            self.refuse(lodge.EXIT_FAILED, text.replace("@", str(self.folder) + "/"), "run", *arguments)

    def test_address_space_limit(self):
        import resource

        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))

        self.refuse(lodge.EXIT_FAILED, "ulimit -v", "run", "--kernel", "@console", "-m", "4G", preexec_fn=limit)

    def test_no_permission(self):
        secret = self.folder / "secret"
        secret.write_bytes(b"x")
        secret.chmod(0)
        if os.access(secret, os.R_OK):
            self.skipTest("root may read everything")
        self.refuse(lodge.EXIT_FAILED, "Permission denied", "run", "--kernel", "@secret")

    def test_control_characters_do_not_reach_the_terminal(self):
        errors = self.refuse(lodge.EXIT_FAILED, "No such file", "run", "--kernel", "/x\x1b[2J\ny")
        self.assertNotIn("\x1b", errors)

    def test_version_and_help(self):
        for arguments, text in [
            (["--version"], "lodge "),
            (["--help"], "Usage: lodge COMMAND"),
            (["run", "--help"], "Usage: lodge run"),
            (["run", "-m", "64M", "--help"], "--debug-exit"),
        ]:
            result = lodge.run(arguments)
            self.assertEqual(result.returncode, 0)
            self.assertEqual(result.stderr, b"")
            self.assertIn(text, result.stdout.decode())
            self.assertLessEqual(max(map(len, result.stdout.decode().splitlines())), 120)

    def test_help_on_a_full_disk(self):
        with open("/dev/full", "wb") as full:
            result = subprocess.run([lodge.LODGE, "--help"], stdout=full, stderr=subprocess.PIPE, check=False)
        self.assertEqual(result.returncode, lodge.EXIT_FAILED)
        self.assertIn(b"No space left", result.stderr)


if __name__ == "__main__":
    lodge.main()
