/*
 * A processor without a translator: the helpers of engine/dbt/sys_*.c over one flat megabyte, where linear
 * addresses are physical ones. Decoding is Zydis's, as in the real thing.
 */
#ifndef LODGE_TESTS_UNIT_DBT_FIXTURE_H
#define LODGE_TESTS_UNIT_DBT_FIXTURE_H

#include "engine/dbt/state.h"

enum { FIXTURE_MEMORY = 1 << 20, NO_PAGE = -1 };

/* Where things are. */
enum {
    AT_GDT = 0x1000,
    AT_IDT = 0x2000,
    AT_TSS = 0x3000,
    AT_LDT = 0x3800,
    AT_KERNEL_STACK = 0x8000,
    AT_USER_STACK = 0x9000,
    AT_IST = 0xa000,
    AT_CODE = 0x10000,
    AT_DATA = 0x20000
};

/* Selectors of the GDT. */
enum {
    KERNEL_CODE = 0x08,
    KERNEL_DATA = 0x10,
    USER_CODE32 = 0x1b,
    USER_DATA = 0x23,
    USER_CODE64 = 0x2b,
    TSS = 0x30,
    KERNEL_CODE32 = 0x40,
    ABSENT_DATA = 0x48,
    READ_ONLY = 0x50,
    FRESH_DATA = 0x5b,
    GATE = 0x63,
    CONFORMING = 0x70,
    LDT = 0x78
};

struct fixture {
    struct machine machine;
    uint8_t *memory;
    int unmapped_page, read_only_page; /* number, or NO_PAGE */
    unsigned flushes_all, flushes_local, flushes_page;
    unsigned port_reads, port_writes;
    uint64_t port_value, last_port;
    unsigned attention_after; /* port accesses until ATTENTION_INTERRUPT; 0: never */
    uint64_t tpr, apic_msr;
    /* Of the last instruction. */
    bool faulted;
    unsigned vector;
    int32_t error;
};

extern struct fixture fx;
extern struct dbt_vcpu cpu;

/* The processor in 64-bit mode, 32-bit protected mode, real mode; everything else as after a boot. */
void fixture_long(unsigned cpl);
void fixture_protected(unsigned cpl);
void fixture_real(void);
/* The vendor that CPUID shows; AMD's otherwise. */
void fixture_intel(void);
/* A CPUID feature on or off. */
void fixture_feature(uint32_t leaf, unsigned reg, unsigned bit, bool on);

/* A gate of the IDT in the current mode's format. */
void fixture_gate(unsigned vector, unsigned type, unsigned dpl, unsigned ist, uint16_t selector, uint64_t offset);
void fixture_descriptor(uint16_t selector, uint64_t words);

uint64_t peek(uint64_t address, unsigned size);
void poke(uint64_t address, unsigned size, uint64_t value);

/* Carry out one instruction at rip; true if it completed. */
bool fixture_run(const uint8_t *bytes, size_t size);
/* Call a helper that is not in the table. */
bool fixture_call(helper_fn *helper, const struct insn *insn);
/* Deliver an exception or interrupt. */
bool fixture_deliver(unsigned vector, bool has_error, uint32_t error);

#define RUN(...) fixture_run((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* The instruction faults so, and rip stays. */
#define EXPECT_FAULT(number, code, ...)                                                                                \
    do {                                                                                                               \
        uint64_t rip_before = cpu.rip;                                                                                 \
        assert_false(RUN(__VA_ARGS__));                                                                                \
        assert_int_equal(fx.vector, number);                                                                           \
        assert_int_equal(fx.error, code);                                                                              \
        assert_int_equal(cpu.rip, rip_before);                                                                         \
    } while (0)

#endif
