#include "dev/chipset/debug_ports.h"

#include "base/bits.h"
#include "dev/chipset/isa.h"

enum { DEBUG_CONSOLE_PORT = 0xe9, FIRMWARE_LOG_PORT = 0x402, DEBUG_EXIT_PORT = 0xf4, POST_PORT = 0x80 };

static void no_state_reset(struct device *device)
{
    (void)device;
}

/* --- 0xE9 and 0x402 --- */

static enum io_result debug_console_io(struct device *device, unsigned region, struct io_access *access)
{
    struct debug_console *console = CONTAINER_OF(device, struct debug_console, device);
    uint8_t byte = (uint8_t)access->value;

    (void)region;
    if (!access->write)
        access->value = DEBUG_CONSOLE_PORT;
    else if (console->stream)
        console->stream->write(console->stream, &byte, 1);
    return IO_DONE;
}

static const struct device_type debug_console_type = {
    .name = "debug-console",
    .io = debug_console_io,
    .reset = no_state_reset,
};

enum status debug_console_init(struct debug_console *console, struct stream *stream, struct bus *bus)
{
    static const struct isa_ports ports = {"debug-console", DEBUG_CONSOLE_PORT, 1};

    *console = (struct debug_console){
        .device = {.type = &debug_console_type, .path = "isa/debug-console"},
        .stream = stream,
    };
    return isa_claim(bus, &console->device, &console->region, &ports, 1);
}

enum status firmware_log_init(struct debug_console *console, struct stream *stream, struct bus *bus)
{
    static const struct isa_ports ports = {"firmware-log", FIRMWARE_LOG_PORT, 1};

    *console = (struct debug_console){
        .device = {.type = &debug_console_type, .path = "isa/firmware-log"},
        .stream = stream,
    };
    return isa_claim(bus, &console->device, &console->region, &ports, 1);
}

/* --- 0xF4 --- */

static enum io_result debug_exit_io(struct device *device, unsigned region, struct io_access *access)
{
    struct debug_exit *port = CONTAINER_OF(device, struct debug_exit, device);

    (void)region;
    if (access->write)
        platform_debug_exit(&port->platform, (uint32_t)access->value);
    else
        access->value = 0;
    return IO_DONE;
}

static const struct device_type debug_exit_type = {
    .name = "debug-exit",
    .io = debug_exit_io,
    .reset = no_state_reset,
};

enum status debug_exit_init(struct debug_exit *port, const struct platform *platform, struct bus *bus)
{
    *port = (struct debug_exit){
        .device = {.type = &debug_exit_type, .path = "isa/debug-exit"},
        .platform = *platform,
    };
    port->region = (struct region){
        .name = "debug-exit",
        .space = BUS_PORT,
        .base = DEBUG_EXIT_PORT,
        .size = 4,
        .smallest = 1,
        .largest = 4,
        .enabled = true,
        .device = &port->device,
    };
    return bus_add(bus, &port->region);
}

/* --- 0x80 --- */

static enum io_result post_port_io(struct device *device, unsigned region, struct io_access *access)
{
    (void)device;
    (void)region;
    if (!access->write)
        access->value = 0xff;
    return IO_DONE;
}

static const struct device_type post_port_type = {
    .name = "post",
    .io = post_port_io,
    .reset = no_state_reset,
};

enum status post_port_init(struct post_port *port, struct bus *bus)
{
    static const struct isa_ports ports = {"post", POST_PORT, 1};

    *port = (struct post_port){.device = {.type = &post_port_type, .path = "isa/post"}};
    return isa_claim(bus, &port->device, &port->region, &ports, 1);
}
