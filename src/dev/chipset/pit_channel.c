#include "dev/chipset/pit_channel.h"

#include "base/bits.h"

enum { STATUS_OUT = 1 << 7, STATUS_NULL_COUNT = 1 << 6, BINARY_COUNTS = 0x10000, BCD_COUNTS = 10000 };

/* As the data sheet names them. */
enum pit_mode {
    INTERRUPT_ON_TERMINAL_COUNT,
    HARDWARE_RETRIGGERABLE_ONE_SHOT,
    RATE_GENERATOR,
    SQUARE_WAVE,
    SOFTWARE_TRIGGERED_STROBE,
    HARDWARE_TRIGGERED_STROBE,
};

/* M2 is not looked at in modes 2 and 3. */
static enum pit_mode channel_mode(const struct pit_channel *channel)
{
    unsigned mode = (channel->control >> PIT_CONTROL_M_SHIFT) & 7;

    return mode > HARDWARE_TRIGGERED_STROBE ? mode & 3 : mode;
}

static unsigned channel_rw(const struct pit_channel *channel)
{
    return channel->control >> PIT_CONTROL_RW_SHIFT;
}

static bool mode_is_periodic(enum pit_mode mode)
{
    return mode == RATE_GENERATOR || mode == SQUARE_WAVE;
}

/* Does a low GATE stop the counting? In the other two modes only its rise does something. */
static bool mode_is_gated(enum pit_mode mode)
{
    return mode != HARDWARE_RETRIGGERABLE_ONE_SHOT && mode != HARDWARE_TRIGGERED_STROBE;
}

/* What CR stands for. Zero is the largest count; 1 is not allowed in the periodic modes and counts as 2. */
static uint32_t channel_new_period(const struct pit_channel *channel)
{
    uint32_t count = channel->count, period = count;
    uint32_t shortest = mode_is_periodic(channel_mode(channel)) ? 2 : 1;

    if (channel->control & PIT_CONTROL_BCD)
        period = (count >> 12) * 1000 + (count >> 8 & 15) * 100 + (count >> 4 & 15) * 10 + (count & 15);
    if (period == 0)
        return channel->control & PIT_CONTROL_BCD ? BCD_COUNTS : BINARY_COUNTS;
    return period < shortest ? shortest : period;
}

/* The ticks of a square wave's high half. */
static uint32_t high_half(uint32_t period)
{
    return (period + 1) / 2;
}

/* Is the load due in the middle of a square wave's period? */
static bool channel_loads_low_half(const struct pit_channel *channel)
{
    return channel_mode(channel) == SQUARE_WAVE && channel->activity == PIT_COUNTING &&
           (channel->load_at - channel->start) % channel->period == high_half(channel->period);
}

void pit_channel_settle(struct pit_channel *channel, uint64_t now)
{
    uint32_t period = channel_new_period(channel);

    if (now < channel->load_at || channel->load_at == PIT_NEVER)
        return;
    channel->start = channel->load_at - (channel_loads_low_half(channel) ? high_half(period) : 0);
    channel->load_at = PIT_NEVER;
    channel->period = period;
    channel->null_count = 0;
    channel->held = 0;
    channel->activity = mode_is_gated(channel_mode(channel)) && !channel->gate ? PIT_STOPPED : PIT_COUNTING;
}

static uint64_t channel_elapsed(const struct pit_channel *channel, uint64_t now)
{
    return channel->activity == PIT_COUNTING ? now - channel->start : channel->held;
}

void pit_channel_control(struct pit_channel *channel, uint8_t control)
{
    *channel = (struct pit_channel){
        .control = control & PIT_CONTROL,
        .activity = PIT_IDLE,
        .load_at = PIT_NEVER,
        .period = PIT_LONGEST,
        .null_count = 1,
        .gate = channel->gate,
    };
}

/* The end of the current cycle, or of the current half of a square wave: when a new count is taken over. */
static uint64_t channel_cycle_end(const struct pit_channel *channel, uint64_t now)
{
    uint64_t done = (now - channel->start) % channel->period;
    uint32_t high = high_half(channel->period);

    if (channel_mode(channel) == SQUARE_WAVE && done < high)
        return now - done + high;
    return now - done + channel->period;
}

static void channel_write_count(struct pit_channel *channel, uint64_t now, uint16_t count)
{
    enum pit_mode mode = channel_mode(channel);

    channel->count = count;
    channel->written = 1;
    channel->null_count = 1;
    if (mode == INTERRUPT_ON_TERMINAL_COUNT)
        channel->activity = PIT_IDLE;
    if (!mode_is_gated(mode))
        return; /* waits for a trigger */
    if (channel->activity == PIT_IDLE) { /* it shows the count at once: a fast guest reads before the next tick */
        channel->period = channel_new_period(channel);
        channel->held = 0;
    }
    if (!mode_is_periodic(mode) || channel->activity == PIT_IDLE)
        channel->load_at = now + 1;
    else if (channel->activity == PIT_COUNTING)
        channel->load_at = channel_cycle_end(channel, now);
}

void pit_channel_write(struct pit_channel *channel, uint64_t now, uint8_t value)
{
    pit_channel_settle(channel, now);
    switch (channel_rw(channel)) {
    case PIT_RW_LSB:
        channel_write_count(channel, now, value);
        return;
    case PIT_RW_MSB:
        channel_write_count(channel, now, (uint16_t)(value << 8));
        return;
    default:
        channel->write_msb = !channel->write_msb;
        if (!channel->write_msb) {
            channel_write_count(channel, now, (uint16_t)(value << 8 | channel->write_lsb));
            return;
        }
        channel->write_lsb = value;
    }
    /* The first of two bytes stops mode 0. */
    if (channel_mode(channel) == INTERRUPT_ON_TERMINAL_COUNT) {
        channel->activity = PIT_IDLE;
        channel->load_at = PIT_NEVER;
        channel->held = 0;
    }
}

static uint16_t to_bcd(uint64_t value)
{
    return (uint16_t)(value / 1000 << 12 | value / 100 % 10 << 8 | value / 10 % 10 << 4 | value % 10);
}

/* What CE shows. A square wave goes down by two, twice per period. */
static uint16_t channel_count(struct pit_channel *channel, uint64_t now)
{
    bool bcd = channel->control & PIT_CONTROL_BCD;
    uint64_t elapsed = channel_elapsed(channel, now), counts = bcd ? BCD_COUNTS : BINARY_COUNTS, count;
    uint32_t period = channel->period, high = high_half(period);

    switch (channel_mode(channel)) {
    case RATE_GENERATOR:
        count = period - elapsed % period;
        break;
    case SQUARE_WAVE:
        elapsed %= period;
        count = (period & ~1u) - 2 * (elapsed < high ? elapsed : elapsed - high);
        break;
    default:
        count = period + counts - elapsed % counts;
    }
    count %= counts;
    return bcd ? to_bcd(count) : (uint16_t)count;
}

uint8_t pit_channel_read(struct pit_channel *channel, uint64_t now)
{
    uint16_t count;
    bool msb;

    pit_channel_settle(channel, now);
    if (channel->status_latched) {
        channel->status_latched = 0;
        return channel->status;
    }
    if (channel->latched) {
        msb = channel_rw(channel) == PIT_RW_MSB || (channel_rw(channel) == PIT_RW_BOTH && channel->latched == 1);
        count = channel->latch;
        channel->latched--;
    } else {
        msb = channel_rw(channel) == PIT_RW_MSB || (channel_rw(channel) == PIT_RW_BOTH && channel->read_msb);
        count = channel_count(channel, now);
        channel->read_msb = channel_rw(channel) == PIT_RW_BOTH && !msb;
    }
    return (uint8_t)(msb ? count >> 8 : count);
}

void pit_channel_latch_count(struct pit_channel *channel, uint64_t now)
{
    pit_channel_settle(channel, now);
    if (channel->latched)
        return;
    channel->latch = channel_count(channel, now);
    channel->latched = channel_rw(channel) == PIT_RW_BOTH ? 2 : 1;
}

void pit_channel_latch_status(struct pit_channel *channel, uint64_t now)
{
    unsigned status = channel->control;

    if (channel->status_latched)
        return;
    if (pit_channel_out(channel, now))
        status |= STATUS_OUT;
    if (channel->null_count)
        status |= STATUS_NULL_COUNT;
    channel->status = (uint8_t)status;
    channel->status_latched = 1;
}

static void channel_gate_falls(struct pit_channel *channel, uint64_t now)
{
    if (!mode_is_gated(channel_mode(channel)) || channel->activity != PIT_COUNTING)
        return;
    channel->held = now - channel->start;
    channel->activity = PIT_STOPPED;
    if (mode_is_periodic(channel_mode(channel)))
        channel->load_at = PIT_NEVER; /* the rise will load */
}

static void channel_gate_rises(struct pit_channel *channel, uint64_t now)
{
    enum pit_mode mode = channel_mode(channel);

    if (!mode_is_gated(mode) || mode_is_periodic(mode)) {
        if (channel->written)
            channel->load_at = now + 1; /* a trigger */
    } else if (channel->activity == PIT_STOPPED) {
        channel->start = now - channel->held;
        channel->held = 0;
        channel->activity = PIT_COUNTING;
    }
}

void pit_channel_set_gate(struct pit_channel *channel, uint64_t now, bool gate)
{
    pit_channel_settle(channel, now);
    if (gate == channel->gate)
        return;
    channel->gate = gate;
    if (gate)
        channel_gate_rises(channel, now);
    else
        channel_gate_falls(channel, now);
}

bool pit_channel_out(struct pit_channel *channel, uint64_t now)
{
    uint64_t elapsed;

    pit_channel_settle(channel, now);
    elapsed = channel_elapsed(channel, now);
    if (channel->activity == PIT_IDLE)
        return channel_mode(channel) != INTERRUPT_ON_TERMINAL_COUNT;
    switch (channel_mode(channel)) {
    case INTERRUPT_ON_TERMINAL_COUNT:
    case HARDWARE_RETRIGGERABLE_ONE_SHOT:
        return elapsed >= channel->period;
    case RATE_GENERATOR:
        return channel->activity == PIT_STOPPED || elapsed % channel->period != channel->period - 1;
    case SQUARE_WAVE:
        return channel->activity == PIT_STOPPED || elapsed % channel->period < high_half(channel->period);
    default: /* the strobes: low for one tick */
        return elapsed != channel->period;
    }
}

static bool mode_is_strobe(enum pit_mode mode)
{
    return mode == SOFTWARE_TRIGGERED_STROBE || mode == HARDWARE_TRIGGERED_STROBE;
}

/* Of the rises that a counter loaded with `period` at `start` will make, the first after `now`. */
static uint64_t rise_after(enum pit_mode mode, uint64_t start, uint32_t period, uint64_t now)
{
    uint64_t rise = start + period;

    if (mode_is_periodic(mode))
        return now < start ? rise : start + ((now - start) / period + 1) * period;
    if (mode_is_strobe(mode))
        rise++;
    return rise > now ? rise : PIT_NEVER;
}

uint64_t pit_channel_next_rise(struct pit_channel *channel, uint64_t now)
{
    enum pit_mode mode = channel_mode(channel);
    uint32_t next = channel_new_period(channel);

    pit_channel_settle(channel, now);
    if (channel->load_at == PIT_NEVER)
        return channel->activity == PIT_COUNTING ? rise_after(mode, channel->start, channel->period, now) : PIT_NEVER;
    if (mode_is_strobe(mode) && !pit_channel_out(channel, now))
        return now + 1; /* the new count ends the strobe of the old one */
    if (mode_is_gated(mode) && !channel->gate)
        return PIT_NEVER;
    if (mode_is_periodic(mode) && channel->activity == PIT_COUNTING)
        return channel_loads_low_half(channel) ? channel->load_at + next - high_half(next) : channel->load_at;
    return rise_after(mode, channel->load_at, next, now);
}

static bool channel_flags_valid(const struct pit_channel *channel)
{
    return channel->gate <= 1 && channel->written <= 1 && channel->null_count <= 1 && channel->write_msb <= 1 &&
           channel->read_msb <= 1 && channel->status_latched <= 1 && channel->latched <= 2;
}

bool pit_channel_valid(const struct pit_channel *channel, uint64_t now)
{
    bool load_near = channel->load_at == PIT_NEVER ||
                     (channel->load_at >= PIT_FIRST_TICK && channel->load_at <= now + PIT_LONGEST);

    return channel_flags_valid(channel) && channel->activity <= PIT_STOPPED && channel->control <= PIT_CONTROL &&
           channel_rw(channel) != PIT_RW_LATCH && channel->period >= 1 && channel->period <= PIT_LONGEST &&
           channel->start <= now && channel->held <= now - PIT_FIRST_TICK + PIT_LONGEST && load_near;
}
