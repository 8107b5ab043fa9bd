"""The test bed: commands with a working /dev/kvm, in a Linux guest of QEMU's translator. See docs/nested.md."""
