#!/usr/bin/env python3
"""
Debian's SeaBIOS and OVMF from reset to where they look for something to boot, and a kernel through OVMF.

  test_firmware.py                  every test once
  LODGE_TEST_TIMES=5 test_firmware.py Times
                                    how long they take, that often, beside QEMU's translator if it is there
"""

import os
import shutil
import subprocess
import time
import unittest

import lodge
from lodge import Machine

OVMF_CODE = "/usr/share/OVMF/OVMF_CODE.fd"
OVMF_VARS = "/usr/share/OVMF/OVMF_VARS.fd"
HELP = lodge.run(["run", "--help"]).stdout.decode()
TIMES = int(os.environ.get("LODGE_TEST_TIMES", "0"))

# A vendor of our own, so that no other variable has the same name.
GUID = "8be4df61-93ca-11d2-aa0d-4c4f4447453a"

JOB = """#!/bin/sh
dmesg -n 1
[ -d /sys/firmware/efi ] && echo "efi $(cat /sys/firmware/efi/fw_platform_size)"
echo "cpus $(nproc)"
echo "vendor $(cat /sys/class/dmi/id/sys_vendor) $(cat /sys/class/dmi/id/product_name)"
echo "tables $(ls /sys/firmware/acpi/tables | grep -cE '^(APIC|DSDT|FACP|FACS|MCFG)$')"
echo "cmdline $(cat /proc/cmdline)"
dmesg | grep -E 'BUG:|WARNING:|Oops|Call Trace|ACPI (BIOS )?Error|soft lockup' && exit 1
exit 0
"""


class Seabios(lodge.TestCase):
    def test_finds_nothing_to_boot(self):
        log = self.folder / "seabios.log"
        with Machine(["--firmware", f"seabios,log={log}", "-m", "64M", "-c", "2"]) as machine:
            machine.expect(b"SeaBIOS (version")
            machine.expect(b"No bootable device")
            machine.signal(15)
            machine.wait()
        text = log.read_text(errors="replace")
        for line in ("Found QEMU fw_cfg", "QEMU fw_cfg DMA interface supported", "Found 2 cpu(s) max supported 2 cpu(s)",
                     "(via xsdt)", "Copying SMBIOS", "No bootable device"):
            self.assertIn(line, text)

    def test_small_and_large_machines(self):
        for memory in ("4M", "3G"):
            with self.subTest(memory), Machine(["--firmware", "seabios", "-m", memory]) as machine:
                machine.expect(b"No bootable device")


def flat_guest(name, address, target):
    """guests/NAME.S without any headers, linked for an address."""
    subprocess.run(
        ["gcc", "-m32", "-nostdlib", "-static", "-no-pie", "-Wl,-m,elf_i386", "-Wl,--build-id=none", f"-Wl,-Ttext={address}",
         "-Wl,--oformat=binary", "-o", target, lodge.HERE / "guests" / (name + ".S")],
        check=True, timeout=lodge.PATIENCE)


class Rom(lodge.TestCase):
    def test_what_firmware_stands_on(self):
        rom, store = self.folder / "rom", self.folder / "rom.vars"
        flat_guest("rom", "0xffff0000", rom)
        self.assertEqual(rom.stat().st_size, 65536)
        store.write_bytes(b"\xff" * 16384)
        result = lodge.run(["run", "--engine", lodge.ENGINE, "--firmware", f"{rom},vars={store}", "-c", "2", "-m", "2M",
                            "--debug-exit", "--no-reboot"])
        self.assertEqual(result.returncode, 0x10 * 2 + 1, result.stderr)
        stored = store.read_bytes()
        self.assertEqual(stored[7], 0x5A)
        self.assertEqual(stored[0x101], 0x33)
        self.assertEqual(stored[0x1000:0x1006], b"\xb8\x02\0\0\0\xc3")
        self.assertEqual(stored[0x3000:0x3001], b"k")
        self.assertEqual(len(stored), 16384)


@unittest.skipUnless("--disk" in HELP, "this build has no disks")
class Disk(lodge.TestCase):
    def test_boot_sector(self):
        disk = self.folder / "disk"
        flat_guest("bootsector", "0x7c00", disk)
        os.truncate(disk, 4 << 20)  # a cylinder at least, or the BIOS has no geometry for it
        for firmware in (["--firmware", "seabios"], []):
            with self.subTest(firmware), Machine([*firmware, "-m", "64M", "-d", f"{disk},format=raw"]) as machine:
                machine.expect(b"Booting from Hard Disk")
                machine.expect(b"first sector")
                machine.expect(b"second sect")  # the BIOS holds the last character back
                self.assertEqual(machine.wait(), lodge.EXIT_OK)

    def test_without_seabios(self):
        """The refusal names the package; a kernel needs none."""
        disk = self.folder / "disk"
        disk.write_bytes(bytes(4096))
        hidden = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else []), "sh", "-c",
                  'mount -t tmpfs none /usr/share/seabios && exec "$@"', "sh"]
        if subprocess.run([*hidden, "true"], capture_output=True, check=False).returncode:
            self.skipTest("this host has no mount namespaces for us")
        result = subprocess.run([*hidden, lodge.LODGE, "run", "-d", f"{disk},format=raw"], capture_output=True, text=True,
                                timeout=lodge.PATIENCE, check=False)
        self.assertEqual(result.returncode, lodge.EXIT_FAILED)
        self.assertIn("firmware seabios is not installed", result.stderr)
        self.assertIn("install Debian's package seabios", result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)


class Shell(Machine):
    """OVMF at the prompt of its shell."""

    def __init__(self, firmware, *arguments):
        super().__init__(["--firmware", firmware, "-m", "128M", *arguments])
        self.reach_prompt()

    def reach_prompt(self):
        self.expect(b"UEFI Interactive Shell")
        self.expect(b"seconds to skip")
        self.send(b"\r")
        self.expect(b"Shell> ")

    def command(self, text):
        """Typed as a person would: the firmware's serial driver loses what comes faster than it looks."""
        for byte in text.encode() + b"\r":
            self.send(bytes([byte]))
            time.sleep(0.02)


class Ovmf(lodge.TestCase):
    def vars(self, name):
        return self.folder / name

    def test_variables_last(self):
        store = self.vars("last.fd")
        with Shell(f"ovmf,vars={store}") as shell:
            self.assertEqual(store.stat().st_size, os.stat("/usr/share/OVMF/OVMF_VARS_4M.fd").st_size)
            shell.command(f"setvar LodgeTest -guid {GUID} -bs -nv =0xCAFE")
            shell.expect(b"Shell> ")
            self.assertIn("LodgeTest".encode("utf-16-le"), store.read_bytes())
            shell.process.kill()  # what the firmware has been told is stored is in the file
            shell.wait()
        self.assertIn("LodgeTest".encode("utf-16-le"), store.read_bytes())
        with Shell(f"ovmf,vars={store}") as shell:
            shell.command(f"setvar LodgeTest -guid {GUID}")
            shell.expect(b"FE CA")
            shell.command("reset")
            shell.reach_prompt()  # and over a reset of the machine
            shell.command(f"setvar LodgeTest -guid {GUID}")
            shell.expect(b"FE CA")
            shell.command("reset -s")
            self.assertEqual(shell.wait(), lodge.EXIT_OK)

    def test_variables_that_may_not_change(self):
        store = self.vars("readonly.fd")
        shutil.copy("/usr/share/OVMF/OVMF_VARS_4M.fd", store)
        before = store.read_bytes()
        with Shell(f"ovmf,vars={store},readonly", "--no-reboot") as shell:
            shell.command(f"setvar LodgeTest -guid {GUID} -bs -nv =0xCAFE")
            shell.expect(b"Shell> ")
            shell.command(f"setvar LodgeTest -guid {GUID}")
            shell.expect(b"FE CA")  # in the machine they do
            shell.command("reset")
            self.assertEqual(shell.wait(), lodge.EXIT_OK)
        self.assertEqual(store.read_bytes(), before)

    def test_files_by_name(self):
        store = self.vars("byname.fd")
        with Shell(f"{OVMF_CODE},vars={store}"):
            self.assertEqual(store.stat().st_size, os.stat(OVMF_VARS).st_size)
            second = lodge.run(["run", "--engine", lodge.ENGINE, "--firmware", f"{OVMF_CODE},vars={store}"])
            self.assertEqual(second.returncode, lodge.EXIT_FAILED)
            self.assertIn(b"another machine uses", second.stderr)

    def test_one_image_without_a_store(self):
        with Shell("/usr/share/ovmf/OVMF.fd"):
            pass

    def test_much_memory(self):
        with Machine(["--firmware", "ovmf", "-m", "5G", "-c", "2"]) as machine:
            machine.expect(b"UEFI Interactive Shell")


class Kernel(lodge.TestCase):
    def test_kernel_through_ovmf(self):
        script = self.folder / "run"
        script.write_text(JOB)
        job = self.folder / "job.cpio"
        lodge.guest_image("job", job, script)
        with Machine([
            "--firmware", "ovmf", "--kernel", lodge.guest_image("kernel", "cloud"), "-m", "512M", "-c", "2",
            "--initrd", lodge.guest_image("initramfs"), "--initrd", str(job), "--append", "console=ttyS0 quiet panic=-1 x=y",
        ]) as machine:
            for line in (b"efi 64", b"cpus 2", b"vendor Lodge q35", b"tables 5", b"cmdline console=ttyS0 quiet panic=-1 x=y"):
                machine.expect(line)
            self.assertEqual(machine.wait(), lodge.EXIT_OK)


class Refusals(lodge.TestCase):
    def refused(self, firmware, text, *more, status=lodge.EXIT_FAILED):
        result = lodge.run(["run", "--engine", lodge.ENGINE, "--firmware", firmware, *more])
        self.assertEqual(result.returncode, status, result.stderr)
        self.assertIn(text, result.stderr.decode())
        self.assertEqual(result.stdout, b"")

    def test_refusals(self):
        odd = self.folder / "odd"
        odd.write_bytes(bytes(5000))
        empty = self.folder / "empty"
        empty.write_bytes(b"")
        large = self.folder / "large"
        with open(large, "wb") as file:
            file.truncate((16 << 20) + 4096)
        self.refused("/nowhere", "cannot read the firmware /nowhere: No such file")
        self.refused(str(odd), "is no flash image")
        self.refused(str(empty), "is no flash image")
        self.refused(str(large), str(large))
        self.refused(f"ovmf,vars={odd}", "is no flash image")
        self.refused(f"ovmf,vars={self.folder}", "Is a directory")
        self.refused(f"/usr/share/seabios/bios.bin,vars={self.folder}/new", "OVMF_VARS file that belongs to")
        self.refused("ovmf,log=/nowhere/log", "cannot write the firmware's log")
        self.refused("seabios", "--firmware seabios boots disks only", "--kernel", str(odd))
        self.refused("ovmf", "firmware starts Linux bzImages only", "--kernel", str(odd))
        self.refused("ovmf,colour", "not 'colour'", status=lodge.EXIT_USAGE)
        self.refused("ovmf,vars=", "vars= is empty", status=lodge.EXIT_USAGE)
        self.refused("", "FILE is empty", status=lodge.EXIT_USAGE)


@unittest.skipUnless(TIMES, "LODGE_TEST_TIMES=5 to measure")
class Times(lodge.TestCase):
    """Figures, not a test: the two programs take turns."""

    QEMU = ["qemu-system-x86_64", "-machine", "q35,smm=off", "-accel", "tcg", "-m", "256M", "-nodefaults", "-vga", "none",
            "-nographic", "-serial", "stdio", "-monitor", "none"]

    def seconds(self, command, text):
        start = time.monotonic()
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
            output = b""
            while text not in output:
                piece = os.read(program.stdout.fileno(), 65536)
                self.assertTrue(piece, output)
                output += piece
            taken = time.monotonic() - start
            program.kill()
        return taken

    def compare(self, name, text, lodge_command, qemu_command):
        for _ in range(TIMES):
            ours = self.seconds(lodge_command, text)
            line = f"{name}: {ours:.2f} s"
            if shutil.which("qemu-system-x86_64"):
                theirs = self.seconds(qemu_command, text)
                line += f", QEMU {theirs:.2f} s, ratio {ours / theirs:.2f}"
            print(line)

    def test_times(self):
        run = [lodge.LODGE, "run", "--engine", lodge.ENGINE, "-m", "256M", "--firmware"]
        flash = self.folder / "qemu.fd"
        shutil.copy("/usr/share/OVMF/OVMF_VARS_4M.fd", flash)
        self.compare("seabios", b"No bootable device", [*run, "seabios"], self.QEMU)
        self.compare("ovmf", b"Interactive Shell", [*run, f"ovmf,vars={self.folder}/lodge.fd"], [
            *self.QEMU, "-drive", "if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
            "-drive", f"if=pflash,unit=1,format=raw,file={flash}"])


if __name__ == "__main__":
    lodge.main()
