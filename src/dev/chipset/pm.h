/*
 * Power management of the ICH9: the ACPI registers at PMBASE, and the APM ports 0xB2 and 0xB3.
 * Sources: Intel I/O Controller Hub 9 data sheet (316972), 13.8; ACPI 6.4, 4.8.
 *
 * Modelled: PM1 status, enable and control with the power button; the 24-bit PM timer; GPE0; SCI.
 * There is no system management mode: SMI_EN only remembers (APMC_EN is set at power-on, so that firmware
 * does not wait for its SMI handler), and a write of PM_ACPI_ENABLE to 0xB2
 * does itself what firmware would do in its SMI handler. What else is in the block reads as zero.
 *
 * Sleep: S5, S4 and the bare SLP_EN that stock firmware writes end the machine. S1 and S3 are not
 * offered to the guest; one that asks for them is woken at once.
 */
#ifndef LODGE_DEV_CHIPSET_PM_H
#define LODGE_DEV_CHIPSET_PM_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bus.h"
#include "core/device.h"
#include "core/irq.h"
#include "core/timer.h"
#include "dev/chipset/platform.h"

/* For the ACPI tables: offsets in the block, FADT values and the SLP_TYP of S5. */
enum {
    PM_BASE = 0x600,
    PM_SIZE = 0x80,
    PM_PM1_EVT = 0x00, /* PM1_STS, PM1_EN */
    PM_PM1_CNT = 0x04,
    PM_PM1_TMR = 0x08,
    PM_GPE0 = 0x20,    /* GPE0_STS and GPE0_EN, eight bytes each */
    PM_GPE0_SIZE = 16,

    PM_APM = 0xb2,     /* FADT SMI_CMD */
    PM_ACPI_ENABLE = 0x02,
    PM_ACPI_DISABLE = 0x03,

    PM_SLP_TYP_S5 = 7,
    PM_SCI_IRQ = 9,
};

enum { PM_TIMER_HZ = 3579545, PM_TIMER_BITS = 24, PM_GPES = 64 };

struct pm_state {
    uint64_t gpe0_sts, gpe0_en;
    uint64_t elapsed_ns;    /* since the PM timer was 0; set by quiesce, used by resume */
    uint64_t settled_ticks; /* of the PM timer, up to which TMROF_STS is set */
    uint32_t smi_en;
    uint16_t pm1_sts, pm1_en, pm1_cnt;
    uint8_t apm_cnt, apm_sts;
};

struct pm {
    struct device device;
    struct region acpi, apm;
    struct irq_line sci;    /* a level */
    struct platform platform;
    struct timer timer;     /* the next change of the PM timer's highest bit, if somebody wants to know */
    uint64_t epoch_ns;      /* when the PM timer was 0 */
    struct bus *bus;
    struct pm_state state;
};

/* Adds PM_BASE and 0xB2-0xB3 to the bus. platform is copied. Path "isa/pm". Errors: as bus_add(). */
enum status pm_init(struct pm *pm, const struct irq_line *sci, const struct platform *platform,
                    struct timer_queue *timers, struct bus *bus) MUST_CHECK;

/*
 * For the LPC bridge, whose configuration space has PMBASE and ACPI_EN. context is the struct pm. A
 * place that belongs to somebody else makes the block disappear. Machine lock held.
 */
void pm_place(void *context, uint16_t base, bool enabled);

/*
 * Somebody pressed the power button. Answers whether the guest gets to know: it has ACPI switched
 * on and listens. Machine lock held.
 */
bool pm_power_button(struct pm *pm);

/* A general-purpose event, 0..63; its status stays set until the guest clears it. Machine lock held. */
void pm_raise_gpe(struct pm *pm, unsigned gpe);

#endif
