/* Start-up, descriptor tables and memory that the test programs share. */
#ifndef LODGE_TESTS_GUEST_RUNTIME_H
#define LODGE_TESTS_GUEST_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CPU_MAX = 4, PAGE_SIZE = 4096 };

/* The global descriptor table: one for all CPUs. The order KERNEL_CS, KERNEL_DS and USER_CS32, USER_DS,
 * USER_CS is what SYSCALL and SYSRET require. Tests use the free slots. */
enum selector {
    KERNEL_CS = 0x08,
    KERNEL_DS = 0x10,
    USER_CS32 = 0x18 | 3,
    USER_DS = 0x20 | 3,
    USER_CS = 0x28 | 3,
    KERNEL_CS32 = 0x30,  /* 32-bit code: compatibility mode at CPL 0 */
    KERNEL_CS16 = 0x38,  /* 16-bit code, base 0, limit 64 KiB */
    KERNEL_DS16 = 0x40,  /* 16-bit data, base 0, limit 64 KiB */
    FREE_SELECTOR = 0x48,
    FREE_SELECTORS = 16,
    TSS_SELECTOR = FREE_SELECTOR + 8 * FREE_SELECTORS, /* 16 bytes a CPU */
    GDT_ENTRIES = TSS_SELECTOR / 8 + 2 * CPU_MAX,
};

/* Descriptor bits, in the second doubleword's place of the 64-bit descriptor. */
#define DESCRIPTOR_A (1ull << 40)
#define DESCRIPTOR_W (1ull << 41)    /* data: writable; code: readable */
#define DESCRIPTOR_E (1ull << 42)    /* data: expand down; code: conforming */
#define DESCRIPTOR_CODE (1ull << 43)
#define DESCRIPTOR_S (1ull << 44)
#define DESCRIPTOR_DPL(n) ((uint64_t)(n) << 45)
#define DESCRIPTOR_P (1ull << 47)
#define DESCRIPTOR_L (1ull << 53)
#define DESCRIPTOR_DB (1ull << 54)
#define DESCRIPTOR_G (1ull << 55)
#define DESCRIPTOR_TYPE(n) ((uint64_t)(n) << 40)

/* Base and limit fields of a descriptor. */
static inline uint64_t descriptor_range(uint32_t base, uint32_t limit)
{
    return (limit & 0xffffull) | (base & 0xffffffull) << 16 | (uint64_t)(limit >> 16 & 0xf) << 48 |
           (uint64_t)(base >> 24) << 56;
}

struct tss {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t ist[8];     /* ist[1] to ist[7] */
    uint8_t reserved1[10];
    uint16_t io_map;
    uint8_t io_bits[8193]; /* ports 0 to 65535 and the closing byte */
} __attribute__((packed, aligned(16)));

enum { TSS_LIMIT_NO_IO = 103 };
_Static_assert(offsetof(struct tss, io_bits) == TSS_LIMIT_NO_IO + 1, "the layout of the 64-bit TSS");

extern uint64_t gdt[GDT_ENTRIES];
extern struct tss cpu_tss[CPU_MAX];

/* Stacks: IST 1 is used by #DF, IST 2 by NMI and #MC, the rest are the tests'. */
enum { IST_DOUBLE_FAULT = 1, IST_NMI = 2, IST_FREE = 3, STACK_SIZE = 16384 };

/* Loads GDT, TSS, IDT and the control registers on the calling CPU. */
void cpu_tables_load(unsigned cpu);

/* Which CPU am I? 0 is the boot processor. Valid at CPL 0 after cpu_tables_load(). */
unsigned cpu_index(void);

/* Zeroed, page-aligned memory that is never given back; identity-mapped, supervisor only. */
void *page_alloc(void);
void *page_alloc_run(unsigned pages, uint64_t alignment);

/* The test's name; every program defines it. */
extern const char test_name[];

/* Do the processor's own vendors differ here? Both false on others. */
bool vendor_is_intel(void);
bool vendor_is_amd(void);

void *memset(void *to, int byte, size_t size);
void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memmove(void *to, const void *from, size_t size);
int memcmp(const void *left, const void *right, size_t size);

/* Code and data that ring 3 may reach. */
#define USER_TEXT __attribute__((section("user_text"), noinline))
#define USER_DATA __attribute__((section("user_data")))

#endif
