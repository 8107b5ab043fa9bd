/*
 * The timer of the local APIC (SDM volume 3, 10.5.4): one-shot, periodic and TSC-deadline.
 *
 * The count runs down once per `divide` ticks of 1 ns (a 1 GHz bus clock). It is never stored: it
 * follows from timer_expiry_ns, the moment it reaches zero. A guest may ask for a period of a few
 * nanoseconds; the count then still runs at that pace, but the host is woken, and the interrupt
 * raised, no more often than LAPIC_TIMER_SHORTEST_NS, as a single IRR bit would merge them anyway.
 */
#include "dev/chipset/lapic_internal.h"

enum { LAPIC_TIMER_SHORTEST_NS = 20 * 1000 };

#define NS_PER_MILLISECOND 1000000ull

static uint32_t lapic_timer_mode(const struct lapic *lapic)
{
    return lapic->state.lvt[LAPIC_LVT_TIMER] & LVT_TIMER_MODE;
}

/* Bits 3, 1 and 0 choose 2, 4, ... 128, and 1. */
static uint64_t lapic_timer_divide(const struct lapic *lapic)
{
    uint32_t divide = lapic->state.timer_divide;
    uint32_t code = (divide & 3) | (divide & 8) >> 1;

    return 1ull << ((code + 1) & 7);
}

static uint64_t lapic_timer_period_ns(const struct lapic *lapic)
{
    return lapic->state.timer_initial * lapic_timer_divide(lapic);
}

static uint64_t lapic_timer_now(const struct lapic *lapic)
{
    return timer_now(lapic->bus->timers);
}

/* To the next time the count reaches zero; 0 when a one-shot is due, but its alarm has not come yet. */
static uint64_t lapic_timer_left_ns(const struct lapic *lapic)
{
    uint64_t now = lapic_timer_now(lapic), period = lapic_timer_period_ns(lapic);

    if (lapic->timer_expiry_ns > now)
        return lapic->timer_expiry_ns - now;
    if (lapic_timer_mode(lapic) != LVT_TIMER_PERIODIC || period == 0)
        return 0;
    return period - (now - lapic->timer_expiry_ns) % period;
}

uint32_t lapic_timer_current(const struct lapic *lapic)
{
    uint64_t divide = lapic_timer_divide(lapic);

    if (!lapic->state.timer_running)
        return 0;
    return (uint32_t)((lapic_timer_left_ns(lapic) + divide - 1) / divide);
}

void lapic_timer_stop(struct lapic *lapic)
{
    timer_cancel(&lapic->timer);
    lapic->state.timer_running = 0;
    lapic->state.tsc_deadline = 0;
}

static void lapic_timer_start(struct lapic *lapic, uint64_t left_ns)
{
    lapic->state.timer_running = 1;
    lapic->timer_expiry_ns = lapic_timer_now(lapic) + left_ns;
    timer_arm(&lapic->timer, lapic->timer_expiry_ns);
}

/* Nanoseconds until the guest's counter has gone `ticks` further, rounded up; saturates. */
static uint64_t lapic_ticks_to_ns(const struct guest_tsc *tsc, uint64_t ticks)
{
    uint64_t milliseconds = ticks / tsc->khz;

    if (milliseconds >= UINT64_MAX / NS_PER_MILLISECOND / 2)
        return UINT64_MAX / 2;
    return milliseconds * NS_PER_MILLISECOND + (ticks % tsc->khz * NS_PER_MILLISECOND + tsc->khz - 1) / tsc->khz;
}

/* Fires at once, or arms the alarm for the deadline. The host's clock and the TSC need not agree perfectly. */
static void lapic_timer_judge_deadline(struct lapic *lapic)
{
    const struct guest_tsc *tsc = &lapic->bus->tsc;
    uint64_t deadline = lapic->state.tsc_deadline, now;

    if (deadline == 0)
        return;
    now = tsc->now(tsc->source, lapic_identifier(lapic));
    if (now >= deadline) {
        lapic_timer_stop(lapic);
        lapic_accept_local(lapic, LAPIC_LVT_TIMER);
        return;
    }
    timer_arm(&lapic->timer, lapic_timer_now(lapic) + lapic_ticks_to_ns(tsc, deadline - now));
}

static void lapic_timer_fire_periodic(struct lapic *lapic)
{
    uint64_t now = lapic_timer_now(lapic), left = lapic_timer_left_ns(lapic);

    lapic->timer_expiry_ns = now + left;
    timer_arm(&lapic->timer, now + (left > LAPIC_TIMER_SHORTEST_NS ? left : LAPIC_TIMER_SHORTEST_NS));
    lapic_accept_local(lapic, LAPIC_LVT_TIMER);
}

/* The timer queue's callback: the host's alarm thread, machine lock held. */
static void lapic_timer_fire(void *owner)
{
    struct lapic *lapic = owner;

    if (lapic_timer_mode(lapic) == LVT_TIMER_TSC_DEADLINE) {
        lapic_timer_judge_deadline(lapic);
    } else if (lapic_timer_mode(lapic) == LVT_TIMER_PERIODIC) {
        lapic_timer_fire_periodic(lapic);
    } else {
        lapic->state.timer_running = 0;
        lapic_accept_local(lapic, LAPIC_LVT_TIMER);
    }
}

void lapic_timer_init(struct lapic *lapic)
{
    timer_init(&lapic->timer, lapic->bus->timers, lapic_timer_fire, lapic);
}

/* A change to or from TSC-deadline mode disarms; one between the others lets the count run on. */
void lapic_timer_set_lvt(struct lapic *lapic, uint32_t value)
{
    bool was_deadline = lapic_timer_mode(lapic) == LVT_TIMER_TSC_DEADLINE;

    lapic->state.lvt[LAPIC_LVT_TIMER] = value;
    if (was_deadline != (lapic_timer_mode(lapic) == LVT_TIMER_TSC_DEADLINE))
        lapic_timer_stop(lapic);
}

void lapic_timer_set_initial(struct lapic *lapic, uint32_t value)
{
    if (lapic_timer_mode(lapic) == LVT_TIMER_TSC_DEADLINE)
        return;
    lapic_timer_stop(lapic);
    lapic->state.timer_initial = value;
    if (value != 0)
        lapic_timer_start(lapic, lapic_timer_period_ns(lapic));
}

/* The count goes on from where it is, at the new pace. */
void lapic_timer_set_divide(struct lapic *lapic, uint32_t value)
{
    uint64_t count = lapic_timer_current(lapic);

    lapic->state.timer_divide = value & LAPIC_TIMER_DIVIDE_WRITABLE;
    if (lapic->state.timer_running)
        lapic_timer_start(lapic, count * lapic_timer_divide(lapic));
}

/* IA32_TSC_DEADLINE: 0 disarms, the past fires at once, and outside its mode it is ignored (SDM 10.5.4.1). */
void lapic_timer_set_deadline(struct lapic *lapic, uint64_t tsc)
{
    if (lapic_timer_mode(lapic) != LVT_TIMER_TSC_DEADLINE)
        return;
    timer_cancel(&lapic->timer);
    lapic->state.tsc_deadline = tsc;
    lapic_timer_judge_deadline(lapic);
}

void lapic_timer_tsc_changed(struct lapic *lapic)
{
    if (lapic->state.tsc_deadline == 0)
        return;
    timer_cancel(&lapic->timer);
    lapic_timer_judge_deadline(lapic);
}

void lapic_timer_quiesce(struct lapic *lapic)
{
    lapic->state.timer_left_ns = lapic->state.timer_running ? lapic_timer_left_ns(lapic) : 0;
}

void lapic_timer_resume(struct lapic *lapic)
{
    timer_cancel(&lapic->timer);
    if (lapic->state.timer_running)
        lapic_timer_start(lapic, lapic->state.timer_left_ns);
    lapic_timer_judge_deadline(lapic);
}
