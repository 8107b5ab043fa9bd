#include "board/q35.h"

#include "base/bits.h"
#include "base/memory.h"
#include "board/irqchip.h"
#include "board/q35_firmware.h"
#include "core/trace.h"
#include "port/log.h"

enum { IRQ_TIMER = 0, IRQ_KEYBOARD = 1, IRQ_SERIAL2 = 3, IRQ_SERIAL1 = 4, IRQ_RTC = 8, IRQ_MOUSE = 12 };
enum { SERIAL1_BASE = 0x3f8, SERIAL2_BASE = 0x2f8 };

/* A message that is an NMI for every processor: what the NMI button is where the engine has the local APICs. */
#define NMI_ADDRESS 0xfeeff000ull
enum { NMI_DATA = 4 << 8 };

/* --- the ends of wires --- */

/* The 8259A pair's INTR goes to LINT0 of the processors and to IOAPIC pin 0. */
static void q35_set_intr(void *opaque, unsigned pin, bool level)
{
    struct q35 *q35 = opaque;

    if (q35->apics.intr != level)
        trace_line(q35->machine, "intr", 0, level);
    lapic_bus_set_intr(&q35->apics, pin, level);
    ioapic_set_irq(&q35->ioapic, 0, level);
}

static int q35_acknowledge_pic(void *pic)
{
    return pic_acknowledge(pic);
}

static void q35_power_off(void *machine)
{
    machine_end(machine, MACHINE_POWER_OFF, 0);
}

static void q35_request_reset(void *machine)
{
    machine_end(machine, MACHINE_RESET, 0);
}

static void q35_debug_exit(void *machine, uint32_t value)
{
    machine_end(machine, MACHINE_DEBUG_EXIT, value);
}

static uint64_t q35_engine_tsc(void *opaque, unsigned cpu)
{
    const struct machine *machine = opaque;

    return machine->engine->ops->tsc(machine->vcpus[cpu]);
}

/* --- where interrupts go: to the models, or to the engine's own controllers --- */

static bool q35_engine_interrupts(const struct q35 *q35)
{
    const struct engine *engine = q35->machine->engine;

    return engine && engine->ops->irqchip;
}

static struct msi_sink q35_messages_end(struct q35 *q35)
{
    if (q35_engine_interrupts(q35))
        return irqchip_messages(q35->machine->engine);
    return (struct msi_sink){.send = lapic_bus_send_msi, .router = &q35->apics};
}

static struct irq_line q35_ioapic_end(struct q35 *q35)
{
    if (q35_engine_interrupts(q35))
        return irqchip_ioapic_line(q35->machine->engine);
    return (struct irq_line){.set = ioapic_set_irq, .controller = &q35->ioapic};
}

static struct irq_line q35_pic_line(struct q35 *q35)
{
    if (q35_engine_interrupts(q35))
        return irqchip_pic_line(q35->machine->engine);
    return (struct irq_line){.set = pic_set_irq, .controller = &q35->pic};
}

/* --- what devices drive and send passes here, where it can be traced; wires only when their level changes --- */

static void q35_set_isa(void *opaque, unsigned irq, bool level)
{
    struct q35 *q35 = opaque;

    if (irq < ISA_IRQS && !(q35->isa_wires.devices & BIT(irq)) == level)
        trace_line(q35->machine, "isa", irq, level);
    isa_wires_set_device(&q35->isa_wires, irq, level);
}

static void q35_set_pirq(void *opaque, unsigned pirq, bool level)
{
    struct q35 *q35 = opaque;

    if (pirq < PCI_PIRQS && !(q35->lpc.pirq_levels & BIT(pirq)) == level)
        trace_line(q35->machine, "pirq", pirq, level);
    lpc_set_pirq(&q35->lpc, pirq, level);
}

static void q35_set_sci(void *opaque, unsigned pin, bool level)
{
    struct q35 *q35 = opaque;

    if (!q35->lpc.state.sci == level)
        trace_line(q35->machine, "sci", pin, level);
    lpc_set_sci(&q35->lpc, pin, level);
}

/* By isa_wires and lpc, who tell changes only. */
static void q35_set_ioapic(void *opaque, unsigned pin, bool level)
{
    struct q35 *q35 = opaque;
    struct irq_line end = q35_ioapic_end(q35);

    trace_line(q35->machine, "ioapic", pin, level);
    end.pin = pin;
    irq_set(&end, level);
}

static void q35_send_msi(void *opaque, uint64_t address, uint32_t data)
{
    struct q35 *q35 = opaque;
    const struct msi_sink end = q35_messages_end(q35);

    trace_message(q35->machine, "msi", address, data);
    msi_send(&end, address, data);
}

static void q35_send_ioapic(void *opaque, uint64_t address, uint32_t data)
{
    struct q35 *q35 = opaque;
    const struct msi_sink end = q35_messages_end(q35);

    trace_message(q35->machine, "ioapic", address, data);
    msi_send(&end, address, data);
}

static struct irq_line q35_ioapic_line(struct q35 *q35)
{
    return (struct irq_line){.set = q35_set_ioapic, .controller = q35};
}

static struct irq_line q35_isa_irq(struct q35 *q35, unsigned irq)
{
    return (struct irq_line){.set = q35_set_isa, .controller = q35, .pin = irq};
}

/* --- construction --- */

/* What has been made joins the machine; the first failure is kept. */
struct assembly {
    struct machine *machine;
    enum status status;
};

static void add(struct assembly *assembly, struct device *device, enum status made)
{
    if (made == STATUS_OK)
        machine_add_device(assembly->machine, device);
    else if (assembly->status == STATUS_OK)
        assembly->status = made;
}

static enum status q35_check(const struct machine *machine, const struct q35_config *config)
{
    if (machine->cpu_count == 0 || machine->cpu_count > MACHINE_CPUS) {
        log_error("board %s: %u processors; it can have 1 to %u", Q35_NAME, machine->cpu_count, (unsigned)MACHINE_CPUS);
        return STATUS_INVALID;
    }
    for (unsigned i = 0; i < machine->cpu_count; i++) {
        if (!machine->vcpus[i]) {
            log_error("board %s: processor %u must be made before the board", Q35_NAME, i);
            return STATUS_INVALID;
        }
    }
    if (config->virtio_count > Q35_VIRTIO_SLOTS) {
        log_error("board %s: %u virtio devices; it has slots for %u", Q35_NAME, config->virtio_count,
                  (unsigned)Q35_VIRTIO_SLOTS);
        return STATUS_INVALID;
    }
    if (config->tsc.khz == 0 || (!config->tsc.now && !(machine->engine && machine->engine->ops->tsc))) {
        log_error("board %s: the frequency and a reading of the time stamp counter are needed", Q35_NAME);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

static void q35_make_interrupt_controllers(struct q35 *q35, struct assembly *assembly)
{
    const struct msi_sink messages = {.send = q35_send_ioapic, .router = q35};
    const struct irq_line intr = {.set = q35_set_intr, .controller = q35};
    const struct irq_line pic = q35_pic_line(q35), ioapic = q35_ioapic_line(q35);
    struct machine *machine = q35->machine;

    lapic_bus_init(&q35->apics, machine, &q35->config.tsc);
    q35->apics.pic = (struct lapic_pic){.acknowledge = q35_acknowledge_pic, .pic = &q35->pic};
    q35->apics.eoi_listener = (struct lapic_eoi_listener){.eoi = ioapic_end_of_interrupt, .ioapic = &q35->ioapic};
    lapic_bus_populate(&q35->apics, machine, q35->lapics);
    add(assembly, &q35->ioapic.device, ioapic_init(&q35->ioapic, &messages, &machine->bus));
    add(assembly, &q35->pic.device, pic_init(&q35->pic, &intr, &machine->bus));
    isa_wires_init(&q35->isa_wires, &pic, &ioapic);
}

static void q35_make_pci(struct q35 *q35, struct assembly *assembly)
{
    const struct msi_sink messages = {.send = q35_send_msi, .router = q35};
    const struct irq_line pirq = {.set = q35_set_pirq, .controller = q35};
    const struct pci_host_reset_control reset_control = {
        .read = reset_control_read,
        .write = reset_control_write,
        .context = &q35->reset_control,
    };
    const struct lpc_wiring wiring = {
        .ioapic = q35_ioapic_line(q35),
        .pic = {.set = isa_wires_set_pirq, .controller = &q35->isa_wires},
        .isa = {.set = isa_wires_set_sci, .controller = &q35->isa_wires},
        .place_acpi = pm_place,
        .context = &q35->pm,
    };

    add(assembly, &q35->pci.device, pci_host_init(&q35->pci, &q35->machine->bus, &messages, &pirq, &reset_control));
    add(assembly, &q35->lpc.device, lpc_init(&q35->lpc, &q35->pci.bus, &wiring));
}

static void q35_make_serial(struct q35 *q35, struct assembly *assembly)
{
    struct bus *bus = &q35->machine->bus;
    struct uart_isa_wiring wiring = {
        .path = "isa/uart0",
        .base = SERIAL1_BASE,
        .irq = q35_isa_irq(q35, IRQ_SERIAL1),
        .stream = q35->config.console,
        .timers = &q35->machine->timers,
    };

    add(assembly, &q35->serial[0].device, uart_isa_init(&q35->serial[0], &wiring, bus));
    if (!q35->config.second_serial)
        return;
    wiring.path = "isa/uart1";
    wiring.base = SERIAL2_BASE;
    wiring.irq = q35_isa_irq(q35, IRQ_SERIAL2);
    wiring.stream = q35->config.second_stream;
    add(assembly, &q35->serial[1].device, uart_isa_init(&q35->serial[1], &wiring, bus));
}

static void q35_make_legacy(struct q35 *q35, struct assembly *assembly)
{
    const struct platform platform = {
        .power_off = q35_power_off,
        .reset = q35_request_reset,
        .debug_exit = q35_debug_exit,
        .context = q35->machine,
    };
    const struct irq_line timer = q35_isa_irq(q35, IRQ_TIMER), rtc = q35_isa_irq(q35, IRQ_RTC);
    const struct irq_line keyboard = q35_isa_irq(q35, IRQ_KEYBOARD), mouse = q35_isa_irq(q35, IRQ_MOUSE);
    const struct irq_line sci = {.set = q35_set_sci, .controller = q35};
    struct timer_queue *timers = &q35->machine->timers;
    struct bus *bus = &q35->machine->bus;

    add(assembly, &q35->pit.device, pit_init(&q35->pit, &timer, timers, bus));
    add(assembly, &q35->rtc.device, rtc_init(&q35->rtc, &rtc, timers, bus));
    add(assembly, &q35->pm.device, pm_init(&q35->pm, &sci, &platform, timers, bus));
    add(assembly, &q35->reset_control.device, reset_control_init(&q35->reset_control, &platform, bus));
    add(assembly, &q35->i8042.device, i8042_init(&q35->i8042, &keyboard, &mouse, &platform, bus));
    q35_make_serial(q35, assembly);
    add(assembly, &q35->debug_console.device, debug_console_init(&q35->debug_console, q35->config.debug_console, bus));
    if (q35->config.debug_exit)
        add(assembly, &q35->debug_exit.device, debug_exit_init(&q35->debug_exit, &platform, bus));
    add(assembly, &q35->post_port.device, post_port_init(&q35->post_port, bus));
}

static void q35_make_virtio(struct q35 *q35, struct assembly *assembly)
{
    for (unsigned i = 0; i < q35->config.virtio_count && assembly->status == STATUS_OK; i++) {
        struct virtio *virtio = q35->config.virtio[i];

        if (virtio)
            add(assembly, &virtio->device, virtio_attach(virtio, q35->machine, &q35->pci.bus, Q35_VIRTIO_SLOT + i));
    }
}

static void q35_make_firmware(struct q35 *q35, struct assembly *assembly)
{
    struct guest_memory *memory = &q35->machine->memory;
    struct bus *bus = &q35->machine->bus;

    add(assembly, &q35->fw_cfg.device, fw_cfg_init(&q35->fw_cfg, memory, bus));
    i8042_plug_keyboard(&q35->i8042);
    add(assembly, &q35->firmware_log.device, firmware_log_init(&q35->firmware_log, q35->config.firmware_log, bus));
    if (q35->config.flash)
        add(assembly, &q35->flash.device,
            pflash_init(&q35->flash, memory, q35->config.flash_range, q35->config.flash_store, bus));
}

/* Controllers first, then the bridges that route to them, then who uses them: reset and restore go in this order. */
enum status q35_init(struct q35 *q35, struct machine *machine, const struct q35_config *config)
{
    struct assembly assembly = {.machine = machine, .status = q35_check(machine, config)};

    if (assembly.status != STATUS_OK)
        return assembly.status;
    memset(q35, 0, sizeof(*q35));
    q35->machine = machine;
    q35->config = *config;
    if (!q35->config.tsc.now) {
        q35->config.tsc.now = q35_engine_tsc;
        q35->config.tsc.source = machine;
    }
    q35_make_interrupt_controllers(q35, &assembly);
    q35_make_pci(q35, &assembly);
    q35_make_legacy(q35, &assembly);
    q35_make_virtio(q35, &assembly);
    if (q35_engine_interrupts(q35))
        irqchip_take_over(q35);
    if (config->firmware)
        q35_make_firmware(q35, &assembly);
    q35_describe_memory(q35);
    return assembly.status == STATUS_OK ? q35_reset(q35) : assembly.status;
}

enum status q35_reset(struct q35 *q35)
{
    enum status status;

    lock_acquire(&q35->machine->lock);
    status = machine_reset_devices(q35->machine);
    lock_release(&q35->machine->lock);
    if (status != STATUS_OK)
        return status;
    if (q35->config.firmware)
        return q35_shadow_firmware(q35);
    status = q35_play_firmware(q35);
    if (status == STATUS_OK && q35->pic.device.proxy)
        status = q35->pic.device.proxy->put(&q35->pic.device); /* firmware has set the ELCR in the model */
    return status;
}

bool q35_press_power(struct q35 *q35)
{
    bool heard;

    lock_acquire(&q35->machine->lock);
    heard = pm_power_button(&q35->pm);
    lock_release(&q35->machine->lock);
    return heard;
}

void q35_press_nmi(struct q35 *q35)
{
    lock_acquire(&q35->machine->lock);
    if (q35_engine_interrupts(q35))
        q35->machine->engine->ops->irqchip->send_msi(q35->machine->engine, NMI_ADDRESS, NMI_DATA);
    else
        lapic_bus_pulse_lint1(&q35->apics);
    lock_release(&q35->machine->lock);
}
