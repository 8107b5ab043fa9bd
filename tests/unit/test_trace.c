/* What is told of a machine, and the lines that it becomes. */
#include <stdio.h>
#include <string.h>

#include "unit.h"

#include "core/trace.h"
#include "fake_engine.h"
#include "fake_port.h"
#include "vmm/trace.h"

enum { EVENTS = 16 };

static struct machine machine;
static struct fake_engine fake;
static struct vcpu *vcpu;
static struct trace_event events[EVENTS];
static unsigned count;

static void keep(void *recorder, const struct trace_event *event)
{
    assert_ptr_equal(recorder, events);
    assert_in_range(count, 0, EVENTS - 1);
    events[count] = *event;
    events[count].ns = 1000;
    events[count].tsc = 2000;
    events[count].cpu = -1;
    count++;
}

static enum vcpu_exit halting_guest(struct vcpu *guest)
{
    atomic_fetch_or(&guest->attention, ATTENTION_STOP);
    return VCPU_EXIT_HALT;
}

static void set_up(uint32_t mask)
{
    fake_engine_init(&fake, &machine, halting_guest);
    machine.trace = (struct trace){.mask = mask, .record = keep, .recorder = events};
    vcpu = machine.vcpus[0];
    count = 0;
}

/* The only event that there is since the last call. */
static void says(const char *expected)
{
    char text[RECORDER_LINE], line[RECORDER_LINE + 32];
    size_t size;

    assert_int_equal(count, 1);
    size = trace_text(&events[0], text);
    assert_in_range(size, 1, RECORDER_LINE);
    text[size] = '\0';
    (void)snprintf(line, sizeof(line), "1000 2000 - %s\n", expected);
    assert_string_equal(text, line);
    count = 0;
}

static void nothing_is_told_unless_asked_for(void **state)
{
    const struct exception_record exception = {.vector = 13};
    uint64_t value = 0;

    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        set_up(0);
        if (round == 1)
            machine.trace = (struct trace){0}; /* with nobody to call */
        trace_exit(vcpu, "halt", 0, 0);
        trace_leave(vcpu, "halt");
        trace_vector(vcpu, "nmi", 2, 0);
        trace_exception(vcpu, "fault", &exception);
        trace_msr(vcpu, 0x10, false, 0, false, 0);
        trace_control(vcpu, "cr3", 0, 0);
        trace_power(&machine, "reset", 0);
        trace_line(&machine, "isa", 4, true);
        trace_message(&machine, "msi", 0xfee00000, 0x41);
        trace_accept(vcpu, "fixed", 0x41);
        (void)bus_access(&machine.bus, BUS_PORT, 0x80, 1, true, &value);
        (void)bus_access(&machine.bus, BUS_MEMORY, 0x80, 1, true, &value);
        assert_int_equal(count, 0);
    }
}

static void each_kind_has_its_bit(void **state)
{
    const struct exception_record exception = {.vector = 13};
    uint64_t value = 0;

    (void)state;
    set_up(TRACE_ALL & ~TRACE_MMIO & ~TRACE_IRQ);
    (void)bus_access(&machine.bus, BUS_MEMORY, 0x80, 1, true, &value);
    trace_line(&machine, "isa", 4, true);
    assert_int_equal(count, 0);
    (void)bus_access(&machine.bus, BUS_PORT, 0x80, 1, true, &value);
    trace_exception(vcpu, "fault", &exception);
    assert_int_equal(count, 2);
}

static void engines_tell(void **state)
{
    struct exception_record exception = {.vector = 14, .has_error = true, .error = 2, .rip = 0x1000, .address = 0xabc};

    (void)state;
    set_up(TRACE_ALL);
    trace_exit(vcpu, "mmio", 0xffffffff81000000, 7);
    says("exits exit why=mmio rip=0xffffffff81000000 detail=0x7");
    trace_vector(vcpu, "interrupt", 0xec, 0x1234);
    says("irq deliver what=interrupt vector=0xec rip=0x1234");
    trace_exception(vcpu, "fault", &exception);
    says("exceptions fault vector=14 error=0x2 rip=0x1000 cr2=0xabc");
    exception.vector = 13;
    trace_exception(vcpu, "fault", &exception);
    says("exceptions fault vector=13 error=0x2 rip=0x1000");
    exception.vector = 3;
    exception.has_error = false;
    trace_exception(vcpu, "software", &exception);
    says("exceptions software vector=3 rip=0x1000");
    trace_msr(vcpu, 0xc0000080, true, 0xd01, false, 0x10);
    says("msr write index=0xc0000080 value=0xd01 rip=0x10 result=ok");
    trace_msr(vcpu, 0x1234, false, 0, true, 0x10);
    says("msr read index=0x1234 value=0x0 rip=0x10 result=gp");
    trace_control(vcpu, "cr3", 0x1000, 0x10);
    says("cr write register=cr3 value=0x1000 rip=0x10");
}

static void boards_tell(void **state)
{
    (void)state;
    set_up(TRACE_ALL);
    trace_line(&machine, "isa", 4, true);
    says("irq line wire=isa pin=4 level=1");
    trace_message(&machine, "msi", 0xfee01000, 0x4041);
    says("irq message from=msi address=0xfee01000 data=0x4041");
    trace_accept(machine.vcpus[1], "fixed", 0x41);
    says("irq accept to=1 mode=fixed vector=0x41");
}

static enum io_result answer(struct device *device, unsigned region, struct io_access *access)
{
    (void)device;
    (void)region;
    if (!access->write)
        access->value = 0x5a;
    return IO_DONE;
}

static void accesses_name_who_answers(void **state)
{
    static const struct device_type type = {.name = "test", .io = answer};
    struct device device = {.type = &type, .path = "isa/test"};
    struct region region = {.name = "ports", .space = BUS_PORT, .base = 0x100, .size = 4, .device = &device};
    struct region apart = {
        .name = "window", .space = BUS_MEMORY, .base = 0xfed00000, .size = 0x1000, .device = &device};
    uint64_t value = 0x1ff;

    (void)state;
    set_up(TRACE_ALL);
    region.smallest = apart.smallest = 1;
    region.largest = apart.largest = 4;
    region.enabled = apart.enabled = true;
    assert_int_equal(bus_add(&machine.bus, &region), STATUS_OK);
    assert_int_equal(bus_add(&machine.bus, &apart), STATUS_OK);
    (void)bus_access(&machine.bus, BUS_PORT, 0x102, 1, true, &value);
    says("pio write address=0x102 size=1 value=0xff device=isa/test region=ports");
    (void)bus_access(&machine.bus, BUS_PORT, 0x102, 1, false, &value);
    says("pio read address=0x102 size=1 value=0x5a device=isa/test region=ports");
    (void)bus_access(&machine.bus, BUS_PORT, 0x104, 2, false, &value);
    says("pio read address=0x104 size=2 value=0xffff device=none");
    (void)bus_access(&machine.bus, BUS_MEMORY, 0xfed00010, 4, false, &value);
    says("mmio read address=0xfed00010 size=4 value=0x5a device=isa/test region=window");
}

static void long_names_are_cut(void **state)
{
    struct device device = {.path = "a/path/that/is/much/longer/than/there/is/room/for"};

    (void)state;
    set_up(TRACE_ALL);
    trace_emit_access(&machine.trace, &device, "region", BUS_PORT, 1, 1, true, 2);
    says("pio write address=0x1 size=1 value=0x2 device=a/path/that/is/much/longer/than/there/i");
}

static void the_life_of_a_machine_is_told(void **state)
{
    (void)state;
    set_up(TRACE_POWER);
    vcpu_attend(vcpu, ATTENTION_INIT);
    vcpu_loop(vcpu); /* halts, and is told to stop */
    assert_int_equal(count, 2);
    assert_string_equal(events[0].name, "init");
    assert_string_equal(events[1].name, "halt");
    count = 0;
    vcpu->attention = ATTENTION_INTERRUPT;
    vcpu_loop(vcpu);
    assert_int_equal(count, 2);
    assert_string_equal(events[0].name, "wake");
    count = 0;
    machine.vcpus[1]->sipi_vector = 0x9a;
    vcpu_attend(machine.vcpus[1], ATTENTION_SIPI);
    vcpu_loop(machine.vcpus[1]);
    assert_string_equal(events[0].name, "sipi");
    assert_int_equal(events[0].value, 0x9a);
    count = 0;
    machine_end(&machine, MACHINE_POWER_OFF, 0);
    machine_end(&machine, MACHINE_RESET, 0); /* too late */
    says("power power-off value=0x0");
}

static void kinds_have_names(void **state)
{
    char text[64];

    (void)state;
    assert_string_equal(vmm_trace_kinds()[0], "exits");
    assert_string_equal(vmm_trace_kinds()[TRACE_KINDS], "all");
    assert_null(vmm_trace_kinds()[TRACE_KINDS + 1]);
    trace_kinds_text(TRACE_OF_ENGINE, text, sizeof(text));
    assert_string_equal(text, "exceptions, msr, cr");
    trace_kinds_text(0, text, sizeof(text));
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_told_unless_asked_for),
        cmocka_unit_test(each_kind_has_its_bit),
        cmocka_unit_test(engines_tell),
        cmocka_unit_test(boards_tell),
        cmocka_unit_test(accesses_name_who_answers),
        cmocka_unit_test(long_names_are_cut),
        cmocka_unit_test(the_life_of_a_machine_is_told),
        cmocka_unit_test(kinds_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
