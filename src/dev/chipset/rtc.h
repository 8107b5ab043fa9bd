/*
 * The MC146818 real-time clock with 128 bytes of CMOS RAM at 0x70/0x71, IRQ 8. Data sheet: Motorola
 * MC146818 (ADI856R2); port 0x70 bit 7: ICH9, 13.6.
 *
 * The time follows the host's wall clock at an offset that changes when the guest sets the clock:
 * a machine that slept wakes up with the right time. All time bases of the divider count as
 * 32.768 kHz. The day of the week follows from the date. Byte 0x32 is the century.
 * Not modelled: square wave output, daylight saving, alarms by date.
 */
#ifndef LODGE_DEV_CHIPSET_RTC_H
#define LODGE_DEV_CHIPSET_RTC_H

#include <stdint.h>

#include "core/bus.h"
#include "core/device.h"
#include "core/irq.h"
#include "core/timer.h"

enum { RTC_CMOS_SIZE = 128, RTC_CENTURY = 0x32 };

struct rtc_state {
    uint64_t offset_s;      /* guest seconds - host seconds, two's complement */
    uint64_t settled_s;     /* the guest second up to which UF and AF are set, two's complement */
    uint64_t settled_ticks; /* the divider's tick up to which PF is set */
    uint64_t elapsed_ns;    /* since the divider started; set by quiesce, used by resume */
    uint32_t phase_ns;      /* what the guest's seconds are ahead of the host's, below a second */
    uint8_t index;          /* port 0x70: bit 7 NMI mask, the rest an address */
    uint8_t cmos[RTC_CMOS_SIZE]; /* the time is here only while the clock is stopped */
};

struct rtc {
    struct device device;
    struct region region;
    struct irq_line irq;
    struct timer timer;
    uint64_t epoch_ns; /* when the divider started, on the timers' clock */
    struct rtc_state state;
};

/*
 * Adds 0x70-0x71 to the bus; the clock shows UTC, in BCD and 24 hours. The time comes from
 * timers->clock. Reset is that of the RESET pin: time and CMOS stay. Path "isa/rtc". Errors: as bus_add().
 */
enum status rtc_init(struct rtc *rtc, const struct irq_line *irq, struct timer_queue *timers,
                     struct bus *bus) MUST_CHECK;

/*
 * For the board: a byte that firmware expects (memory sizes, boot order). index is 0x0e..0x7f and
 * not the century; anything else is ignored. Machine lock held, or before the machine runs.
 */
void rtc_set_cmos(struct rtc *rtc, unsigned index, uint8_t value);

#endif
