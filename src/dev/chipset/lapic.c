/* The local APIC as a device: its state table, power-up, INIT, save and restore. */
#include "dev/chipset/lapic.h"

#include "base/memory.h"
#include "dev/chipset/lapic_internal.h"

#define LAPIC_DEFAULT_BASE 0xfee00000ull
#define APIC_BASE_KNOWN (APIC_BASE_BSP | APIC_BASE_EXTD | APIC_BASE_EN | APIC_BASE_ADDRESS)

enum { SVR_POWER_UP = 0xff };

/* The longest count: 2^32 - 1 ticks of 1 ns, divided by 128. */
#define LAPIC_TIMER_LONGEST_NS (0xffffffffull * 128)

static const struct state_field lapic_fields[] = {
    STATE_SCALAR(struct lapic_state, apic_base, 1),
    STATE_SCALAR(struct lapic_state, icr, 1),
    STATE_SCALAR(struct lapic_state, tsc_deadline, 1),
    STATE_SCALAR(struct lapic_state, timer_left_ns, 1),
    STATE_ARRAY(struct lapic_state, isr, 1),
    STATE_ARRAY(struct lapic_state, irr, 1),
    STATE_ARRAY(struct lapic_state, tmr, 1),
    STATE_ARRAY(struct lapic_state, lvt, 1),
    STATE_SCALAR(struct lapic_state, ldr, 1),
    STATE_SCALAR(struct lapic_state, dfr, 1),
    STATE_SCALAR(struct lapic_state, svr, 1),
    STATE_SCALAR(struct lapic_state, esr, 1),
    STATE_SCALAR(struct lapic_state, esr_collected, 1),
    STATE_SCALAR(struct lapic_state, timer_initial, 1),
    STATE_SCALAR(struct lapic_state, timer_divide, 1),
    STATE_SCALAR(struct lapic_state, timer_running, 1),
    STATE_SCALAR(struct lapic_state, tpr, 1),
    STATE_SCALAR(struct lapic_state, extint_message, 1),
};

static bool lapic_timer_valid(const struct lapic_state *state)
{
    uint32_t mode = state->lvt[LAPIC_LVT_TIMER] & LVT_TIMER_MODE;

    if (state->timer_divide & ~(uint32_t)LAPIC_TIMER_DIVIDE_WRITABLE || state->timer_running > 1)
        return false;
    if (state->timer_left_ns > LAPIC_TIMER_LONGEST_NS || (state->timer_running && state->timer_initial == 0))
        return false;
    if (mode == LVT_TIMER_TSC_DEADLINE)
        return !state->timer_running;
    return state->tsc_deadline == 0;
}

static bool lapic_valid(const void *candidate)
{
    const struct lapic_state *state = candidate;
    const uint32_t illegal = (1u << LAPIC_FIRST_LEGAL_VECTOR) - 1;

    if (state->apic_base & ~APIC_BASE_KNOWN)
        return false;
    if ((state->apic_base & (APIC_BASE_EXTD | APIC_BASE_EN)) == APIC_BASE_EXTD)
        return false;
    if ((state->isr[0] | state->irr[0] | state->tmr[0]) & illegal)
        return false;
    if (state->svr & ~(uint32_t)SVR_WRITABLE || state->ldr & 0xffffff || ~state->dfr & 0xfffffff)
        return false;
    for (unsigned i = 0; i < LAPIC_LVT_COUNT; i++)
        if (!(state->svr & SVR_ENABLE) && !(state->lvt[i] & LVT_MASK))
            return false;
    return state->extint_message <= 1 && lapic_timer_valid(state);
}

static const struct state_schema lapic_schema = {
    .name = "lapic",
    .version = 1,
    .fields = lapic_fields,
    .field_count = ARRAY_LENGTH(lapic_fields),
    .size = sizeof(struct lapic_state),
    .valid = lapic_valid,
};

void lapic_init_reset(struct lapic *lapic)
{
    uint64_t apic_base = lapic->state.apic_base;

    lapic_timer_stop(lapic);
    memset(&lapic->state, 0, sizeof(lapic->state));
    lapic->state.apic_base = apic_base;
    lapic->state.dfr = UINT32_MAX;
    lapic->state.svr = SVR_POWER_UP;
    for (unsigned i = 0; i < LAPIC_LVT_COUNT; i++)
        lapic->state.lvt[i] = LVT_MASK;
    lapic_update(lapic);
}

void lapic_power_up(struct lapic *lapic)
{
    lapic->state.apic_base = LAPIC_DEFAULT_BASE | APIC_BASE_EN;
    if (lapic_identifier(lapic) == 0)
        lapic->state.apic_base |= APIC_BASE_BSP;
    lapic_init_reset(lapic);
}

static void lapic_device_reset(struct device *device)
{
    lapic_power_up(CONTAINER_OF(device, struct lapic, device));
}

static void lapic_device_quiesce(struct device *device)
{
    lapic_timer_quiesce(CONTAINER_OF(device, struct lapic, device));
}

/* NMI, INIT and start-up already sent are in the attention word, which is the vCPU's state, not ours. */
static void lapic_device_resume(struct device *device)
{
    struct lapic *lapic = CONTAINER_OF(device, struct lapic, device);

    lapic_timer_resume(lapic);
    lapic_update(lapic);
}

const struct device_type lapic_device_type = {
    .name = "lapic",
    .schema = &lapic_schema,
    .state_offset = offsetof(struct lapic, state),
    .reset = lapic_device_reset,
    .quiesce = lapic_device_quiesce,
    .resume = lapic_device_resume,
};
