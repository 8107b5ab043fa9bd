#include "lib/runtime.h"

#include "lib/apic.h"
#include "lib/check.h"
#include "lib/console.h"
#include "lib/cpu.h"
#include "lib/trap.h"

enum { MULTIBOOT_LOADED = 0x2badb002, MULTIBOOT_INFO_CMDLINE = 1 << 2, CMDLINE_SIZE = 512 };

#define FREE_MEMORY_START 0x800000ull
#define FREE_MEMORY_END 0x3000000ull

struct multiboot_info {
    uint32_t flags, mem_lower, mem_upper, boot_device, cmdline;
};

_Noreturn void guest_start(uint32_t magic, const struct multiboot_info *info);

#define CODE64(dpl) (DESCRIPTOR_P | DESCRIPTOR_S | DESCRIPTOR_CODE | DESCRIPTOR_W | DESCRIPTOR_A | DESCRIPTOR_L | \
                     DESCRIPTOR_DPL(dpl))
#define DATA(dpl) (DESCRIPTOR_P | DESCRIPTOR_S | DESCRIPTOR_W | DESCRIPTOR_A | DESCRIPTOR_DPL(dpl))
#define CODE(dpl) (DATA(dpl) | DESCRIPTOR_CODE)
#define FLAT (0xffffull | 0xfull << 48 | DESCRIPTOR_DB | DESCRIPTOR_G)

uint64_t gdt[GDT_ENTRIES] __attribute__((aligned(64))) = {
    [KERNEL_CS / 8] = CODE64(0),
    [KERNEL_DS / 8] = DATA(0) | FLAT,
    [USER_CS32 / 8] = CODE(3) | FLAT,
    [USER_DS / 8] = DATA(3) | FLAT,
    [USER_CS / 8] = CODE64(3),
    [KERNEL_CS32 / 8] = CODE(0) | FLAT,
    [KERNEL_CS16 / 8] = CODE(0) | 0xffff,
    [KERNEL_DS16 / 8] = DATA(0) | 0xffff,
};

struct tss cpu_tss[CPU_MAX];
static uint8_t stacks[CPU_MAX][8][STACK_SIZE] __attribute__((aligned(4096))); /* [0]: RSP0, [1..7]: IST */
static char cmdline[CMDLINE_SIZE];
static uint64_t free_memory = FREE_MEMORY_START;

void *memset(void *to, int byte, size_t size)
{
    void *cursor = to;
    __asm__ volatile("rep stosb" : "+D"(cursor), "+c"(size) : "a"(byte) : "memory");
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    void *cursor = to;
    __asm__ volatile("rep movsb" : "+D"(cursor), "+S"(from), "+c"(size) : : "memory");
    return to;
}

void *memmove(void *to, const void *from, size_t size)
{
    uint8_t *destination = to;
    const uint8_t *source = from;

    if (destination <= source || destination >= source + size)
        return memcpy(to, from, size);
    while (size-- > 0)
        *(volatile uint8_t *)(destination + size) = source[size];
    return to;
}

int memcmp(const void *left, const void *right, size_t size)
{
    const uint8_t *a = left, *b = right;

    for (size_t i = 0; i < size; i++) {
        if (a[i] != b[i])
            return a[i] < b[i] ? -1 : 1;
    }
    return 0;
}

void *page_alloc_run(unsigned pages, uint64_t alignment)
{
    uint64_t start = (free_memory + alignment - 1) & ~(alignment - 1);

    if (start + pages * (uint64_t)PAGE_SIZE > FREE_MEMORY_END) {
        fail("the test needs more memory than the runtime has");
        test_end();
    }
    free_memory = start + pages * (uint64_t)PAGE_SIZE;
    return memset((void *)start, 0, pages * (uint64_t)PAGE_SIZE);
}

void *page_alloc(void)
{
    return page_alloc_run(1, PAGE_SIZE);
}

/* TR tells: each CPU has a TSS of its own. GS stays free for the tests. */
unsigned cpu_index(void)
{
    uint32_t selector;
    __asm__("str %0" : "=r"(selector));
    return (selector - TSS_SELECTOR) / 16;
}

void cpu_tables_load(unsigned cpu)
{
    struct tss *tss = &cpu_tss[cpu];
    uint64_t base = (uint64_t)tss;
    uint64_t *descriptor = &gdt[TSS_SELECTOR / 8 + 2 * cpu];
    struct table_pointer pointer = { sizeof(gdt) - 1, (uint64_t)gdt };

    tss->io_map = offsetof(struct tss, io_bits);
    tss->rsp[0] = (uint64_t)stacks[cpu][1];
    for (unsigned i = 1; i < 8; i++)
        tss->ist[i] = (uint64_t)stacks[cpu][i] + STACK_SIZE;
    descriptor[0] = descriptor_range((uint32_t)base, TSS_LIMIT_NO_IO) | DESCRIPTOR_P | DESCRIPTOR_TYPE(9);
    descriptor[1] = base >> 32;

    __asm__ volatile("lgdt %0" : : "m"(pointer));
    __asm__ volatile("pushq %0; leaq 1f(%%rip), %%rax; pushq %%rax; lretq; 1:"
                     "movl %1, %%eax; movl %%eax, %%ss; movl %%eax, %%ds; movl %%eax, %%es"
                     :
                     : "i"(KERNEL_CS), "i"(KERNEL_DS)
                     : "rax", "memory");
    __asm__ volatile("ltr %w0" : : "r"(TSS_SELECTOR + 16 * cpu));
    trap_tables_load();
}

bool option(const char *word)
{
    for (const char *cursor = cmdline; *cursor != 0;) {
        unsigned i = 0;

        while (word[i] != 0 && cursor[i] == word[i])
            i++;
        if (word[i] == 0 && (cursor[i] == 0 || cursor[i] == ' '))
            return true;
        while (*cursor != 0 && *cursor != ' ')
            cursor++;
        while (*cursor == ' ')
            cursor++;
    }
    return false;
}

unsigned option_number(const char *name, unsigned otherwise)
{
    for (const char *cursor = cmdline; *cursor != 0; cursor++) {
        unsigned i = 0, value = 0;

        while (name[i] != 0 && cursor[i] == name[i])
            i++;
        if (name[i] != 0 || (cursor != cmdline && cursor[-1] != ' '))
            continue;
        for (cursor += i; *cursor >= '0' && *cursor <= '9'; cursor++)
            value = value * 10 + (unsigned)(*cursor - '0');
        return value;
    }
    return otherwise;
}

bool vendor_is_intel(void)
{
    return cpuid(0, 0).ecx == 0x6c65746e; /* "ntel" */
}

bool vendor_is_amd(void)
{
    return cpuid(0, 0).ecx == 0x444d4163; /* "cAMD" */
}

static void take_cmdline(uint32_t magic, const struct multiboot_info *info)
{
    if (magic != MULTIBOOT_LOADED || !(info->flags & MULTIBOOT_INFO_CMDLINE))
        return;
    const char *from = (const char *)(uintptr_t)info->cmdline;
    for (unsigned i = 0; i < CMDLINE_SIZE - 1 && from[i] != 0; i++)
        cmdline[i] = from[i];
    if (option("console=serial"))
        console_select(CONSOLE_SERIAL);
    if (option("console=debug"))
        console_select(CONSOLE_DEBUG);
}

void guest_start(uint32_t magic, const struct multiboot_info *info)
{
    take_cmdline(magic, info);
    cpu_tables_load(0);
    pic_init(0xff, 0xff); /* firmware may have left the timer running */
    test_main();
    test_end();
}
