#include <pthread.h>
#include <sched.h>

#include "unit.h"

#include "fake_engine.h"
#include "fake_port.h"

static struct machine machine;
static struct fake_engine fake;
static struct vcpu *bsp, *ap;
static atomic_uint debug_stops;
static atomic_uint interrupts;

static void *loop(void *vcpu)
{
    vcpu_loop(vcpu);
    return NULL;
}

static pthread_t start(struct vcpu *vcpu)
{
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, loop, vcpu), 0);
    return thread;
}

static void stop(struct vcpu *vcpu, pthread_t thread)
{
    vcpu_attend(vcpu, ATTENTION_STOP);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

#define WAIT_UNTIL(condition)                                                                                          \
    do {                                                                                                               \
        while (!(condition))                                                                                           \
            (void)sched_yield();                                                                                       \
    } while (0)

/* Takes its interrupts as an engine does, then halts. */
static enum vcpu_exit halting_guest(struct vcpu *vcpu)
{
    if (atomic_fetch_and(&vcpu->attention, ~(uint32_t)ATTENTION_INTERRUPT) & ATTENTION_INTERRUPT)
        interrupts++;
    return VCPU_EXIT_HALT;
}

static enum vcpu_exit busy_guest(struct vcpu *vcpu)
{
    while (vcpu->attention == 0)
        (void)sched_yield();
    return VCPU_EXIT_ATTENTION;
}

static enum vcpu_exit crashing_guest(struct vcpu *vcpu)
{
    (void)vcpu;
    return VCPU_EXIT_SHUTDOWN;
}

static enum vcpu_exit failing_guest(struct vcpu *vcpu)
{
    (void)vcpu;
    return VCPU_EXIT_FAILED;
}

static unsigned crashes;
static enum vcpu_exit crash_exit;

static void note_crash(struct vcpu *vcpu, enum vcpu_exit exit)
{
    assert_ptr_equal(vcpu, bsp);
    assert_int_equal(machine.end, MACHINE_RUNNING);
    crashes++;
    crash_exit = exit;
}

static void setup(enum vcpu_exit (*guest)(struct vcpu *vcpu))
{
    interrupts = 0;
    fake_engine_init(&fake, &machine, guest);
    machine.crashed = note_crash;
    crashes = 0;
    bsp = machine.vcpus[0];
    ap = machine.vcpus[1];
}

static void no_wake_up_is_lost(void **state)
{
    pthread_t thread;

    (void)state;
    setup(halting_guest);
    thread = start(bsp);
    for (unsigned i = 0; i < 5000; i++) {
        vcpu_attend(bsp, ATTENTION_INTERRUPT);
        WAIT_UNTIL(interrupts == i + 1);
    }
    WAIT_UNTIL(bsp->activity == CPU_HALTED);
    stop(bsp, thread);
}

static void a_halted_processor_does_not_spin(void **state)
{
    pthread_t thread;
    unsigned before;

    (void)state;
    setup(halting_guest);
    thread = start(bsp);
    WAIT_UNTIL(bsp->sleeping);
    before = fake.runs;
    for (unsigned i = 0; i < 1000; i++)
        (void)sched_yield();
    assert_int_equal(fake.runs, before);
    stop(bsp, thread);
}

static void a_paused_processor_stays_out_of_the_guest(void **state)
{
    pthread_t thread;
    unsigned before;

    (void)state;
    setup(busy_guest);
    thread = start(bsp);
    WAIT_UNTIL(fake.runs == 1);
    vcpu_attend(bsp, ATTENTION_PAUSE);
    WAIT_UNTIL(bsp->paused);
    before = fake.runs;
    vcpu_attend(bsp, ATTENTION_INTERRUPT);
    for (unsigned i = 0; i < 1000; i++)
        (void)sched_yield();
    assert_int_equal(fake.runs, before);
    assert_true(bsp->paused);
    atomic_fetch_and(&bsp->attention, ~(uint32_t)ATTENTION_INTERRUPT);
    vcpu_resume(bsp);
    WAIT_UNTIL(fake.runs == before + 1 && !bsp->paused);
    vcpu_attend(bsp, ATTENTION_PAUSE);
    WAIT_UNTIL(bsp->paused);
    stop(bsp, thread);
    assert_int_equal(bsp->paused, 0);
}

static void an_application_processor_waits_for_its_start_up(void **state)
{
    pthread_t thread;

    (void)state;
    setup(busy_guest);
    assert_int_equal(ap->activity, CPU_WAIT_FOR_SIPI);
    thread = start(ap);
    vcpu_attend(ap, ATTENTION_INTERRUPT | ATTENTION_NMI);
    WAIT_UNTIL(ap->sleeping);
    assert_int_equal(fake.runs, 0);
    atomic_fetch_and(&ap->attention, ~(uint32_t)(ATTENTION_INTERRUPT | ATTENTION_NMI));
    ap->sipi_vector = 0x9a;
    vcpu_attend(ap, ATTENTION_SIPI);
    WAIT_UNTIL(fake.runs == 1);
    assert_int_equal(fake.states[1].segment[SEG_CS].selector, 0x9a00);
    assert_int_equal(fake.states[1].segment[SEG_CS].base, 0x9a000);
    assert_int_equal(fake.states[1].rip, 0);
    ap->sipi_vector = 0x42;
    vcpu_attend(ap, ATTENTION_SIPI); /* it runs already: ignored */
    WAIT_UNTIL(fake.runs == 2);
    assert_int_equal(fake.states[1].segment[SEG_CS].base, 0x9a000);
    stop(ap, thread);
}

static void init_sends_an_application_processor_back_to_waiting(void **state)
{
    struct cpu_state seen;
    pthread_t thread;

    (void)state;
    setup(busy_guest);
    thread = start(ap);
    vcpu_attend(ap, ATTENTION_SIPI);
    WAIT_UNTIL(fake.runs == 1);
    vcpu_attend(ap, ATTENTION_INIT);
    WAIT_UNTIL(ap->activity == CPU_WAIT_FOR_SIPI);
    stop(ap, thread);
    assert_int_equal(fake.runs, 1);
    vcpu_get_state(ap, &seen);
    assert_int_equal(seen.activity, CPU_WAIT_FOR_SIPI);
    assert_int_equal(seen.segment[SEG_CS].base, 0xffff0000);
}

static void init_restarts_the_bootstrap_processor(void **state)
{
    pthread_t thread;

    (void)state;
    setup(busy_guest);
    fake.states[0].rip = 0x1000;
    thread = start(bsp);
    WAIT_UNTIL(fake.runs == 1);
    vcpu_attend(bsp, ATTENTION_INIT);
    WAIT_UNTIL(fake.runs == 2);
    stop(bsp, thread);
    assert_int_equal(fake.states[0].rip, 0xfff0);
    assert_int_equal(fake.states[0].gpr[GPR_RDX], cpuid_host(1, 0).eax);
}

static void a_triple_fault_ends_the_machine(void **state)
{
    (void)state;
    setup(crashing_guest);
    vcpu_loop(bsp);
    assert_int_equal(machine.end, MACHINE_TRIPLE_FAULT);
    assert_int_equal(crashes, 1);
    assert_int_equal(crash_exit, VCPU_EXIT_SHUTDOWN);
    assert_int_equal(bsp->activity, CPU_SHUTDOWN);
    assert_true(ap->attention & ATTENTION_STOP);
}

static void count_stop(struct vcpu *vcpu)
{
    assert_ptr_equal(vcpu, bsp);
    assert_true(vcpu->attention & ATTENTION_PAUSE);
    debug_stops++;
}

static void a_debugger_sees_a_triple_fault_first(void **state)
{
    (void)state;
    setup(crashing_guest);
    debug_stops = 0;
    machine.debug_shutdown = true;
    machine.debug_stopped = count_stop;
    pthread_t thread = start(bsp);
    WAIT_UNTIL(bsp->paused);
    assert_int_equal(debug_stops, 1);
    assert_int_equal(bsp->debug_event.reason, DEBUG_SHUTDOWN);
    assert_int_equal(machine.end, MACHINE_RUNNING);
    stop(bsp, thread);
    assert_int_equal(bsp->activity, CPU_SHUTDOWN);
}

static enum vcpu_exit stepping_guest(struct vcpu *vcpu)
{
    vcpu->debug_event.reason = DEBUG_STEPPED;
    return VCPU_EXIT_DEBUG;
}

static void a_stop_for_the_debugger_pauses(void **state)
{
    (void)state;
    setup(stepping_guest);
    debug_stops = 0;
    machine.debug_stopped = count_stop;
    pthread_t thread = start(bsp);
    for (unsigned round = 1; round <= 3; round++) {
        WAIT_UNTIL(bsp->paused && debug_stops == round);
        assert_int_equal(fake.runs, round);
        vcpu_resume(bsp);
    }
    stop(bsp, thread);
}

static void an_engine_that_gives_up_ends_the_machine(void **state)
{
    (void)state;
    setup(failing_guest);
    vcpu_loop(bsp);
    assert_int_equal(machine.end, MACHINE_FAILED);
    assert_int_equal(crashes, 1);
    assert_int_equal(crash_exit, VCPU_EXIT_FAILED);

    setup(busy_guest);
    fake.set_answer = STATUS_INVALID;
    vcpu_attend(bsp, ATTENTION_INIT);
    vcpu_loop(bsp);
    assert_int_equal(machine.end, MACHINE_FAILED);
    assert_int_equal(crashes, 1);
    assert_int_equal(crash_exit, VCPU_EXIT_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_wake_up_is_lost),
        cmocka_unit_test(a_halted_processor_does_not_spin),
        cmocka_unit_test(a_paused_processor_stays_out_of_the_guest),
        cmocka_unit_test(an_application_processor_waits_for_its_start_up),
        cmocka_unit_test(init_sends_an_application_processor_back_to_waiting),
        cmocka_unit_test(init_restarts_the_bootstrap_processor),
        cmocka_unit_test(a_triple_fault_ends_the_machine),
        cmocka_unit_test(a_debugger_sees_a_triple_fault_first),
        cmocka_unit_test(a_stop_for_the_debugger_pauses),
        cmocka_unit_test(an_engine_that_gives_up_ends_the_machine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
