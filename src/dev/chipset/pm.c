#include "dev/chipset/pm.h"

#include "base/bits.h"
#include "dev/chipset/isa.h"
#include "dev/chipset/ticks.h"

enum pm_region { REGION_ACPI, REGION_APM };

enum {
    PM1_TMROF = 1 << 0, /* the same places in PM1_STS and PM1_EN */
    PM1_GBL = 1 << 5,
    PM1_PWRBTN = 1 << 8,
    PM1_RTC = 1 << 10,
    PM1_EVENTS = PM1_TMROF | PM1_GBL | PM1_PWRBTN | PM1_RTC,
    PM1_STS_BM = 1 << 4,
    PM1_STS_PRBTNOR = 1 << 11,
    PM1_STS_PCIEXPWAK = 1 << 14,
    PM1_STS_WAK = 1 << 15,
    PM1_STS_BITS = PM1_EVENTS | PM1_STS_BM | PM1_STS_PRBTNOR | PM1_STS_PCIEXPWAK | PM1_STS_WAK,
    PM1_EN_PCIEXP_WAKE_DIS = 1 << 14,
    PM1_EN_BITS = PM1_EVENTS | PM1_EN_PCIEXP_WAKE_DIS,

    PM1_CNT_SCI_EN = 1 << 0,
    PM1_CNT_BM_RLD = 1 << 1,
    PM1_CNT_SLP_TYP = 7 << 10,
    PM1_CNT_SLP_TYP_SHIFT = 10,
    PM1_CNT_SLP_EN = 1 << 13, /* write only */
    PM1_CNT_BITS = PM1_CNT_SCI_EN | PM1_CNT_BM_RLD | PM1_CNT_SLP_TYP,

    SLP_TYP_NONE = 0, /* what firmware writes when it does not care */
    SLP_TYP_S4 = 6,
};

/* Byte offsets in the block. */
enum {
    PM1_STS = PM_PM1_EVT,
    PM1_EN = PM_PM1_EVT + 2,
    PM1_CNT = PM_PM1_CNT,
    PM1_TMR = PM_PM1_TMR,
    GPE0_STS = PM_GPE0,
    GPE0_EN = PM_GPE0 + 8,
    SMI_EN = 0x30,
};

/* APMC_EN (13.8.3.9) at power-on: firmware that finds it set takes system management mode as dealt with. */
enum { SMI_EN_APMC = 1 << 5 };

/* 292 years: what a saved machine may claim to have run. */
#define PM_ELAPSED_MAX (UINT64_MAX / 2)

static const struct state_field pm_fields[] = {
    STATE_SCALAR(struct pm_state, gpe0_sts, 1),
    STATE_SCALAR(struct pm_state, gpe0_en, 1),
    STATE_SCALAR(struct pm_state, elapsed_ns, 1),
    STATE_SCALAR(struct pm_state, settled_ticks, 1),
    STATE_SCALAR(struct pm_state, smi_en, 1),
    STATE_SCALAR(struct pm_state, pm1_sts, 1),
    STATE_SCALAR(struct pm_state, pm1_en, 1),
    STATE_SCALAR(struct pm_state, pm1_cnt, 1),
    STATE_SCALAR(struct pm_state, apm_cnt, 1),
    STATE_SCALAR(struct pm_state, apm_sts, 1),
};

static bool pm_valid(const void *candidate)
{
    const struct pm_state *state = candidate;

    return !(state->pm1_sts & ~PM1_STS_BITS) && !(state->pm1_en & ~PM1_EN_BITS) &&
           !(state->pm1_cnt & ~PM1_CNT_BITS) && state->elapsed_ns <= PM_ELAPSED_MAX &&
           state->settled_ticks <= ticks_from_ns(state->elapsed_ns, PM_TIMER_HZ);
}

static const struct state_schema pm_schema = {
    .name = "ich9-pm",
    .version = 1,
    .fields = pm_fields,
    .field_count = ARRAY_LENGTH(pm_fields),
    .size = sizeof(struct pm_state),
    .valid = pm_valid,
};

/* --- the PM timer and SCI --- */

static uint64_t pm_elapsed_ns(const struct pm *pm)
{
    return timer_now(pm->timer.queue) - pm->epoch_ns;
}

/* How often the timer's highest bit has changed. */
static uint64_t pm_halves(uint64_t ticks)
{
    return ticks >> (PM_TIMER_BITS - 1);
}

/* Sets TMROF_STS if it is due. Answers the timer, not yet cut to its width. */
static uint64_t pm_settle(struct pm *pm)
{
    uint64_t ticks = ticks_from_ns(pm_elapsed_ns(pm), PM_TIMER_HZ);

    if (pm_halves(ticks) != pm_halves(pm->state.settled_ticks))
        pm->state.pm1_sts |= PM1_TMROF;
    pm->state.settled_ticks = ticks;
    return ticks;
}

static bool pm_asserts_sci(const struct pm *pm)
{
    const struct pm_state *state = &pm->state;
    bool event = (state->pm1_sts & state->pm1_en & PM1_EVENTS) || (state->gpe0_sts & state->gpe0_en);

    return event && (state->pm1_cnt & PM1_CNT_SCI_EN);
}

/* After anything that touched status or enable bits: SCI, and the timer if it may raise it. */
static void pm_update(struct pm *pm)
{
    uint64_t next = (pm_halves(pm->state.settled_ticks) + 1) << (PM_TIMER_BITS - 1);
    uint64_t elapsed = pm_elapsed_ns(pm), at = ticks_to_ns(next, PM_TIMER_HZ);

    irq_set(&pm->sci, pm_asserts_sci(pm));
    if ((pm->state.pm1_en & ~pm->state.pm1_sts & PM1_TMROF) && (pm->state.pm1_cnt & PM1_CNT_SCI_EN))
        timer_arm(&pm->timer, ticks_add(timer_now(pm->timer.queue), at > elapsed ? at - elapsed : 0));
    else
        timer_cancel(&pm->timer);
}

/* Timer: the host's alarm, machine lock held. */
static void pm_fire(void *owner)
{
    struct pm *pm = owner;

    pm_settle(pm);
    pm_update(pm);
}

bool pm_power_button(struct pm *pm)
{
    pm_settle(pm);
    pm->state.pm1_sts |= PM1_PWRBTN;
    pm_update(pm);
    return (pm->state.pm1_en & PM1_PWRBTN) && (pm->state.pm1_cnt & PM1_CNT_SCI_EN);
}

void pm_raise_gpe(struct pm *pm, unsigned gpe)
{
    if (gpe >= PM_GPES)
        return;
    pm_settle(pm);
    pm->state.gpe0_sts |= BIT64(gpe);
    pm_update(pm);
}

/* --- registers, byte by byte: whatever does something when written is in one byte with its data --- */

static uint8_t byte_of(uint64_t value, unsigned byte)
{
    return (uint8_t)(value >> (8 * byte));
}

static uint64_t with_byte(uint64_t value, unsigned byte, uint8_t to)
{
    return (value & ~(0xffull << (8 * byte))) | (uint64_t)to << (8 * byte);
}

static uint8_t pm_read_byte(const struct pm *pm, unsigned offset, uint64_t ticks)
{
    const struct pm_state *state = &pm->state;

    switch (offset & ~7u) {
    case GPE0_STS:
        return byte_of(state->gpe0_sts, offset & 7);
    case GPE0_EN:
        return byte_of(state->gpe0_en, offset & 7);
    default:
        break;
    }
    switch (offset & ~3u) {
    case PM1_STS:
        return byte_of(state->pm1_sts | (uint32_t)state->pm1_en << 16, offset & 3);
    case PM1_CNT:
        return byte_of(state->pm1_cnt, offset & 3);
    case PM1_TMR:
        return byte_of(ticks & bits_mask(PM_TIMER_BITS), offset & 3);
    case SMI_EN:
        return byte_of(state->smi_en, offset & 3);
    default:
        return 0;
    }
}

static void pm_sleep(struct pm *pm)
{
    unsigned type = (pm->state.pm1_cnt & (unsigned)PM1_CNT_SLP_TYP) >> PM1_CNT_SLP_TYP_SHIFT;

    if (type == PM_SLP_TYP_S5 || type == SLP_TYP_S4 || type == SLP_TYP_NONE)
        platform_power_off(&pm->platform);
    else
        pm->state.pm1_sts |= PM1_STS_WAK;
}

static void pm_write_pm1_cnt(struct pm *pm, unsigned byte, uint8_t value)
{
    uint64_t written = with_byte(pm->state.pm1_cnt, byte, value);

    pm->state.pm1_cnt = (uint16_t)(written & PM1_CNT_BITS);
    if (byte == 1 && (written & PM1_CNT_SLP_EN))
        pm_sleep(pm);
}

static void pm_write_byte(struct pm *pm, unsigned offset, uint8_t value)
{
    struct pm_state *state = &pm->state;

    if ((offset & ~7u) == GPE0_STS)
        state->gpe0_sts &= ~((uint64_t)value << (8 * (offset & 7)));
    else if ((offset & ~7u) == GPE0_EN)
        state->gpe0_en = with_byte(state->gpe0_en, offset & 7, value);
    else if ((offset & ~1u) == PM1_STS)
        state->pm1_sts &= (uint16_t)~(value << (8 * (offset & 1)));
    else if ((offset & ~1u) == PM1_EN)
        state->pm1_en = (uint16_t)(with_byte(state->pm1_en, offset & 1, value) & PM1_EN_BITS);
    else if ((offset & ~1u) == PM1_CNT)
        pm_write_pm1_cnt(pm, offset & 1, value);
    else if ((offset & ~3u) == SMI_EN)
        state->smi_en = (uint32_t)with_byte(state->smi_en, offset & 3, value);
}

static void pm_io_acpi(struct pm *pm, struct io_access *access)
{
    uint64_t ticks = pm_settle(pm), value = 0;

    for (unsigned i = 0; i < access->size; i++) {
        unsigned offset = (unsigned)access->offset + i;

        if (access->write)
            pm_write_byte(pm, offset, byte_of(access->value, i));
        else
            value |= (uint64_t)pm_read_byte(pm, offset, ticks) << (8 * i);
    }
    if (access->write)
        pm_update(pm);
    else
        access->value = value;
}

/* 0xB2 calls what would be firmware; 0xB3 is a byte for its answers. */
static void pm_io_apm(struct pm *pm, struct io_access *access)
{
    uint8_t *reg = access->offset == 0 ? &pm->state.apm_cnt : &pm->state.apm_sts;

    if (!access->write) {
        access->value = *reg;
        return;
    }
    *reg = (uint8_t)access->value;
    if (reg != &pm->state.apm_cnt)
        return;
    if (*reg == PM_ACPI_ENABLE)
        pm->state.pm1_cnt |= PM1_CNT_SCI_EN;
    else if (*reg == PM_ACPI_DISABLE)
        pm->state.pm1_cnt &= (uint16_t)~PM1_CNT_SCI_EN;
    pm_settle(pm);
    pm_update(pm);
}

static enum io_result pm_io(struct device *device, unsigned region, struct io_access *access)
{
    struct pm *pm = CONTAINER_OF(device, struct pm, device);

    if (region == REGION_ACPI)
        pm_io_acpi(pm, access);
    else
        pm_io_apm(pm, access);
    return IO_DONE;
}

static void pm_reset(struct device *device)
{
    struct pm *pm = CONTAINER_OF(device, struct pm, device);

    pm->state = (struct pm_state){.smi_en = SMI_EN_APMC};
    pm->epoch_ns = timer_now(pm->timer.queue);
    pm_update(pm);
}

static void pm_quiesce(struct device *device)
{
    struct pm *pm = CONTAINER_OF(device, struct pm, device);

    pm_settle(pm);
    pm_update(pm);
    pm->state.elapsed_ns = pm_elapsed_ns(pm);
}

static void pm_resume(struct device *device)
{
    struct pm *pm = CONTAINER_OF(device, struct pm, device);

    pm->epoch_ns = timer_now(pm->timer.queue) - pm->state.elapsed_ns;
    pm_update(pm);
}

static const struct device_type pm_type = {
    .name = "ich9-pm",
    .schema = &pm_schema,
    .state_offset = offsetof(struct pm, state),
    .io = pm_io,
    .reset = pm_reset,
    .quiesce = pm_quiesce,
    .resume = pm_resume,
};

void pm_place(void *context, uint16_t base, bool enabled)
{
    struct pm *pm = context;

    /* In the way of another device they stay away, as bus_place() leaves them; the guest asked for it. */
    (void)!bus_place(pm->bus, &pm->acpi, base, enabled);
}

enum status pm_init(struct pm *pm, const struct irq_line *sci, const struct platform *platform,
                    struct timer_queue *timers, struct bus *bus)
{
    enum status status;

    *pm = (struct pm){
        .device = {.type = &pm_type, .path = "isa/pm"},
        .sci = *sci,
        .platform = *platform,
        .bus = bus,
    };
    timer_init(&pm->timer, timers, pm_fire, pm);
    pm_reset(&pm->device);
    pm->acpi = (struct region){
        .name = "pm-acpi",
        .space = BUS_PORT,
        .base = PM_BASE,
        .size = PM_SIZE,
        .smallest = 1,
        .largest = 4,
        .enabled = true,
        .device = &pm->device,
        .index = REGION_ACPI,
    };
    pm->apm = (struct region){
        .name = "pm-apm",
        .space = BUS_PORT,
        .base = PM_APM,
        .size = 2,
        .smallest = 1,
        .largest = 1,
        .enabled = true,
        .device = &pm->device,
        .index = REGION_APM,
    };
    status = bus_add(bus, &pm->acpi);
    return status == STATUS_OK ? bus_add(bus, &pm->apm) : status;
}
