#include "dev/chipset/pit.h"

#include "base/bits.h"
#include "dev/chipset/isa.h"
#include "dev/chipset/ticks.h"

enum pit_region { REGION_COUNTERS, REGION_NMI_SC };

enum {
    CONTROL_PORT = 3,
    CONTROL_SC_SHIFT = 6,
    SC_READ_BACK = 3,
    READ_BACK_NO_COUNT = 1 << 5,
    READ_BACK_NO_STATUS = 1 << 4,

    NMI_SC_TIM_CNT2_EN = 1 << 0,
    NMI_SC_WRITABLE = 0x0f, /* also SPKR_DAT_EN, PCI_SERR_EN, IOCHK_NMI_EN */
    NMI_SC_REF_TOGGLE = 1 << 4,
    NMI_SC_TMR2_OUT_STS = 1 << 5,
    REFRESH_TICKS = 18, /* 15 us */

    TIMER_CHANNEL = 0,
    SPEAKER_CHANNEL = 2,
};

/*
 * A guest may ask for an interrupt every two ticks. The host is not woken more often than this;
 * the rises in between merge, as they would in an interrupt controller that nobody serves in time.
 */
#define PIT_SHORTEST_WAIT_NS 20000ull

/* 292 years: what a saved machine may claim to have run. */
#define PIT_ELAPSED_MAX (UINT64_MAX / 2)

#define PIT_FIELD(member) STATE_MEMBERS(struct pit_state, channels, member, 1)

static const struct state_field pit_fields[] = {
    PIT_FIELD(start),
    PIT_FIELD(held),
    PIT_FIELD(load_at),
    PIT_FIELD(period),
    PIT_FIELD(count),
    PIT_FIELD(latch),
    PIT_FIELD(control),
    PIT_FIELD(activity),
    PIT_FIELD(gate),
    PIT_FIELD(written),
    PIT_FIELD(null_count),
    PIT_FIELD(write_msb),
    PIT_FIELD(write_lsb),
    PIT_FIELD(read_msb),
    PIT_FIELD(latched),
    PIT_FIELD(status),
    PIT_FIELD(status_latched),
    STATE_SCALAR(struct pit_state, elapsed_ns, 1),
    STATE_SCALAR(struct pit_state, nmi_sc, 1),
    STATE_SCALAR(struct pit_state, irq_level, 1),
};

static uint64_t pit_tick_at(uint64_t elapsed_ns)
{
    return PIT_FIRST_TICK + ticks_from_ns(elapsed_ns, PIT_HZ);
}

static bool pit_valid(const void *candidate)
{
    const struct pit_state *state = candidate;

    if (state->elapsed_ns > PIT_ELAPSED_MAX || (state->nmi_sc & ~NMI_SC_WRITABLE) != 0 || state->irq_level > 1)
        return false;
    for (unsigned i = 0; i < PIT_CHANNELS; i++) {
        bool gate = i != SPEAKER_CHANNEL || (state->nmi_sc & NMI_SC_TIM_CNT2_EN);

        if (!pit_channel_valid(&state->channels[i], pit_tick_at(state->elapsed_ns)) ||
            state->channels[i].gate != gate)
            return false;
    }
    return true;
}

static const struct state_schema pit_schema = {
    .name = "i8254",
    .version = 1,
    .fields = pit_fields,
    .field_count = ARRAY_LENGTH(pit_fields),
    .size = sizeof(struct pit_state),
    .valid = pit_valid,
};

static uint64_t pit_elapsed_ns(const struct pit *pit)
{
    return timer_now(pit->timer.queue) - pit->epoch_ns;
}

static uint64_t pit_now(const struct pit *pit)
{
    return pit_tick_at(pit_elapsed_ns(pit));
}

static void pit_arm(struct pit *pit)
{
    uint64_t elapsed = pit_elapsed_ns(pit), at, wait;

    if (pit->next_rise == PIT_NEVER) {
        timer_cancel(&pit->timer);
        return;
    }
    at = ticks_to_ns(pit->next_rise - PIT_FIRST_TICK, PIT_HZ);
    wait = at > elapsed ? at - elapsed : 0;
    if (wait < PIT_SHORTEST_WAIT_NS)
        wait = PIT_SHORTEST_WAIT_NS;
    timer_arm(&pit->timer, ticks_add(timer_now(pit->timer.queue), wait));
}

static void pit_set_irq(struct pit *pit, bool level)
{
    pit->state.irq_level = level;
    irq_set(&pit->irq, level);
}

/*
 * Tells of a rise that is due. Before anything that changes counter 0, so that no rise is lost. The
 * line is left high: nobody who listens by edges can tell when it fell.
 */
static void pit_settle(struct pit *pit, uint64_t now)
{
    if (now < pit->next_rise || pit->next_rise == PIT_NEVER)
        return;
    pit_set_irq(pit, false);
    pit_set_irq(pit, true);
    pit->next_rise = pit_channel_next_rise(&pit->state.channels[TIMER_CHANNEL], now);
    pit_arm(pit);
}

/* Counter 0 was touched. */
static void pit_restart(struct pit *pit, uint64_t now)
{
    struct pit_channel *channel = &pit->state.channels[TIMER_CHANNEL];

    pit_set_irq(pit, pit_channel_out(channel, now));
    pit->next_rise = pit_channel_next_rise(channel, now);
    pit_arm(pit);
}

/* Timer: the host's alarm, machine lock held. */
static void pit_fire(void *owner)
{
    struct pit *pit = owner;

    pit_settle(pit, pit_now(pit));
    pit_arm(pit);
}

static void pit_write_control(struct pit *pit, uint64_t now, uint8_t value)
{
    unsigned select = value >> CONTROL_SC_SHIFT;

    if (select == SC_READ_BACK) {
        for (unsigned i = 0; i < PIT_CHANNELS; i++) {
            if (!(value & BIT(i + 1)))
                continue;
            if (!(value & READ_BACK_NO_COUNT))
                pit_channel_latch_count(&pit->state.channels[i], now);
            if (!(value & READ_BACK_NO_STATUS))
                pit_channel_latch_status(&pit->state.channels[i], now);
        }
        return;
    }
    if (((value & PIT_CONTROL) >> PIT_CONTROL_RW_SHIFT) == PIT_RW_LATCH) {
        pit_channel_latch_count(&pit->state.channels[select], now);
        return;
    }
    pit_channel_control(&pit->state.channels[select], value & PIT_CONTROL);
    if (select == TIMER_CHANNEL)
        pit_restart(pit, now);
}

static void pit_counters(struct pit *pit, uint64_t now, struct io_access *access)
{
    unsigned port = access->offset & 3;

    if (port == CONTROL_PORT && access->write) {
        pit_write_control(pit, now, (uint8_t)access->value);
    } else if (port == CONTROL_PORT) {
        access->value = 0xff; /* there is nothing to read */
    } else if (access->write) {
        pit_channel_write(&pit->state.channels[port], now, (uint8_t)access->value);
        if (port == TIMER_CHANNEL)
            pit_restart(pit, now);
    } else {
        access->value = pit_channel_read(&pit->state.channels[port], now);
    }
}

static void pit_nmi_sc(struct pit *pit, uint64_t now, struct io_access *access)
{
    struct pit_channel *speaker = &pit->state.channels[SPEAKER_CHANNEL];

    if (access->write) {
        pit->state.nmi_sc = (uint8_t)(access->value & NMI_SC_WRITABLE);
        pit_channel_set_gate(speaker, now, pit->state.nmi_sc & NMI_SC_TIM_CNT2_EN);
        return;
    }
    access->value = pit->state.nmi_sc;
    if (now / REFRESH_TICKS & 1)
        access->value |= NMI_SC_REF_TOGGLE;
    if (pit_channel_out(speaker, now))
        access->value |= NMI_SC_TMR2_OUT_STS;
}

static enum io_result pit_io(struct device *device, unsigned region, struct io_access *access)
{
    struct pit *pit = CONTAINER_OF(device, struct pit, device);
    uint64_t now = pit_now(pit);

    pit_settle(pit, now);
    if (region == REGION_COUNTERS)
        pit_counters(pit, now, access);
    else
        pit_nmi_sc(pit, now, access);
    return IO_DONE;
}

/* The 8254 has no reset input; nothing counts until it is programmed. */
static void pit_reset(struct device *device)
{
    struct pit *pit = CONTAINER_OF(device, struct pit, device);

    pit->epoch_ns = timer_now(pit->timer.queue);
    pit->state = (struct pit_state){0};
    for (unsigned i = 0; i < PIT_CHANNELS; i++) {
        pit->state.channels[i].gate = i != SPEAKER_CHANNEL;
        pit_channel_control(&pit->state.channels[i], PIT_RW_BOTH << PIT_CONTROL_RW_SHIFT);
    }
    pit_restart(pit, PIT_FIRST_TICK);
}

static void pit_quiesce(struct device *device)
{
    struct pit *pit = CONTAINER_OF(device, struct pit, device);
    uint64_t now;

    pit->state.elapsed_ns = pit_elapsed_ns(pit);
    now = pit_tick_at(pit->state.elapsed_ns);
    pit_settle(pit, now);
    for (unsigned i = 0; i < PIT_CHANNELS; i++)
        pit_channel_settle(&pit->state.channels[i], now);
}

static void pit_resume(struct device *device)
{
    struct pit *pit = CONTAINER_OF(device, struct pit, device);

    pit->epoch_ns = timer_now(pit->timer.queue) - pit->state.elapsed_ns;
    irq_set(&pit->irq, pit->state.irq_level);
    pit->next_rise = pit_channel_next_rise(&pit->state.channels[TIMER_CHANNEL], pit_tick_at(pit->state.elapsed_ns));
    pit_arm(pit);
}

static const struct device_type pit_type = {
    .name = "i8254",
    .schema = &pit_schema,
    .state_offset = offsetof(struct pit, state),
    .io = pit_io,
    .reset = pit_reset,
    .quiesce = pit_quiesce,
    .resume = pit_resume,
};

enum status pit_init(struct pit *pit, const struct irq_line *irq, struct timer_queue *timers, struct bus *bus)
{
    static const struct isa_ports ports[] = {
        [REGION_COUNTERS] = {"pit", 0x40, 4},
        [REGION_NMI_SC] = {"nmi-sc", 0x61, 1},
    };

    *pit = (struct pit){.device = {.type = &pit_type, .path = "isa/pit"}, .irq = *irq};
    timer_init(&pit->timer, timers, pit_fire, pit);
    pit_reset(&pit->device);
    return isa_claim(bus, &pit->device, pit->regions, ports, ARRAY_LENGTH(ports));
}
