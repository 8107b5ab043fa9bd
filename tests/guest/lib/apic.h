/* Local APIC, IOAPIC, PIC and PIT, as far as the tests need them. SDM volume 3, chapter 11. */
#ifndef LODGE_TESTS_GUEST_APIC_H
#define LODGE_TESTS_GUEST_APIC_H

#include <stdbool.h>
#include <stdint.h>

enum apic_register {
    APIC_ID = 0x020, APIC_VERSION = 0x030, APIC_TPR = 0x080, APIC_PPR = 0x0a0, APIC_EOI = 0x0b0, APIC_LDR = 0x0d0,
    APIC_DFR = 0x0e0, APIC_SVR = 0x0f0, APIC_ISR = 0x100, APIC_TMR = 0x180, APIC_IRR = 0x200, APIC_ESR = 0x280,
    APIC_ICR = 0x300, APIC_ICR_HIGH = 0x310, APIC_LVT_TIMER = 0x320, APIC_LVT_LINT0 = 0x350, APIC_LVT_LINT1 = 0x360,
    APIC_LVT_ERROR = 0x370, APIC_TIMER_INITIAL = 0x380, APIC_TIMER_CURRENT = 0x390, APIC_TIMER_DIVIDE = 0x3e0,
};

enum {
    APIC_SVR_ENABLE = 0x100,
    LVT_MASKED = 1 << 16, LVT_PERIODIC = 1 << 17, LVT_TSC_DEADLINE = 1 << 18, LVT_EXTINT = 7 << 8, LVT_NMI = 4 << 8,
    ICR_FIXED = 0, ICR_NMI = 4 << 8, ICR_INIT = 5 << 8, ICR_STARTUP = 6 << 8, ICR_LOGICAL = 1 << 11, ICR_BUSY = 1 << 12,
    ICR_ASSERT = 1 << 14, ICR_SELF = 1 << 18, ICR_ALL = 2 << 18, ICR_OTHERS = 3 << 18,
    APIC_DIVIDE_1 = 0xb, VECTOR_SPURIOUS = 0xff,
};

#define APIC_MMIO 0xfee00000ull

/* The calling CPU's APIC, in the mode that it is in. */
uint32_t apic_read(unsigned reg);
void apic_write(unsigned reg, uint32_t value);
bool apic_is_x2apic(void);
unsigned apic_id(void);

/* Software-enables it, with everything masked; the PIC too. Turns xAPIC mode on if it was off. */
void apic_enable(void);
void apic_eoi(void);

/* Sends an interrupt: command is the low word of the ICR, destination an APIC identifier. Waits until it has left. */
void apic_send(uint32_t command, uint32_t destination);
/* Is this vector's bit set in the 256-bit register that begins at reg? */
bool apic_bit(unsigned reg, unsigned vector);

uint32_t ioapic_read(unsigned reg);
void ioapic_write(unsigned reg, uint32_t value);
/* low: the entry's low word, vector and kind. Destination: physical. */
void ioapic_route(unsigned pin, uint32_t low, unsigned destination);

/* Remaps both PICs to 0x20 and 0x28 with these masks (1: masked). */
void pic_init(uint8_t master_mask, uint8_t slave_mask);
void pic_eoi(unsigned line);
/* Channel 0, mode 2 (periodic), at about this frequency. */
void pit_start(unsigned hertz);
void pit_stop(void);

/* Spins for about this long by the PIT's count, which does not depend on the TSC. */
void pit_delay_us(unsigned microseconds);

#endif
