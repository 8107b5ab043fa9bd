#include "dev/chipset/rtc.h"

#include "base/bits.h"
#include "dev/chipset/isa.h"
#include "dev/chipset/rtc_time.h"
#include "dev/chipset/ticks.h"

enum rtc_register {
    RTC_SECONDS, RTC_SECONDS_ALARM, RTC_MINUTES, RTC_MINUTES_ALARM, RTC_HOURS, RTC_HOURS_ALARM,
    RTC_DAY_OF_WEEK, RTC_DATE, RTC_MONTH, RTC_YEAR,
    RTC_A, RTC_B, RTC_C, RTC_D, RTC_RAM,
};

enum {
    A_UIP = 1 << 7,
    A_DV = 0x70,
    A_DV_RESET = 0x60, /* 11x holds the divider */
    A_RS = 0x0f,
    A_POWER_ON = 0x26, /* 32.768 kHz, 1024 Hz */

    B_SET = 1 << 7,
    B_PIE = 1 << 6,
    B_AIE = 1 << 5,
    B_UIE = 1 << 4,
    B_SQWE = 1 << 3,
    B_DM = 1 << 2, /* binary */
    B_24_12 = 1 << 1,

    C_IRQF = 1 << 7,
    C_PF = 1 << 6,
    C_AF = 1 << 5,
    C_UF = 1 << 4,
    C_FLAGS = C_PF | C_AF | C_UF,

    D_VRT = 1 << 7,

    HOUR_PM = 1 << 7,
    ALARM_ANY = 0xc0, /* both bits set: don't care */

    DIVIDER_HZ = 32768,
    INDEX_ADDRESS = 0x7f,
};

/* An update takes 1984 us, and UIP announces it 244 us before. The new time shows at its end. */
#define RTC_UPDATE_NS 2228000u

/* Half a second after the divider was released comes the first update. */
#define RTC_FIRST_UPDATE_NS (NS_PER_SECOND / 2)

/* An alarm looks at the wall clock at least this often, so as to notice when the host's was set. */
#define RTC_LONGEST_WAIT_S 60
#define RTC_LONGEST_WAIT_NS (RTC_LONGEST_WAIT_S * NS_PER_SECOND)

/* The bounds of what a saved machine may claim: 292 years; 35,000 years. */
#define RTC_ELAPSED_MAX (UINT64_MAX / 2)
#define RTC_SECONDS_LIMIT (1ll << 40)

static const struct state_field rtc_fields[] = {
    STATE_SCALAR(struct rtc_state, offset_s, 1),
    STATE_SCALAR(struct rtc_state, settled_s, 1),
    STATE_SCALAR(struct rtc_state, settled_ticks, 1),
    STATE_SCALAR(struct rtc_state, elapsed_ns, 1),
    STATE_SCALAR(struct rtc_state, phase_ns, 1),
    STATE_SCALAR(struct rtc_state, index, 1),
    STATE_ARRAY(struct rtc_state, cmos, 1),
};

static bool seconds_valid(uint64_t seconds)
{
    return seconds + RTC_SECONDS_LIMIT <= 2 * RTC_SECONDS_LIMIT;
}

static bool rtc_valid(const void *candidate)
{
    const struct rtc_state *state = candidate;

    return seconds_valid(state->offset_s) && seconds_valid(state->settled_s) && state->phase_ns < NS_PER_SECOND &&
           state->elapsed_ns <= RTC_ELAPSED_MAX && !(state->cmos[RTC_A] & A_UIP) &&
           !(state->cmos[RTC_C] & ~(C_IRQF | C_FLAGS)) && state->cmos[RTC_D] == D_VRT;
}

static const struct state_schema rtc_schema = {
    .name = "mc146818",
    .version = 1,
    .fields = rtc_fields,
    .field_count = ARRAY_LENGTH(rtc_fields),
    .size = sizeof(struct rtc_state),
    .valid = rtc_valid,
};

/* --- the time --- */

/* The guest's clock: seconds since 1970, and nanoseconds into the second. */
struct rtc_moment {
    int64_t second;
    uint64_t ns;
};

static struct rtc_moment rtc_now(const struct rtc *rtc)
{
    struct clock *clock = rtc->timer.queue->clock;
    uint64_t ns = clock->wall_ns(clock) + rtc->state.phase_ns;

    return (struct rtc_moment){
        .second = (int64_t)(ns / NS_PER_SECOND + rtc->state.offset_s),
        .ns = ns % NS_PER_SECOND,
    };
}

static bool rtc_divider_held(const struct rtc *rtc)
{
    return (rtc->state.cmos[RTC_A] & A_DV_RESET) == A_DV_RESET;
}

/* Does the time go on? */
static bool rtc_running(const struct rtc *rtc)
{
    return !(rtc->state.cmos[RTC_B] & B_SET) && !rtc_divider_held(rtc);
}

static uint8_t rtc_encode(const struct rtc *rtc, unsigned value)
{
    return (uint8_t)(rtc->state.cmos[RTC_B] & B_DM ? value : value / 10 << 4 | value % 10);
}

static uint8_t rtc_decode(const struct rtc *rtc, uint8_t value)
{
    return rtc->state.cmos[RTC_B] & B_DM ? value : (uint8_t)((value >> 4) * 10 + (value & 15));
}

static uint8_t rtc_encode_hour(const struct rtc *rtc, unsigned hour)
{
    if (rtc->state.cmos[RTC_B] & B_24_12)
        return rtc_encode(rtc, hour);
    return (uint8_t)(rtc_encode(rtc, (hour + 11) % 12 + 1) | (hour >= 12 ? HOUR_PM : 0));
}

static uint8_t rtc_decode_hour(const struct rtc *rtc, uint8_t value)
{
    if (rtc->state.cmos[RTC_B] & B_24_12)
        return rtc_decode(rtc, value);
    return (uint8_t)(rtc_decode(rtc, value & (uint8_t)~HOUR_PM) % 12 + (value & HOUR_PM ? 12 : 0));
}

static bool register_is_time(unsigned address)
{
    return address == RTC_CENTURY || (address <= RTC_YEAR && address != RTC_SECONDS_ALARM &&
                                      address != RTC_MINUTES_ALARM && address != RTC_HOURS_ALARM);
}

/* The time to its registers. */
static void rtc_show(struct rtc *rtc)
{
    struct rtc_time time = rtc_time_from_seconds(rtc_now(rtc).second);
    uint8_t *cmos = rtc->state.cmos;

    cmos[RTC_SECONDS] = rtc_encode(rtc, time.second);
    cmos[RTC_MINUTES] = rtc_encode(rtc, time.minute);
    cmos[RTC_HOURS] = rtc_encode_hour(rtc, time.hour);
    cmos[RTC_DAY_OF_WEEK] = rtc_encode(rtc, time.weekday);
    cmos[RTC_DATE] = rtc_encode(rtc, time.day);
    cmos[RTC_MONTH] = rtc_encode(rtc, time.month);
    cmos[RTC_YEAR] = rtc_encode(rtc, time.year % 100u);
    cmos[RTC_CENTURY] = rtc_encode(rtc, time.year / 100u);
}

/* The clock goes on from what the registers say. */
static void rtc_set(struct rtc *rtc)
{
    const uint8_t *cmos = rtc->state.cmos;
    uint8_t century = rtc_decode(rtc, cmos[RTC_CENTURY]), year = rtc_decode(rtc, cmos[RTC_YEAR]);
    struct rtc_time time = {
        .year = (uint16_t)((century < 100 ? century : 99) * 100 + (year < 100 ? year : 99)),
        .month = rtc_decode(rtc, cmos[RTC_MONTH]),
        .day = rtc_decode(rtc, cmos[RTC_DATE]),
        .hour = rtc_decode_hour(rtc, cmos[RTC_HOURS]),
        .minute = rtc_decode(rtc, cmos[RTC_MINUTES]),
        .second = rtc_decode(rtc, cmos[RTC_SECONDS]),
    };
    uint64_t seconds = (uint64_t)rtc_time_to_seconds(&time);

    rtc->state.offset_s += seconds - (uint64_t)rtc_now(rtc).second;
    rtc->state.settled_s = seconds;
}

/* --- interrupts --- */

static bool alarm_matches(uint8_t alarm, uint8_t value)
{
    return (alarm & ALARM_ANY) == ALARM_ANY || alarm == value;
}

/* The first second from `from` on at which the alarm goes off, or INT64_MAX. It does so at least daily, or never. */
static int64_t rtc_next_alarm(const struct rtc *rtc, int64_t from)
{
    const uint8_t *cmos = rtc->state.cmos;
    int64_t at = from;

    while (at < from + SECONDS_PER_DAY) {
        unsigned time = (unsigned)((at % SECONDS_PER_DAY + SECONDS_PER_DAY) % SECONDS_PER_DAY);

        if (!alarm_matches(cmos[RTC_HOURS_ALARM], rtc_encode_hour(rtc, time / SECONDS_PER_HOUR)))
            at += SECONDS_PER_HOUR - time % SECONDS_PER_HOUR;
        else if (!alarm_matches(cmos[RTC_MINUTES_ALARM], rtc_encode(rtc, time / SECONDS_PER_MINUTE % 60)))
            at += SECONDS_PER_MINUTE - time % SECONDS_PER_MINUTE;
        else if (!alarm_matches(cmos[RTC_SECONDS_ALARM], rtc_encode(rtc, time % SECONDS_PER_MINUTE)))
            at++;
        else
            return at;
    }
    return INT64_MAX;
}

static uint64_t rtc_elapsed_ns(const struct rtc *rtc)
{
    return timer_now(rtc->timer.queue) - rtc->epoch_ns;
}

/* The period of PF is 2^shift ticks of the divider; 0: no PF. Rates 1 and 2 are those of 8 and 9. */
static unsigned rtc_period_shift(const struct rtc *rtc)
{
    unsigned rate = rtc->state.cmos[RTC_A] & A_RS;

    if (rate == 0 || rtc_divider_held(rtc))
        return 0;
    return rate < 3 ? rate + 6 : rate - 1;
}

static void rtc_settle_period(struct rtc *rtc)
{
    uint64_t ticks = ticks_from_ns(rtc_elapsed_ns(rtc), DIVIDER_HZ);
    unsigned shift = rtc_period_shift(rtc);

    if (shift != 0 && ticks >> shift != rtc->state.settled_ticks >> shift)
        rtc->state.cmos[RTC_C] |= C_PF;
    rtc->state.settled_ticks = ticks;
}

static void rtc_settle_updates(struct rtc *rtc)
{
    int64_t second = rtc_now(rtc).second, settled = (int64_t)rtc->state.settled_s;

    if (!rtc_running(rtc))
        return;
    if (second > settled) {
        rtc->state.cmos[RTC_C] |= C_UF;
        if (rtc_next_alarm(rtc, settled + 1) <= second)
            rtc->state.cmos[RTC_C] |= C_AF;
    }
    rtc->state.settled_s = (uint64_t)second; /* earlier, if the host's clock was set back */
}

/* Sets the flags whose time has come. */
static void rtc_settle(struct rtc *rtc)
{
    rtc_settle_period(rtc);
    rtc_settle_updates(rtc);
}

/* How long until a flag that may interrupt, and is not yet set, will be. */
static uint64_t rtc_wait_ns(const struct rtc *rtc)
{
    unsigned wanted = rtc->state.cmos[RTC_B] & ~(unsigned)rtc->state.cmos[RTC_C], shift = rtc_period_shift(rtc);
    uint64_t elapsed = rtc_elapsed_ns(rtc), wait = TIMER_NEVER;
    struct rtc_moment now = rtc_now(rtc);

    if ((wanted & B_PIE) && shift != 0) {
        uint64_t periods = (ticks_from_ns(elapsed, DIVIDER_HZ) >> shift) + 1;

        wait = ticks_to_ns(periods << shift, DIVIDER_HZ) - elapsed;
    }
    if ((wanted & B_UIE) && rtc_running(rtc) && NS_PER_SECOND - now.ns < wait)
        wait = NS_PER_SECOND - now.ns;
    if ((wanted & B_AIE) && rtc_running(rtc)) {
        int64_t at = rtc_next_alarm(rtc, now.second + 1);
        uint64_t alarm = RTC_LONGEST_WAIT_NS;

        if (at <= now.second + RTC_LONGEST_WAIT_S)
            alarm = (uint64_t)(at - now.second) * NS_PER_SECOND - now.ns;
        if (alarm < wait)
            wait = alarm;
    }
    return wait;
}

/* After anything that touched the flags or their enables: the line, and the timer for the next flag. */
static void rtc_update(struct rtc *rtc)
{
    uint8_t *cmos = rtc->state.cmos;
    bool interrupt = cmos[RTC_B] & cmos[RTC_C] & C_FLAGS;

    cmos[RTC_C] = (uint8_t)((cmos[RTC_C] & C_FLAGS) | (interrupt ? C_IRQF : 0));
    irq_set(&rtc->irq, interrupt);
    timer_arm(&rtc->timer, ticks_add(timer_now(rtc->timer.queue), rtc_wait_ns(rtc)));
}

/* Timer: the host's alarm, machine lock held. */
static void rtc_fire(void *owner)
{
    struct rtc *rtc = owner;

    rtc_settle(rtc);
    rtc_update(rtc);
}

/* --- registers --- */

/* The divider starts from zero: in half a second comes an update. */
static void rtc_release_divider(struct rtc *rtc)
{
    struct clock *clock = rtc->timer.queue->clock;
    uint64_t ns = clock->wall_ns(clock) % NS_PER_SECOND;

    rtc->state.phase_ns = (uint32_t)((RTC_FIRST_UPDATE_NS + NS_PER_SECOND - ns) % NS_PER_SECOND);
    rtc->state.settled_ticks = 0;
    rtc->epoch_ns = timer_now(rtc->timer.queue);
}

/* Registers A and B: what they do to the time is one thing. */
static void rtc_write_control(struct rtc *rtc, unsigned address, uint8_t value)
{
    bool ran = rtc_running(rtc), held = rtc_divider_held(rtc);

    if (ran)
        rtc_show(rtc);
    if (address == RTC_A)
        rtc->state.cmos[RTC_A] = value & (uint8_t)~A_UIP;
    else
        rtc->state.cmos[RTC_B] = value & B_SET ? value & (uint8_t)~B_UIE : value;
    if (held && !rtc_divider_held(rtc))
        rtc_release_divider(rtc);
    if (!ran && rtc_running(rtc))
        rtc_set(rtc);
}

static void rtc_write(struct rtc *rtc, unsigned address, uint8_t value)
{
    bool time = register_is_time(address);

    rtc_settle(rtc);
    if (address == RTC_A || address == RTC_B) {
        rtc_write_control(rtc, address, value);
    } else if (address != RTC_C && address != RTC_D) {
        if (time && rtc_running(rtc))
            rtc_show(rtc);
        rtc->state.cmos[address] = value;
        if (time && rtc_running(rtc))
            rtc_set(rtc);
    }
    if (address < RTC_RAM || time)
        rtc_update(rtc);
}

static bool rtc_updating(const struct rtc *rtc)
{
    return rtc_running(rtc) && rtc_now(rtc).ns >= NS_PER_SECOND - RTC_UPDATE_NS;
}

static uint8_t rtc_read(struct rtc *rtc, unsigned address)
{
    uint8_t value;

    if (register_is_time(address) && rtc_running(rtc))
        rtc_show(rtc);
    if (address == RTC_A)
        return rtc->state.cmos[RTC_A] | (rtc_updating(rtc) ? A_UIP : 0);
    if (address != RTC_C)
        return rtc->state.cmos[address];

    rtc_settle(rtc);
    rtc_update(rtc);
    value = rtc->state.cmos[RTC_C];
    rtc->state.cmos[RTC_C] = 0;
    rtc_update(rtc);
    return value;
}

static enum io_result rtc_io(struct device *device, unsigned region, struct io_access *access)
{
    struct rtc *rtc = CONTAINER_OF(device, struct rtc, device);
    unsigned address = rtc->state.index & INDEX_ADDRESS;

    (void)region;
    if (access->offset == 0 && access->write)
        rtc->state.index = (uint8_t)access->value;
    else if (access->offset == 0)
        access->value = 0xff; /* write only */
    else if (access->write)
        rtc_write(rtc, address, (uint8_t)access->value);
    else
        access->value = rtc_read(rtc, address);
    return IO_DONE;
}

void rtc_set_cmos(struct rtc *rtc, unsigned index, uint8_t value)
{
    if (index >= RTC_RAM && index < RTC_CMOS_SIZE && index != RTC_CENTURY)
        rtc->state.cmos[index] = value;
}

static void rtc_reset(struct device *device)
{
    struct rtc *rtc = CONTAINER_OF(device, struct rtc, device);

    rtc->state.index = 0;
    rtc->state.cmos[RTC_B] &= (uint8_t)~(B_PIE | B_AIE | B_UIE | B_SQWE);
    rtc_settle(rtc);
    rtc->state.cmos[RTC_C] = 0;
    rtc_update(rtc);
}

static void rtc_quiesce(struct device *device)
{
    struct rtc *rtc = CONTAINER_OF(device, struct rtc, device);

    rtc_settle(rtc);
    rtc_update(rtc);
    rtc->state.elapsed_ns = rtc_elapsed_ns(rtc);
}

static void rtc_resume(struct device *device)
{
    struct rtc *rtc = CONTAINER_OF(device, struct rtc, device);

    rtc->epoch_ns = timer_now(rtc->timer.queue) - rtc->state.elapsed_ns;
    rtc_settle(rtc);
    rtc_update(rtc);
}

static const struct device_type rtc_type = {
    .name = "mc146818",
    .schema = &rtc_schema,
    .state_offset = offsetof(struct rtc, state),
    .io = rtc_io,
    .reset = rtc_reset,
    .quiesce = rtc_quiesce,
    .resume = rtc_resume,
};

enum status rtc_init(struct rtc *rtc, const struct irq_line *irq, struct timer_queue *timers, struct bus *bus)
{
    static const struct isa_ports ports = {"rtc", 0x70, 2};

    *rtc = (struct rtc){.device = {.type = &rtc_type, .path = "isa/rtc"}, .irq = *irq};
    timer_init(&rtc->timer, timers, rtc_fire, rtc);
    rtc->epoch_ns = timer_now(timers);
    rtc->state.cmos[RTC_A] = A_POWER_ON;
    rtc->state.cmos[RTC_B] = B_24_12;
    rtc->state.cmos[RTC_D] = D_VRT;
    rtc->state.settled_s = (uint64_t)rtc_now(rtc).second;
    rtc_reset(&rtc->device);
    return isa_claim(bus, &rtc->device, &rtc->region, &ports, 1);
}
