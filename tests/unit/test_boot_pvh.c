/* PVH kernels, and the ELF reader that Multiboot uses too. */
#include <string.h>

#include "base/bits.h"
#include "boot_fixture.h"
#include "fake_port.h"
#include "unit.h"
#include "x86/regs.h"

static uint8_t image[ELF_SIZE];

static void open_pvh(struct boot_fixture *f, int bits)
{
    fixture_open(f, 32 * FIXTURE_MIB);
    boot_image_make_elf(image, bits, 1);
    fixture_kernel(f, image, sizeof(image));
}

static void expect_loaded(const struct boot_fixture *f)
{
    const uint8_t *loaded = memory_at(&f->memory, ELF_LOAD, 0x1200, false);

    assert_memory_equal(loaded, image + 0x500, 0x200);
    for (unsigned i = 0x200; i < 0x1200; i++)
        assert_int_equal(loaded[i], 0); /* bss, over the rubbish that was there */
    assert_int_equal(loaded[0x1200], 0xcc);
}

static void test_processor_state(void **state)
{
    struct boot_fixture f;

    (void)state;
    for (int bits = 32; bits <= 64; bits += 32) {
        open_pvh(&f, bits);
        assert_int_equal(boot_image_kind(&f.request.kernel), BOOT_KIND_PVH);
        assert_int_equal(fixture_load(&f), STATUS_OK);
        assert_int_equal(fake_log_count(), 0);
        expect_loaded(&f);
        assert_int_equal(f.bsp.rip, ELF_LOAD + 0x80);
        assert_int_equal(f.bsp.cr0 & (CR0_PE | CR0_PG | CR0_CD | CR0_NW), CR0_PE);
        assert_int_equal(f.bsp.cr4, 0);
        assert_int_equal(f.bsp.efer, 0);
        assert_int_equal(f.bsp.rflags, RFLAGS_FIXED);
        assert_int_equal(fixture_get(&f, f.bsp.gdt_base + f.bsp.segment[SEG_CS].selector, 8), 0x00cf9b000000ffff);
        assert_int_equal(fixture_get(&f, f.bsp.gdt_base + f.bsp.segment[SEG_SS].selector, 8), 0x00cf93000000ffff);
        assert_int_equal(f.bsp.segment[SEG_TR].limit, 0x67);
        fixture_close(&f);
    }
}

static void test_start_info(void **state)
{
    struct boot_fixture f;

    (void)state;
    open_pvh(&f, 64);
    f.request.command_line = "root=/dev/vda";
    fixture_module(&f, "initrd", "abcdef", 6);
    fixture_module(&f, "second", "gh", 2);
    f.modules[1].command_line = "with words";
    assert_int_equal(fixture_load(&f), STATUS_OK);
    uint64_t info = f.bsp.gpr[GPR_RBX];

    assert_int_equal(fixture_get(&f, info, 4), 0x336ec578);
    assert_int_equal(fixture_get(&f, info + 4, 4), 1);
    assert_int_equal(fixture_get(&f, info + 12, 4), 2);
    assert_string_equal(fixture_string(&f, fixture_get(&f, info + 24, 8)), "root=/dev/vda");
    assert_memory_equal(memory_at(&f.memory, fixture_get(&f, info + 32, 8), 8, false), "RSD PTR ", 8);

    uint64_t modules = fixture_get(&f, info + 16, 8);
    assert_int_equal(fixture_get(&f, modules, 8), 32 * FIXTURE_MIB - 4096);
    assert_int_equal(fixture_get(&f, modules + 8, 8), 6);
    assert_memory_equal(memory_at(&f.memory, fixture_get(&f, modules, 8), 6, false), "abcdef", 6);
    assert_string_equal(fixture_string(&f, fixture_get(&f, modules + 16, 8)), "initrd");
    assert_memory_equal(memory_at(&f.memory, fixture_get(&f, modules + 32, 8), 2, false), "gh", 2);
    assert_string_equal(fixture_string(&f, fixture_get(&f, modules + 32 + 16, 8)), "with words");

    uint64_t map = fixture_get(&f, info + 40, 8);
    assert_int_equal(fixture_get(&f, info + 48, 4), 5);
    assert_int_equal(fixture_get(&f, map + 72, 8), 0x100000);
    assert_int_equal(fixture_get(&f, map + 72 + 8, 8), 31 * FIXTURE_MIB);
    assert_int_equal(fixture_get(&f, map + 72 + 16, 4), 1);
    fixture_close(&f);
}

/* Each change to a field of the 64-bit image, and the line it leads to. */
struct damage {
    unsigned offset, width;
    uint64_t value;
    enum status status;
    const char *text;
};

static void test_damaged_files(void **state)
{
    static const struct damage cases[] = {
        {4, 1, 9, STATUS_INVALID, "an ELF file of class 9"},
        {5, 1, 2, STATUS_INVALID, "for another processor"},
        {16, 2, 1, STATUS_INVALID, "not an executable; was it linked?"},
        {18, 2, 183, STATUS_INVALID, "for another processor (machine 183)"},
        {32, 8, 0x7f0, STATUS_INVALID, "is truncated: 96 bytes are missing from its program header table"},
        {32, 8, UINT64_MAX, STATUS_INVALID, "is damaged: its program header table"},
        {54, 2, 40, STATUS_INVALID, "without program headers"},
        {56, 2, 0, STATUS_INVALID, "without program headers"},
        {56, 2, 257, STATUS_INVALID, "257 program headers; at most 256"},
        {72, 8, 0x700, STATUS_CORRUPT, "is truncated: 256 bytes are missing from its segments"},
        {72, 8, UINT64_MAX - 0x10, STATUS_CORRUPT, "is damaged: its segments"},
        {88, 8, 0xf0000, STATUS_CORRUPT, "entry point 0x100080 is in none of its segments"},
        {88, 8, ELF_LOAD + 0x81, STATUS_CORRUPT, "entry point 0x100080 is in none of its segments"},
        {104, 8, 0x100, STATUS_CORRUPT, "more bytes in the file than in memory"},
        {104, 8, 40ull << 20, STATUS_NO_MEMORY, "give the machine more memory with -m"},
        {104, 8, UINT64_MAX, STATUS_NO_MEMORY, "give the machine more memory with -m"},
        {ELF_NOTE + 16, 4, 0x200000, STATUS_CORRUPT, "entry point 0x200000 is in none of its segments"},
        {ELF_NOTE + 4, 4, 0xffffffff, STATUS_INVALID, "neither a PVH note nor a Multiboot header"},
        {ELF_NOTE, 4, 0xffffffff, STATUS_INVALID, "neither a PVH note nor a Multiboot header"},
        {ELF_NOTE + 8, 4, 17, STATUS_INVALID, "neither a PVH note nor a Multiboot header"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct boot_fixture f;

        open_pvh(&f, 64);
        store_le(image + cases[i].offset, cases[i].width, cases[i].value);
        fixture_refused(&f, cases[i].status, cases[i].text);
        fixture_close(&f);
    }
}

static void test_every_truncation(void **state)
{
    struct boot_fixture f;

    (void)state;
    for (int bits = 32; bits <= 64; bits += 32) {
        open_pvh(&f, bits);
        for (size_t size = 0; size < 0x700; size++) {
            uint8_t *exact = test_malloc(size);

            memcpy(exact, image, size);
            fixture_kernel(&f, exact, size);
            assert_int_not_equal(fixture_load(&f), STATUS_OK);
            assert_true(fake_log_count() == 1);
            test_free(exact);
        }
        fixture_close(&f);
    }
}

static void test_overlapping_segments(void **state)
{
    struct boot_fixture f;

    (void)state;
    open_pvh(&f, 64);
    memcpy(image + 176, image + 64, 56);
    store_le(image + 56, 2, 3);
    fixture_refused(&f, STATUS_CORRUPT, "overlaps another");
    fixture_close(&f);
}

static void test_memory_is_full(void **state)
{
    struct boot_fixture f;

    (void)state;
    open_pvh(&f, 64);
    fixture_module(&f, "huge", f.memory.host, 31 * FIXTURE_MIB);
    fixture_refused(&f, STATUS_NO_MEMORY, "huge needs 31744 KiB in one piece");
    f.request.module_count = BOOT_MODULES + 1;
    fixture_refused(&f, STATUS_INVALID, "65 modules were given; at most 64");
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_processor_state),      cmocka_unit_test(test_start_info),
        cmocka_unit_test(test_damaged_files),        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_overlapping_segments), cmocka_unit_test(test_memory_is_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
