/* What is a kernel, and what people are told when it is not; the areas below 1 MiB. */
#include <string.h>

#include "base/bits.h"
#include "boot_fixture.h"
#include "fake_port.h"
#include "unit.h"
#include "x86/regs.h"

static void expect_not_a_kernel(const void *bytes, size_t size, const char *text)
{
    struct boot_file file = {.name = "file", .bytes = bytes, .size = size};

    (void)fake_log_count();
    assert_int_equal(boot_image_kind(&file), BOOT_KIND_NONE);
    assert_int_equal(fake_log_count(), 1);
    if (!strstr(fake_log_line, text))
        fail_msg("\"%s\" is not in: %s", text, fake_log_line);
}

static void test_mistakes_are_named(void **state)
{
    static uint8_t disk[0x8100];

    (void)state;
    expect_not_a_kernel("", 0, "file is not a kernel: an empty file");
    expect_not_a_kernel("\x1f\x8b\x08\0", 4, "gzip-compressed");
    expect_not_a_kernel("\xfd"
                        "7zXZ\0",
                        6, "xz-compressed");
    expect_not_a_kernel("070701000", 9, "a cpio archive; an initrd is given with --initrd");
    expect_not_a_kernel("QFI\xfb\0\0\0\3", 8, "a qcow2 disk image; a disk is given with -d");
    expect_not_a_kernel("#!/bin/sh\n", 10, "a script");
    expect_not_a_kernel("MZ\x90", 3, "UEFI");
    expect_not_a_kernel("hello", 5, "no Linux bzImage, has no ELF header and no Multiboot header");
    expect_not_a_kernel("\177ELF", 4, "file is truncated: 48 bytes are missing from its file header");
    memcpy(disk + 0x8001, "CD001", 5);
    expect_not_a_kernel(disk, sizeof(disk), "a CD image");
    store_le(disk + 0x1fe, 2, 0xaa55);
    memset(disk + 0x8001, 0, 5);
    expect_not_a_kernel(disk, sizeof(disk), "a boot sector or disk image");
    expect_not_a_kernel(disk, 0x200, "a boot sector or disk image");
}

static void test_multiboot2_is_named(void **state)
{
    static uint8_t file[4096];

    (void)state;
    store_le(file + 0x100, 4, 0xe85250d6);
    store_le(file + 0x108, 4, 16);
    store_le(file + 0x10c, 4, 0u - 0xe85250d6u - 16u);
    expect_not_a_kernel(file, sizeof(file), "Multiboot 2 header only");
    boot_image_make_elf(file, 64, 0);
    store_le(file + 0x100, 4, 0xe85250d6);
    store_le(file + 0x108, 4, 16);
    store_le(file + 0x10c, 4, 0u - 0xe85250d6u - 16u);
    expect_not_a_kernel(file, sizeof(file), "Multiboot 2 header only");
}

static void test_kinds(void **state)
{
    static uint8_t image[BZIMAGE_SIZE];
    struct boot_file file = {.name = "file", .bytes = image, .size = sizeof(image)};

    (void)state;
    boot_image_make_bzimage(image);
    assert_int_equal(boot_image_kind(&file), BOOT_KIND_LINUX);
    boot_image_make_elf(image, 64, 1);
    boot_image_add_multiboot(image, ELF_MULTIBOOT, 3);
    assert_int_equal(boot_image_kind(&file), BOOT_KIND_PVH); /* of the two, the one that tells more */
    assert_string_equal(boot_kind_name(BOOT_KIND_PVH), "PVH kernel");
    assert_string_equal(boot_kind_name(BOOT_KIND_NONE), "not a kernel");
}

static void test_bios_areas(void **state)
{
    static uint8_t image[BZIMAGE_SIZE];
    struct boot_fixture f;

    (void)state;
    fixture_open(&f, 32 * FIXTURE_MIB);
    boot_image_make_bzimage(image);
    fixture_kernel(&f, image, sizeof(image));
    f.request.machine.second_serial = true;
    assert_int_equal(fixture_load(&f), STATUS_OK);
    for (uint64_t at = 0; at < 0x400; at += 8)
        assert_int_equal(fixture_get(&f, at, 8), 0);
    assert_int_equal(fixture_get(&f, 0x400, 4), 0x02f803f8);
    assert_int_equal(fixture_get(&f, 0x40e, 2), 0x9fc0);
    assert_int_equal(fixture_get(&f, 0x413, 2), 639);
    assert_int_equal(fixture_get(&f, 0x9fc00, 8), 1);
    assert_memory_equal(memory_at(&f.memory, 0xe0000, 8, false), "RSD PTR ", 8);
    fixture_close(&f);
}

static void test_other_processors(void **state)
{
    struct cpu_state cpu, before;

    (void)state;
    cpu_state_reset(&cpu, 0x50654);
    before = cpu;
    boot_firmware_cpu(&cpu, 46);
    assert_int_equal(cpu.cr0, CR0_ET);
    assert_int_equal(cpu.mtrr_def_type, 0xc06);
    assert_int_equal(cpu.mtrr_fixed[0], 0x0606060606060606);
    assert_int_equal(cpu.mtrr_fixed[2], 0);
    assert_int_equal(cpu.mtrr_fixed[10], 0x0606060606060606);
    assert_int_equal(cpu.mtrr_mask[0], 0x3fff80000800);
    assert_int_equal(cpu.rip, before.rip);
    assert_true(cpu_state_schema.valid(&cpu));
}

/* RAM that the board has partly covered with ROM. */
static void test_unusual_memory(void **state)
{
    static uint8_t image[BZIMAGE_SIZE];
    struct boot_fixture f;

    (void)state;
    fixture_open(&f, 32 * FIXTURE_MIB);
    boot_image_make_bzimage(image);
    fixture_kernel(&f, image, sizeof(image));
    f.memory.ranges[0].size = 0xe0000;
    f.memory.ranges[1] = (struct memory_range){.base = 0xe0000, .size = 0x20000, .offset = 0xe0000, .read_only = true};
    f.memory.ranges[2] = (struct memory_range){.base = 0x100000, .size = 31 * FIXTURE_MIB, .offset = 0x100000};
    f.memory.range_count = 3;
    fixture_refused(&f, STATUS_INVALID, "no memory at 0xe0000 for the ACPI tables");
    f.request.machine.cpus = 0;
    f.memory.ranges[1].read_only = false;
    fixture_refused(&f, STATUS_INVALID, "no ACPI tables can describe a machine with 0 processors");
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mistakes_are_named),
        cmocka_unit_test(test_multiboot2_is_named),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_bios_areas),
        cmocka_unit_test(test_other_processors),
        cmocka_unit_test(test_unusual_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
