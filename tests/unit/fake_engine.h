/* An engine whose guest is a function of the test. */
#ifndef LODGE_TESTS_UNIT_FAKE_ENGINE_H
#define LODGE_TESTS_UNIT_FAKE_ENGINE_H

#include <stdatomic.h>

#include "core/engine.h"
#include "core/machine.h"

enum { FAKE_CPUS = 2 };

struct fake_engine {
    struct engine engine; /* first */
    struct vcpu vcpus[FAKE_CPUS];
    struct cpu_state states[FAKE_CPUS];
    struct debug_control controls[FAKE_CPUS];
    enum vcpu_exit (*guest)(struct vcpu *vcpu); /* what run() does */
    enum status set_answer;
    atomic_uint runs, kicks;
};

/* Makes a machine of FAKE_CPUS processors with a CPUID table, all of them reset. */
void fake_engine_init(struct fake_engine *fake, struct machine *machine, enum vcpu_exit (*guest)(struct vcpu *vcpu));

static inline struct fake_engine *fake_engine_of(struct vcpu *vcpu)
{
    return (struct fake_engine *)vcpu->engine;
}

#endif
