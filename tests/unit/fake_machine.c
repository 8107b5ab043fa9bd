#include "fake_machine.h"

#include <string.h>

#include "base/bits.h"

static uint64_t fake_monotonic_ns(struct clock *clock)
{
    return CONTAINER_OF(clock, struct fake_machine, clock)->now_ns;
}

static uint64_t fake_wall_ns(struct clock *clock)
{
    return CONTAINER_OF(clock, struct fake_machine, clock)->wall_ns;
}

static void fake_alarm_set(struct alarm *alarm, uint64_t deadline_ns)
{
    CONTAINER_OF(alarm, struct fake_machine, alarm)->alarm_ns = deadline_ns;
}

static void fake_kick(struct vcpu *vcpu)
{
    (void)vcpu;
}

static const struct engine_ops fake_engine_ops = {.name = "fake", .kick = fake_kick};

void fake_machine_init(struct fake_machine *fake, unsigned cpus)
{
    memset(fake, 0, sizeof(*fake));
    fake->clock = (struct clock){.monotonic_ns = fake_monotonic_ns, .wall_ns = fake_wall_ns};
    fake->alarm = (struct alarm){.set = fake_alarm_set};
    fake->now_ns = 1000;
    fake->wall_ns = 1700000000 * NS_PER_SECOND;
    fake->alarm_ns = TIMER_NEVER;
    machine_init(&fake->machine, &fake->clock, &fake->alarm);
    fake->engine = (struct engine){.ops = &fake_engine_ops, .machine = &fake->machine};
    fake->machine.engine = &fake->engine;
    fake->machine.cpu_count = cpus;
    for (unsigned i = 0; i < cpus; i++) {
        fake->vcpus[i] = (struct vcpu){.index = i, .machine = &fake->machine, .engine = &fake->engine};
        fake->machine.vcpus[i] = &fake->vcpus[i];
    }
}

void fake_machine_advance(struct fake_machine *fake, uint64_t ns)
{
    uint64_t end = fake->now_ns + ns;

    while (fake->alarm_ns <= end) {
        fake->wall_ns += fake->alarm_ns > fake->now_ns ? fake->alarm_ns - fake->now_ns : 0;
        fake->now_ns = fake->alarm_ns > fake->now_ns ? fake->alarm_ns : fake->now_ns;
        lock_acquire(&fake->machine.lock);
        timer_queue_run(&fake->machine.timers);
        lock_release(&fake->machine.lock);
    }
    fake->wall_ns += end - fake->now_ns;
    fake->now_ns = end;
}

uint32_t fake_machine_attention(struct fake_machine *fake, unsigned cpu)
{
    uint32_t attention = fake->vcpus[cpu].attention;

    fake->vcpus[cpu].attention = 0;
    return attention;
}

uint64_t fake_machine_tsc(void *opaque, unsigned cpu)
{
    struct fake_machine *fake = opaque;

    (void)cpu;
    return fake->now_ns * (FAKE_TSC_KHZ / 1000) / 1000 + (uint64_t)fake->tsc_offset;
}

/* xorshift64*. */
uint64_t fake_random(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return *seed * 0x2545f4914f6cdd1dull;
}
