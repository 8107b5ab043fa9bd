/* Multiboot 1 kernels: ELF and flat, and what they are told. */
#include <string.h>

#include "base/bits.h"
#include "boot_fixture.h"
#include "fake_port.h"
#include "unit.h"
#include "x86/regs.h"

enum { FLAGS = 3, FLAT = 0x10003, FLAT_SIZE = 0x300 };

static uint8_t image[ELF_SIZE];

static void open_elf(struct boot_fixture *f, int bits)
{
    fixture_open(f, 32 * FIXTURE_MIB);
    boot_image_make_elf(image, bits, 0);
    boot_image_add_multiboot(image, ELF_MULTIBOOT, FLAGS);
    fixture_kernel(f, image, sizeof(image));
}

/* A flat image: header at 0x10, loaded from its first byte on to 2 MiB, 0x100 bytes of bss, entry at 0x40. */
static void open_flat(struct boot_fixture *f)
{
    static const uint32_t addresses[] = {0x200010, 0x200000, 0x200000 + FLAT_SIZE, 0x200000 + FLAT_SIZE + 0x100,
                                         0x200040};

    fixture_open(f, 32 * FIXTURE_MIB);
    memset(image, 0x77, sizeof(image));
    boot_image_add_multiboot(image, 0x10, FLAT);
    for (size_t i = 0; i < ARRAY_LENGTH(addresses); i++)
        store_le(image + 0x1c + 4 * i, 4, addresses[i]);
    fixture_kernel(f, image, FLAT_SIZE);
}

static void test_elf(void **state)
{
    struct boot_fixture f;

    (void)state;
    for (int bits = 32; bits <= 64; bits += 32) {
        open_elf(&f, bits);
        assert_int_equal(boot_image_kind(&f.request.kernel), BOOT_KIND_MULTIBOOT);
        assert_int_equal(fixture_load(&f), STATUS_OK);
        assert_int_equal(fake_log_count(), 0);
        assert_int_equal(f.bsp.rip, ELF_LOAD + 0x40); /* the virtual entry, through its segment */
        assert_int_equal(f.bsp.gpr[GPR_RAX], 0x2badb002);
        assert_int_equal(f.bsp.cr0 & (CR0_PE | CR0_PG), CR0_PE);
        assert_true(f.bsp.segment[SEG_CS].attributes & SEGMENT_DB);
        assert_memory_equal(memory_at(&f.memory, ELF_LOAD, 0x200, false), image + 0x500, 0x200);
        assert_int_equal(fixture_get(&f, ELF_LOAD + 0x11f8, 8), 0);
        fixture_close(&f);
    }
}

static void test_flat(void **state)
{
    struct boot_fixture f;

    (void)state;
    open_flat(&f);
    assert_int_equal(boot_image_kind(&f.request.kernel), BOOT_KIND_MULTIBOOT);
    assert_int_equal(fixture_load(&f), STATUS_OK);
    assert_int_equal(f.bsp.rip, 0x200040);
    assert_memory_equal(memory_at(&f.memory, 0x200000, FLAT_SIZE, false), image, FLAT_SIZE);
    assert_int_equal(fixture_get(&f, 0x200000 + FLAT_SIZE + 0xf8, 8), 0);
    assert_int_equal(fixture_get(&f, 0x200000 + FLAT_SIZE + 0x100, 1), 0xcc);

    store_le(image + 0x24, 4, 0); /* no load end, no bss: all of the file */
    store_le(image + 0x28, 4, 0);
    memset((uint8_t *)f.memory.host + 0x200000, 0xcc, 0x1000);
    assert_int_equal(fixture_load(&f), STATUS_OK);
    assert_int_equal(fixture_get(&f, 0x200000 + FLAT_SIZE - 1, 1), 0x77);
    assert_int_equal(fixture_get(&f, 0x200000 + FLAT_SIZE, 1), 0xcc);
    fixture_close(&f);
}

static void test_information(void **state)
{
    struct boot_fixture f;

    (void)state;
    open_elf(&f, 32);
    f.request.command_line = "--test all";
    fixture_module(&f, "first.bin", "abc", 3);
    fixture_module(&f, "second.bin", "defgh", 5);
    assert_int_equal(fixture_load(&f), STATUS_OK);
    uint64_t info = f.bsp.gpr[GPR_RBX];

    assert_int_equal(fixture_get(&f, info, 4), 0x24d);
    assert_int_equal(fixture_get(&f, info + 4, 4), 639);
    assert_int_equal(fixture_get(&f, info + 8, 4), 31 * 1024);
    assert_string_equal(fixture_string(&f, fixture_get(&f, info + 16, 4)), "--test all");
    assert_string_equal(fixture_string(&f, fixture_get(&f, info + 64, 4)), "Lodge");

    assert_int_equal(fixture_get(&f, info + 20, 4), 2);
    uint64_t modules = fixture_get(&f, info + 24, 4);
    assert_int_equal(fixture_get(&f, modules, 4), 0x102000); /* the page after the kernel's bss */
    assert_int_equal(fixture_get(&f, modules + 4, 4), 0x102003);
    assert_memory_equal(memory_at(&f.memory, 0x102000, 3, false), "abc", 3);
    assert_string_equal(fixture_string(&f, fixture_get(&f, modules + 8, 4)), "first.bin");
    assert_int_equal(fixture_get(&f, modules + 16, 4), 0x103000);
    assert_int_equal(fixture_get(&f, modules + 20, 4), 0x103005);

    uint64_t map = fixture_get(&f, info + 48, 4);
    assert_int_equal(fixture_get(&f, info + 44, 4), 5 * 24);
    assert_int_equal(fixture_get(&f, map, 4), 20);
    assert_int_equal(fixture_get(&f, map + 4, 8), 0);
    assert_int_equal(fixture_get(&f, map + 12, 8), 0x9fc00);
    assert_int_equal(fixture_get(&f, map + 20, 4), 1);
    assert_int_equal(fixture_get(&f, map + 24 + 20, 4), 2);
    fixture_close(&f);
}

static void test_flags(void **state)
{
    struct boot_fixture f;

    (void)state;
    open_elf(&f, 32);
    boot_image_add_multiboot(image, ELF_MULTIBOOT, 0x8);
    fixture_refused(&f, STATUS_UNSUPPORTED, "asks for Multiboot features that nobody has (flags 0x8)");
    boot_image_add_multiboot(image, ELF_MULTIBOOT, 0x4);
    assert_int_equal(fixture_load(&f), STATUS_OK); /* a video mode: only a warning */
    assert_int_equal(fake_log_count(), 1);
    fixture_close(&f);
}

static void test_header_is_searched(void **state)
{
    static uint8_t large[16384];
    struct boot_fixture f;

    (void)state;
    fixture_open(&f, 32 * FIXTURE_MIB);
    fixture_kernel(&f, large, sizeof(large));
    boot_image_make_elf(large, 32, 0);
    boot_image_add_multiboot(large, 8192 - 12, FLAGS);
    assert_int_equal(boot_image_kind(&f.request.kernel), BOOT_KIND_MULTIBOOT);
    memset(large + 8192 - 12, 0, 12);
    boot_image_add_multiboot(large, 8192 - 8, FLAGS);
    assert_int_equal(boot_image_kind(&f.request.kernel), BOOT_KIND_NONE);
    memset(large + 8192 - 8, 0, 12);
    boot_image_add_multiboot(large, 0x402, FLAGS); /* not on four bytes */
    assert_int_equal(boot_image_kind(&f.request.kernel), BOOT_KIND_NONE);
    memset(large + 0x402, 0, 12);
    boot_image_add_multiboot(large, 0x404, FLAGS);
    large[0x40c] ^= 1; /* checksum */
    assert_int_equal(boot_image_kind(&f.request.kernel), BOOT_KIND_NONE);
    fixture_close(&f);
}

struct damage {
    unsigned offset;
    uint32_t value;
    enum status status;
    const char *text;
};

static void test_damaged_flat_images(void **state)
{
    static const struct damage cases[] = {
        {0x1c, 0x1fffff, STATUS_CORRUPT, "load address is before the file"},
        {0x1c, 0x200011, STATUS_CORRUPT, "load address is before the file"},
        {0x24, 0x1fffff, STATUS_CORRUPT, "load end is before the load address"},
        {0x24, 0x200000 + FLAT_SIZE + 1, STATUS_CORRUPT, "truncated: 1 bytes are missing"},
        {0x28, 32u << 20 | 1, STATUS_NO_MEMORY, "give the machine more memory with -m"},
        {0x2c, 0x1fffff, STATUS_CORRUPT, "entry point is outside"},
        {0x2c, 0x200000 + FLAT_SIZE, STATUS_CORRUPT, "entry point is outside"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct boot_fixture f;

        open_flat(&f);
        store_le(image + cases[i].offset, 4, cases[i].value);
        fixture_refused(&f, cases[i].status, cases[i].text);
        fixture_close(&f);
    }
}

static void test_damaged_elf_images(void **state)
{
    struct boot_fixture f;

    (void)state;
    open_elf(&f, 32);
    store_le(image + 24, 4, 0x12345678); /* e_entry */
    fixture_refused(&f, STATUS_CORRUPT, "entry point is in none of its segments");
    boot_image_make_elf(image, 32, 0);
    boot_image_add_multiboot(image, ELF_MULTIBOOT, FLAGS);
    memset(image, 0, 4); /* no ELF file any more */
    fixture_refused(&f, STATUS_INVALID, "but is not an ELF file");
    fixture_close(&f);
}

static void test_modules_need_memory(void **state)
{
    struct boot_fixture f;

    (void)state;
    open_elf(&f, 32);
    fixture_module(&f, "disk.img", f.memory.host, 31 * FIXTURE_MIB);
    fixture_refused(&f, STATUS_NO_MEMORY, "disk.img needs 31744 KiB");
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_elf),
        cmocka_unit_test(test_flat),
        cmocka_unit_test(test_information),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_header_is_searched),
        cmocka_unit_test(test_damaged_flat_images),
        cmocka_unit_test(test_damaged_elf_images),
        cmocka_unit_test(test_modules_need_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
