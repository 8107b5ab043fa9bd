#include "fake_engine.h"

#include <string.h>

#include "unit.h"

#include "fake_port.h"

static struct fake_clock clock;
static struct fake_alarm alarm_clock;

static enum vcpu_exit fake_run(struct vcpu *vcpu)
{
    fake_engine_of(vcpu)->runs++;
    return fake_engine_of(vcpu)->guest(vcpu);
}

static void fake_kick(struct vcpu *vcpu)
{
    fake_engine_of(vcpu)->kicks++;
}

static void fake_get_state(struct vcpu *vcpu, struct cpu_state *state)
{
    *state = fake_engine_of(vcpu)->states[vcpu->index];
}

static enum status fake_set_state(struct vcpu *vcpu, const struct cpu_state *state)
{
    if (fake_engine_of(vcpu)->set_answer == STATUS_OK)
        fake_engine_of(vcpu)->states[vcpu->index] = *state;
    return fake_engine_of(vcpu)->set_answer;
}

static enum status fake_set_debug(struct vcpu *vcpu, const struct debug_control *control)
{
    fake_engine_of(vcpu)->controls[vcpu->index] = *control;
    return STATUS_OK;
}

static const struct engine_ops fake_ops = {
    .name = "fake",
    .run = fake_run,
    .kick = fake_kick,
    .get_state = fake_get_state,
    .set_state = fake_set_state,
    .set_debug = fake_set_debug,
};

void fake_engine_init(struct fake_engine *fake, struct machine *machine, enum vcpu_exit (*guest)(struct vcpu *vcpu))
{
    const struct cpuid_request request = {.model = "host", .cpus = FAKE_CPUS, .xcr0_allowed = 7};

    memset(fake, 0, sizeof(*fake));
    fake_clock_init(&clock);
    fake_alarm_init(&alarm_clock);
    machine_init(machine, &clock.clock, &alarm_clock.alarm);
    assert_int_equal(cpuid_build(&machine->cpuid, &request), STATUS_OK);
    fake->engine = (struct engine){.ops = &fake_ops, .machine = machine};
    fake->guest = guest;
    machine->engine = &fake->engine;
    machine->cpu_count = FAKE_CPUS;
    for (unsigned i = 0; i < FAKE_CPUS; i++) {
        fake->vcpus[i].index = i;
        fake->vcpus[i].machine = machine;
        fake->vcpus[i].engine = &fake->engine;
        machine->vcpus[i] = &fake->vcpus[i];
        assert_int_equal(vcpu_reset(&fake->vcpus[i]), STATUS_OK);
    }
}
