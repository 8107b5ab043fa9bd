#include "lib/apic.h"

#include "lib/cpu.h"

enum {
    IOAPIC_MMIO = 0xfec00000, PIC_MASTER = 0x20, PIC_SLAVE = 0xa0, PIT_CHANNEL_0 = 0x40, PIT_CHANNEL_2 = 0x42,
    PIT_COMMAND = 0x43, PORT_B = 0x61, PIT_HERTZ = 1193182,
};

bool apic_is_x2apic(void)
{
    return read_msr(MSR_IA32_APIC_BASE) & APIC_BASE_EXTD;
}

uint32_t apic_read(unsigned reg)
{
    if (apic_is_x2apic())
        return (uint32_t)read_msr(MSR_IA32_X2APIC_FIRST + reg / 16);
    return *(volatile uint32_t *)(APIC_MMIO + reg);
}

void apic_write(unsigned reg, uint32_t value)
{
    if (apic_is_x2apic())
        write_msr(MSR_IA32_X2APIC_FIRST + reg / 16, value);
    else
        *(volatile uint32_t *)(APIC_MMIO + reg) = value;
}

unsigned apic_id(void)
{
    return apic_is_x2apic() ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;
}

void apic_enable(void)
{
    uint64_t base = read_msr(MSR_IA32_APIC_BASE);

    if (!(base & APIC_BASE_EN))
        write_msr(MSR_IA32_APIC_BASE, base | APIC_BASE_EN);
    if (base & APIC_BASE_BSP)
        pic_init(0xff, 0xff);
    apic_write(APIC_TPR, 0);
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
    apic_write(APIC_LVT_LINT0, LVT_MASKED);
    apic_write(APIC_LVT_LINT1, LVT_MASKED);
    apic_write(APIC_LVT_ERROR, LVT_MASKED);
    apic_write(APIC_SVR, APIC_SVR_ENABLE | VECTOR_SPURIOUS);
}

void apic_eoi(void)
{
    apic_write(APIC_EOI, 0);
}

void apic_send(uint32_t command, uint32_t destination)
{
    if (apic_is_x2apic()) {
        write_msr(MSR_IA32_X2APIC_FIRST + APIC_ICR / 16, (uint64_t)destination << 32 | command);
        return;
    }
    apic_write(APIC_ICR_HIGH, destination << 24);
    apic_write(APIC_ICR, command);
    while (apic_read(APIC_ICR) & ICR_BUSY)
        cpu_pause();
}

bool apic_bit(unsigned reg, unsigned vector)
{
    return apic_read(reg + vector / 32 * 16) >> (vector % 32) & 1;
}

uint32_t ioapic_read(unsigned reg)
{
    *(volatile uint32_t *)(uint64_t)IOAPIC_MMIO = reg;
    return *(volatile uint32_t *)((uint64_t)IOAPIC_MMIO + 0x10);
}

void ioapic_write(unsigned reg, uint32_t value)
{
    *(volatile uint32_t *)(uint64_t)IOAPIC_MMIO = reg;
    *(volatile uint32_t *)((uint64_t)IOAPIC_MMIO + 0x10) = value;
}

void ioapic_route(unsigned pin, uint32_t low, unsigned destination)
{
    ioapic_write(0x10 + 2 * pin, LVT_MASKED);
    ioapic_write(0x11 + 2 * pin, destination << 24);
    ioapic_write(0x10 + 2 * pin, low);
}

void pic_init(uint8_t master_mask, uint8_t slave_mask)
{
    out8(PIC_MASTER, 0x11);
    out8(PIC_SLAVE, 0x11);
    out8(PIC_MASTER + 1, 0x20);
    out8(PIC_SLAVE + 1, 0x28);
    out8(PIC_MASTER + 1, 4);
    out8(PIC_SLAVE + 1, 2);
    out8(PIC_MASTER + 1, 1);
    out8(PIC_SLAVE + 1, 1);
    out8(PIC_MASTER + 1, master_mask);
    out8(PIC_SLAVE + 1, slave_mask);
}

void pic_eoi(unsigned line)
{
    if (line >= 8)
        out8(PIC_SLAVE, 0x20);
    out8(PIC_MASTER, 0x20);
}

void pit_start(unsigned hertz)
{
    unsigned count = PIT_HERTZ / hertz;

    out8(PIT_COMMAND, 0x34);
    out8(PIT_CHANNEL_0, (uint8_t)count);
    out8(PIT_CHANNEL_0, (uint8_t)(count >> 8));
}

void pit_stop(void)
{
    out8(PIT_COMMAND, 0x38); /* mode 4 without a count: idle, output high */
}

void pit_delay_us(unsigned microseconds)
{
    while (microseconds > 0) {
        unsigned slice = microseconds < 20000 ? microseconds : 20000;
        unsigned count = (unsigned)((uint64_t)slice * PIT_HERTZ / 1000000) + 1;

        microseconds -= slice;
        out8(PORT_B, (uint8_t)((in8(PORT_B) & ~3) | 1)); /* gate on, speaker off */
        out8(PIT_COMMAND, 0xb0);                         /* channel 2, mode 0 */
        out8(PIT_CHANNEL_2, (uint8_t)count);
        out8(PIT_CHANNEL_2, (uint8_t)(count >> 8));
        while (!(in8(PORT_B) & 0x20))
            cpu_pause();
    }
}
