#include "dev/chipset/uart_isa.h"

#include "base/bits.h"
#include "dev/chipset/isa.h"

static enum io_result uart_isa_io(struct device *device, unsigned region, struct io_access *access)
{
    struct uart_isa *isa = CONTAINER_OF(device, struct uart_isa, device);
    unsigned reg = access->offset % UART_REGISTERS;

    (void)region;
    if (access->write)
        uart16550_write(&isa->uart, reg, (uint8_t)access->value);
    else
        access->value = uart16550_read(&isa->uart, reg);
    return IO_DONE;
}

static void uart_isa_reset(struct device *device)
{
    uart16550_reset(&CONTAINER_OF(device, struct uart_isa, device)->uart);
}

static void uart_isa_resume(struct device *device)
{
    uart16550_resume(&CONTAINER_OF(device, struct uart_isa, device)->uart);
}

static const struct device_type uart_isa_type = {
    .name = "uart16550",
    .schema = &uart16550_schema,
    .state_offset = offsetof(struct uart_isa, uart.state),
    .io = uart_isa_io,
    .reset = uart_isa_reset,
    .resume = uart_isa_resume,
};

enum status uart_isa_init(struct uart_isa *uart, const struct uart_isa_wiring *wiring, struct bus *bus)
{
    const struct isa_ports ports = {wiring->path, wiring->base, UART_REGISTERS};

    *uart = (struct uart_isa){.device = {.type = &uart_isa_type, .path = wiring->path}};
    uart16550_init(&uart->uart, &wiring->irq, wiring->stream, wiring->timers);
    return isa_claim(bus, &uart->device, &uart->region, &ports, 1);
}
