/* The guest's x87, vector and MXCSR state between the host's registers and the vCPU. */
#include "engine/dbt/vector.h"

/* Everything that the host kernel lets us have; the guest's XCR0 is a subset. */
static uint64_t components(void)
{
    uint32_t low;
    uint32_t high;

    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((uint64_t)high << 32 | low) & VECTOR_COMPONENTS;
}

void vector_save(struct dbt_vcpu *c)
{
    static const uint32_t mxcsr = 0x1f80;
    uint64_t mask = components();

    if (!c->vector_live)
        return;
    c->vector_live = 0;
    __asm__ volatile("xsave64 %0" : "+m"(c->xsave) : "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
    /* The guest's rounding and unmasked exceptions are not ours, nor are dirty upper halves. */
    __asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
    if (mask & 4)
        __asm__ volatile("vzeroupper" : : : "memory");
}

void vector_load(struct dbt_vcpu *c)
{
    uint64_t mask = components();

    if (c->vector_live)
        return;
    c->vector_live = 1;
    __asm__ volatile("xrstor64 %0" : : "m"(c->xsave), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
}
