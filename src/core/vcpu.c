#include "core/vcpu.h"

#include <stdatomic.h>

#include "core/machine.h"
#include "core/trace.h"
#include "port/park.h"

/* What sends a halted vCPU back into its engine, which alone knows whether the HLT is over. */
enum { WAKE_FROM_HALT = ATTENTION_INTERRUPT | ATTENTION_NMI | ATTENTION_ENGINE };

/* What the loop serves before the guest may go on. */
enum { LOOP_ATTENTION = ATTENTION_PAUSE | ATTENTION_STOP | ATTENTION_INIT | ATTENTION_SIPI };

static const uint32_t *attention_word(const struct vcpu *vcpu)
{
    return (const uint32_t *)(const void *)&vcpu->attention;
}

/*
 * No wake-up is lost: we say that we sleep and then look at the attention word, they set a bit and
 * then look whether we sleep (all of it sequentially consistent), so one side sees the other; and
 * park() does not begin when the word has changed since our look.
 */
static void sleep_while(struct vcpu *vcpu, uint32_t mask, uint32_t value)
{
    uint32_t attention;

    vcpu->sleeping = 1;
    attention = vcpu->attention;
    if ((attention & mask) == value)
        park(attention_word(vcpu), attention);
    vcpu->sleeping = 0;
}

static void wake(struct vcpu *vcpu)
{
    if (vcpu->sleeping)
        unpark(attention_word(vcpu));
}

void vcpu_attend(struct vcpu *vcpu, uint32_t bits)
{
    atomic_fetch_or(&vcpu->attention, bits);
    vcpu->engine->ops->kick(vcpu);
    wake(vcpu);
}

void vcpu_resume(struct vcpu *vcpu)
{
    atomic_fetch_and(&vcpu->attention, ~(uint32_t)ATTENTION_PAUSE);
    wake(vcpu);
}

void vcpu_get_state(struct vcpu *vcpu, struct cpu_state *state)
{
    vcpu->engine->ops->get_state(vcpu, state);
    if (vcpu->engine->ops->owns_waiting)
        return;
    if (vcpu->activity == CPU_WAIT_FOR_SIPI || vcpu->activity == CPU_SHUTDOWN)
        state->activity = vcpu->activity;
}

enum status vcpu_set_state(struct vcpu *vcpu, const struct cpu_state *state)
{
    enum status status = vcpu->engine->ops->set_state(vcpu, state);

    if (status == STATUS_OK)
        vcpu->activity = vcpu->engine->ops->owns_waiting ? CPU_RUNNING : state->activity;
    return status;
}

static uint32_t signature(const struct vcpu *vcpu)
{
    return cpuid_query(&vcpu->machine->cpuid, 1, 0, vcpu->index, 0, 0).eax;
}

enum status vcpu_reset(struct vcpu *vcpu)
{
    struct cpu_state state;

    cpu_state_reset(&state, signature(vcpu));
    state.activity = vcpu->index == 0 ? CPU_RUNNING : CPU_WAIT_FOR_SIPI;
    vcpu->attention = 0;
    return vcpu_set_state(vcpu, &state);
}

static void crash(struct vcpu *vcpu, enum vcpu_exit exit, enum machine_end end)
{
    vcpu->activity = CPU_SHUTDOWN;
    if (vcpu->machine->crashed)
        vcpu->machine->crashed(vcpu, exit);
    machine_end(vcpu->machine, end, 0);
}

static void replace_state(struct vcpu *vcpu, const struct cpu_state *state)
{
    if (vcpu_set_state(vcpu, state) != STATUS_OK)
        crash(vcpu, VCPU_EXIT_FAILED, MACHINE_FAILED);
}

static void stay_paused(struct vcpu *vcpu)
{
    vcpu->paused = 1;
    while ((vcpu->attention & (ATTENTION_PAUSE | ATTENTION_STOP)) == ATTENTION_PAUSE)
        sleep_while(vcpu, ATTENTION_PAUSE | ATTENTION_STOP, ATTENTION_PAUSE);
    vcpu->paused = 0;
}

/* SDM volume 3, 8.4: the bootstrap processor starts again at the reset vector, the others wait to be told. */
static void take_init(struct vcpu *vcpu)
{
    struct cpu_state state;

    atomic_fetch_and(&vcpu->attention, ~(uint32_t)ATTENTION_INIT);
    trace_power(vcpu->machine, "init", 0);
    vcpu_get_state(vcpu, &state);
    cpu_state_init(&state, signature(vcpu));
    state.activity = vcpu->index == 0 ? CPU_RUNNING : CPU_WAIT_FOR_SIPI;
    replace_state(vcpu, &state);
}

/* Execution begins in real mode at vector * 4096. A processor that does not wait for it ignores it. */
static void take_sipi(struct vcpu *vcpu)
{
    struct cpu_state state;
    uint8_t vector;

    atomic_fetch_and(&vcpu->attention, ~(uint32_t)ATTENTION_SIPI);
    vector = vcpu->sipi_vector;
    if (vcpu->activity != CPU_WAIT_FOR_SIPI)
        return;
    trace_power(vcpu->machine, "sipi", vector);
    vcpu_get_state(vcpu, &state);
    state.segment[SEG_CS].selector = (uint16_t)(vector << 8);
    state.segment[SEG_CS].base = (uint64_t)vector << 12;
    state.rip = 0;
    state.activity = CPU_RUNNING;
    replace_state(vcpu, &state);
}

static const char *exit_name(enum vcpu_exit exit)
{
    static const char *const names[] = {
        [VCPU_EXIT_ATTENTION] = "attention", [VCPU_EXIT_HALT] = "halt",   [VCPU_EXIT_SHUTDOWN] = "shutdown",
        [VCPU_EXIT_FAILED] = "failed",       [VCPU_EXIT_DEBUG] = "debug",
    };

    return names[exit];
}

/* Out of the guest until the debugger resumes it. */
static void stop_for_debugger(struct vcpu *vcpu)
{
    atomic_fetch_or(&vcpu->attention, ATTENTION_PAUSE);
    if (vcpu->machine->debug_stopped)
        vcpu->machine->debug_stopped(vcpu);
}

static void shut_down(struct vcpu *vcpu)
{
    if (!vcpu->machine->debug_shutdown) {
        crash(vcpu, VCPU_EXIT_SHUTDOWN, MACHINE_TRIPLE_FAULT);
        return;
    }
    vcpu->activity = CPU_SHUTDOWN;
    vcpu->debug_event = (struct debug_event){.reason = DEBUG_SHUTDOWN};
    stop_for_debugger(vcpu);
}

/* One stay in the engine. */
static void run(struct vcpu *vcpu)
{
    enum vcpu_exit exit;

    if (vcpu->activity == CPU_HALTED)
        trace_power(vcpu->machine, "wake", 0);
    vcpu->activity = CPU_RUNNING;
    exit = vcpu->engine->ops->run(vcpu);
    trace_leave(vcpu, exit_name(exit));
    switch (exit) {
    case VCPU_EXIT_ATTENTION:
        return;
    case VCPU_EXIT_HALT:
        trace_power(vcpu->machine, "halt", 0);
        vcpu->activity = CPU_HALTED;
        return;
    case VCPU_EXIT_SHUTDOWN:
        shut_down(vcpu);
        return;
    case VCPU_EXIT_FAILED:
        crash(vcpu, VCPU_EXIT_FAILED, MACHINE_FAILED);
        return;
    case VCPU_EXIT_DEBUG:
        stop_for_debugger(vcpu);
        return;
    }
}

void vcpu_loop(struct vcpu *vcpu)
{
    for (uint32_t attention = vcpu->attention; !(attention & ATTENTION_STOP); attention = vcpu->attention) {
        if (attention & ATTENTION_PAUSE)
            stay_paused(vcpu);
        else if (attention & ATTENTION_INIT)
            take_init(vcpu);
        else if (attention & ATTENTION_SIPI)
            take_sipi(vcpu);
        else if (vcpu->activity == CPU_RUNNING || (vcpu->activity == CPU_HALTED && (attention & WAKE_FROM_HALT)))
            run(vcpu);
        else
            sleep_while(vcpu, LOOP_ATTENTION | (vcpu->activity == CPU_HALTED ? WAKE_FROM_HALT : 0), 0);
    }
}
