/* The bzImage loader: where things land, what the boot parameters say, and every refusal. */
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "boot_fixture.h"
#include "fake_port.h"
#include "unit.h"
#include "x86/paging.h"
#include "x86/regs.h"

#define GIB (1ull << 30)

enum { LOAD = 0x1000000, TABLES = 0x6000 };

static uint8_t image[BZIMAGE_SIZE];

static void open_linux(struct boot_fixture *fixture, uint64_t ram)
{
    fixture_open(fixture, ram);
    boot_image_make_bzimage(image);
    fixture_kernel(fixture, image, sizeof(image));
}

static void test_kernel_and_boot_parameters(void **state)
{
    struct boot_fixture f;

    (void)state;
    open_linux(&f, 64 * FIXTURE_MIB);
    f.request.command_line = "console=ttyS0 quiet";
    assert_int_equal(fixture_load(&f), STATUS_OK);
    assert_int_equal(fake_log_count(), 0);
    assert_memory_equal(memory_at(&f.memory, LOAD, BZIMAGE_PAYLOAD, false), image + BZIMAGE_SETUP, BZIMAGE_PAYLOAD);

    uint64_t params = f.bsp.gpr[GPR_RSI];
    assert_int_equal(f.bsp.rip, LOAD + 0x200);
    assert_int_equal(params % 4096, 0);
    assert_memory_equal(memory_at(&f.memory, params + 0x202, 4, false), "HdrS", 4);
    assert_int_equal(fixture_get(&f, params + 0x210, 1), 0xff);
    assert_int_equal(fixture_get(&f, params + 0x214, 4), LOAD);
    assert_int_equal(fixture_get(&f, params + 0x218, 8), 0); /* no initrd */
    assert_int_equal(fixture_get(&f, params + 0x1ef, 1), 0); /* sentinel: the rest was cleared */
    assert_int_equal(fixture_get(&f, params, 8), 0);
    assert_string_equal(fixture_string(&f, fixture_get(&f, params + 0x228, 4)), "console=ttyS0 quiet");
    assert_memory_equal(memory_at(&f.memory, fixture_get(&f, params + 0x70, 8), 8, false), "RSD PTR ", 8);
    fixture_close(&f);
}

static void test_e820_in_boot_parameters(void **state)
{
    struct boot_fixture f;

    (void)state;
    open_linux(&f, 64 * FIXTURE_MIB);
    assert_int_equal(fixture_load(&f), STATUS_OK);
    uint64_t params = f.bsp.gpr[GPR_RSI];
    assert_int_equal(fixture_get(&f, params + 0x1e8, 1), 5);
    uint64_t record = params + 0x2d0 + 60;
    assert_int_equal(fixture_get(&f, record, 8), 0x100000);
    assert_int_equal(fixture_get(&f, record + 8, 8), 63 * FIXTURE_MIB);
    assert_int_equal(fixture_get(&f, record + 16, 4), 1);
    fixture_close(&f);
}

/* Walks the page tables as the processor will. */
static uint64_t translate(const struct boot_fixture *f, uint64_t address)
{
    uint64_t table = f->bsp.cr3;

    for (unsigned shift = 39; shift > 21; shift -= 9) {
        uint64_t entry = fixture_get(f, table + 8 * (address >> shift & 511), 8);

        assert_int_equal(entry & (PTE_P | PTE_W | PTE_PS), PTE_P | PTE_W);
        table = entry & PTE_ADDRESS;
    }
    uint64_t leaf = fixture_get(f, table + 8 * (address >> 21 & 511), 8);
    assert_int_equal(leaf & ~(PTE_ADDRESS | PTE_A | PTE_D), PTE_P | PTE_W | PTE_PS);
    return (leaf & PTE_ADDRESS) | (address & 0x1fffff);
}

static void test_processor_state(void **state)
{
    struct boot_fixture f;

    (void)state;
    open_linux(&f, 64 * FIXTURE_MIB);
    assert_int_equal(fixture_load(&f), STATUS_OK);
    const struct cpu_state *cpu = &f.bsp;

    assert_int_equal(cpu->rflags, RFLAGS_FIXED);
    assert_int_equal(cpu->cr0 & (CR0_PG | CR0_PE | CR0_CD | CR0_NW), CR0_PG | CR0_PE);
    assert_int_equal(cpu->cr4, CR4_PAE);
    assert_int_equal(cpu->efer, EFER_LME | EFER_LMA);
    for (uint64_t address = 0x1234; address < 4 * GIB; address += 0x1fffff)
        assert_int_equal(translate(&f, address), address);
    assert_int_equal(fixture_get(&f, cpu->cr3 + 8, 8), 0);
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        assert_int_equal(cpu->segment[i].selector, i == SEG_CS ? 0x10 : 0x18);
    assert_int_equal(fixture_get(&f, cpu->gdt_base + 0x10, 8), 0x00af9b000000ffff);
    assert_int_equal(fixture_get(&f, cpu->gdt_base + 0x18, 8), 0x00cf93000000ffff);
    assert_int_equal(cpu->gdt_limit, 0x27);
    assert_int_equal(cpu->mtrr_def_type, 0xc06);
    assert_int_equal(cpu->mtrr_base[0], 0x80000000);
    assert_int_equal(cpu->mtrr_mask[0], 0x7f80000800);
    fixture_close(&f);
}

static void test_initrd_is_high_and_joined(void **state)
{
    struct boot_fixture f;

    (void)state;
    open_linux(&f, 64 * FIXTURE_MIB);
    fixture_module(&f, "one", "12345", 5);
    fixture_module(&f, "two", "abcd", 4);
    assert_int_equal(fixture_load(&f), STATUS_OK);
    uint64_t params = f.bsp.gpr[GPR_RSI];
    assert_int_equal(fixture_get(&f, params + 0x218, 4), 64 * FIXTURE_MIB - 4096);
    assert_int_equal(fixture_get(&f, params + 0x21c, 4), 12);
    assert_memory_equal(memory_at(&f.memory, 64 * FIXTURE_MIB - 4096, 12, false), "12345\0\0\0abcd", 12);
    fixture_close(&f);
}

static void test_initrd_stays_below_its_limit(void **state)
{
    struct boot_fixture f;

    (void)state;
    open_linux(&f, 3 * GIB);
    store_le(image + 0x22c, 4, 0x2fffffff);
    fixture_module(&f, "initrd", image, sizeof(image));
    assert_int_equal(fixture_load(&f), STATUS_OK);
    assert_int_equal(fixture_get(&f, f.bsp.gpr[GPR_RSI] + 0x218, 4), 0x30000000 - 0x2000);
    fixture_close(&f);

    open_linux(&f, 3 * GIB); /* now the hole at 2 GiB is what limits it */
    store_le(image + 0x22c, 4, 0xffffffff);
    fixture_module(&f, "initrd", image, sizeof(image));
    assert_int_equal(fixture_load(&f), STATUS_OK);
    assert_int_equal(fixture_get(&f, f.bsp.gpr[GPR_RSI] + 0x218, 4), 2 * GIB - 0x2000);
    fixture_close(&f);
}

static void test_relocation(void **state)
{
    struct boot_fixture f;

    (void)state;
    open_linux(&f, 64 * FIXTURE_MIB);
    store_le(image + 0x258, 8, 0x80000); /* not in RAM above 1 MiB */
    assert_int_equal(fixture_load(&f), STATUS_OK);
    assert_int_equal(f.bsp.rip, 0x200000 + 0x200); /* the lowest multiple of its alignment */
    assert_int_equal(fixture_get(&f, f.bsp.gpr[GPR_RSI] + 0x214, 4), 0x200000);

    store_le(image + 0x258, 8, 0x1100000); /* not a multiple of its alignment */
    assert_int_equal(fixture_load(&f), STATUS_OK);
    assert_int_equal(f.bsp.rip, 0x1200000 + 0x200);

    store_le(image + 0x234, 1, 0); /* not relocatable: it knows what it does */
    assert_int_equal(fixture_load(&f), STATUS_OK);
    assert_int_equal(f.bsp.rip, 0x1100000 + 0x200);

    store_le(image + 0x258, 8, 0x80000);
    fixture_refused(&f, STATUS_NO_MEMORY, "needs 1024 KiB of memory from address 0x80000 on");
    fixture_close(&f);
}

static void test_too_little_memory(void **state)
{
    struct boot_fixture f;

    (void)state;
    open_linux(&f, 16 * FIXTURE_MIB);
    fixture_refused(&f, STATUS_NO_MEMORY,
                    "vmlinuz needs 1024 KiB of memory from address 0x1000000 on; "
                    "the machine has 15999 KiB: give it more memory with -m");
    fixture_close(&f);

    open_linux(&f, 17 * FIXTURE_MIB); /* just enough */
    assert_int_equal(fixture_load(&f), STATUS_OK);
    fixture_module(&f, "initrd.img", f.memory.host, 15 * FIXTURE_MIB + 1);
    fixture_refused(&f, STATUS_NO_MEMORY,
                    "initrd.img needs 15361 KiB in one piece; the machine's 17023 KiB of memory "
                    "have no room for it: give the machine more memory with -m");
    fixture_close(&f);
}

static void test_command_line_length(void **state)
{
    struct boot_fixture f;
    char line[2049];

    (void)state;
    open_linux(&f, 64 * FIXTURE_MIB);
    memset(line, 'x', sizeof(line));
    line[2048] = 0;
    f.request.command_line = line;
    fixture_refused(&f, STATUS_INVALID, "the command line has 2048 bytes; vmlinuz takes 2047: shorten it");
    line[2047] = 0;
    assert_int_equal(fixture_load(&f), STATUS_OK);
    fixture_close(&f);
}

static void test_damaged_headers(void **state)
{
    struct boot_fixture f;

    (void)state;
    open_linux(&f, 64 * FIXTURE_MIB);
    fixture_kernel(&f, image, sizeof(image) - 100);
    fixture_refused(&f, STATUS_CORRUPT,
                    "truncated Linux kernel: it should have 5120 bytes, and 100 of them are missing");
    fixture_kernel(&f, image, 0x210);
    fixture_refused(&f, STATUS_CORRUPT, "truncated");
    fixture_kernel(&f, image, sizeof(image));
    store_le(image + 0x1f4, 4, 0xffffffff);
    fixture_refused(&f, STATUS_CORRUPT, "truncated");
    store_le(image + 0x1f4, 4, 0x20);
    fixture_refused(&f, STATUS_CORRUPT, "only 512 bytes");
    boot_image_make_bzimage(image);
    store_le(image + 0x230, 4, 0x300000);
    fixture_refused(&f, STATUS_CORRUPT, "no power of two");
    store_le(image + 0x230, 4, 0);
    fixture_refused(&f, STATUS_CORRUPT, "no power of two");
    boot_image_make_bzimage(image);
    store_le(image + 0x201, 1, 0xff); /* a header longer than any: cut, not believed */
    assert_int_equal(fixture_load(&f), STATUS_OK);
    assert_int_equal(fixture_get(&f, f.bsp.gpr[GPR_RSI] + 0x290, 4), 0);
    store_le(image + 0x260, 4, 0xffffffff);
    fixture_refused(&f, STATUS_NO_MEMORY, "give it more memory");
    store_le(image + 0x258, 8, UINT64_MAX - 0xfff);
    fixture_refused(&f, STATUS_NO_MEMORY, "give it more memory");
    fixture_close(&f);
}

static void test_unsupported_kernels(void **state)
{
    struct boot_fixture f;

    (void)state;
    open_linux(&f, 64 * FIXTURE_MIB);
    store_le(image + 0x206, 2, 0x20b);
    fixture_refused(&f, STATUS_UNSUPPORTED, "boot protocol 2.11; 2.12 (Linux 3.8) or newer is needed");
    boot_image_make_bzimage(image);
    store_le(image + 0x236, 2, 0x2);
    fixture_refused(&f, STATUS_UNSUPPORTED, "a 32-bit one; give one built for x86-64");
    boot_image_make_bzimage(image);
    store_le(image + 0x211, 1, 0);
    fixture_refused(&f, STATUS_UNSUPPORTED, "a zImage; build a bzImage");
    fixture_close(&f);
}

/* What the loader writes must not meet what it loads. */
static void expect_apart(uint64_t left, uint64_t left_size, uint64_t right, uint64_t right_size)
{
    assert_true(left + left_size <= right || right + right_size <= left);
}

static void test_nothing_overlaps(void **state)
{
    struct boot_fixture f;

    (void)state;
    open_linux(&f, 64 * FIXTURE_MIB);
    f.request.command_line = "a";
    assert_int_equal(fixture_load(&f), STATUS_OK);
    uint64_t params = f.bsp.gpr[GPR_RSI], line = fixture_get(&f, params + 0x228, 4);

    expect_apart(params, 4096, line, 2);
    expect_apart(params, 4096, f.bsp.cr3, TABLES);
    expect_apart(params, 4096, f.bsp.gdt_base, 0x28);
    expect_apart(line, 2, f.bsp.cr3, TABLES);
    expect_apart(line, 2, f.bsp.gdt_base, 0x28);
    expect_apart(f.bsp.cr3, TABLES, f.bsp.gdt_base, 0x28);
    assert_true(line >= 0x10000 && params + 4096 <= 0x90000 && f.bsp.cr3 + TABLES <= 0x90000);
    fixture_close(&f);
}

static void test_real_kernel(void **state)
{
    struct boot_fixture f;
    size_t size = 0;
    uint8_t *kernel = fixture_real_kernel(&size);

    (void)state;
    if (!kernel)
        skip();
    fixture_open(&f, 512ull * FIXTURE_MIB);
    fixture_kernel(&f, kernel, size);
    fixture_module(&f, "initrd", kernel, size);
    assert_int_equal(boot_image_kind(&f.request.kernel), BOOT_KIND_LINUX);
    assert_int_equal(fixture_load(&f), STATUS_OK);
    assert_int_equal(f.bsp.rip, load_le(kernel + 0x258, 8) + 0x200);
    size_t setup = (kernel[0x1f1] + (size_t)1) * 512;
    assert_memory_equal(memory_at(&f.memory, f.bsp.rip - 0x200, 4096, false), kernel + setup, 4096);
    fixture_kernel(&f, kernel, size / 2);
    fixture_refused(&f, STATUS_CORRUPT, "of them are missing");
    fixture_close(&f);
    free(kernel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernel_and_boot_parameters),
        cmocka_unit_test(test_e820_in_boot_parameters),
        cmocka_unit_test(test_processor_state),
        cmocka_unit_test(test_initrd_is_high_and_joined),
        cmocka_unit_test(test_initrd_stays_below_its_limit),
        cmocka_unit_test(test_relocation),
        cmocka_unit_test(test_too_little_memory),
        cmocka_unit_test(test_command_line_length),
        cmocka_unit_test(test_damaged_headers),
        cmocka_unit_test(test_unsupported_kernels),
        cmocka_unit_test(test_nothing_overlaps),
        cmocka_unit_test(test_real_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
