#include "dev/chipset/reset_control.h"

#include "base/bits.h"
#include "dev/chipset/isa.h"

enum {
    RST_CNT_SYS_RST = 1 << 1, /* hard instead of soft */
    RST_CNT_RST_CPU = 1 << 2, /* its rise resets */
    RST_CNT_FULL_RST = 1 << 3,
    RST_CNT_BITS = RST_CNT_SYS_RST | RST_CNT_RST_CPU | RST_CNT_FULL_RST,

    PORT92_INIT_NOW = 1 << 0, /* its rise resets */
    PORT92_ALT_A20_GATE = 1 << 1,
    PORT92_BITS = PORT92_INIT_NOW | PORT92_ALT_A20_GATE,
};

static const struct state_field reset_control_fields[] = {
    STATE_SCALAR(struct reset_control_state, rst_cnt, 1),
    STATE_SCALAR(struct reset_control_state, port92, 1),
};

static bool reset_control_valid(const void *candidate)
{
    const struct reset_control_state *state = candidate;

    return !(state->rst_cnt & ~RST_CNT_BITS) && !(state->port92 & ~PORT92_BITS);
}

static const struct state_schema reset_control_schema = {
    .name = "ich9-reset",
    .version = 1,
    .fields = reset_control_fields,
    .field_count = ARRAY_LENGTH(reset_control_fields),
    .size = sizeof(struct reset_control_state),
    .valid = reset_control_valid,
};

uint8_t reset_control_read(void *context)
{
    const struct reset_control *control = context;

    return control->state.rst_cnt;
}

void reset_control_write(void *context, uint8_t value)
{
    struct reset_control *control = context;
    bool rises = value & ~control->state.rst_cnt & RST_CNT_RST_CPU;

    control->state.rst_cnt = value & RST_CNT_BITS;
    if (rises)
        platform_reset(&control->platform);
}

static void port92_write(struct reset_control *control, uint8_t value)
{
    bool rises = value & ~control->state.port92 & PORT92_INIT_NOW;

    control->state.port92 = value & PORT92_BITS;
    if (rises)
        platform_reset(&control->platform);
}

static enum io_result reset_control_io(struct device *device, unsigned region, struct io_access *access)
{
    struct reset_control *control = CONTAINER_OF(device, struct reset_control, device);

    (void)region;
    if (access->write)
        port92_write(control, (uint8_t)access->value);
    else
        access->value = control->state.port92;
    return IO_DONE;
}

static void reset_control_reset(struct device *device)
{
    struct reset_control *control = CONTAINER_OF(device, struct reset_control, device);

    control->state = (struct reset_control_state){.port92 = PORT92_ALT_A20_GATE};
}

static const struct device_type reset_control_type = {
    .name = "ich9-reset",
    .schema = &reset_control_schema,
    .state_offset = offsetof(struct reset_control, state),
    .io = reset_control_io,
    .reset = reset_control_reset,
};

enum status reset_control_init(struct reset_control *control, const struct platform *platform, struct bus *bus)
{
    static const struct isa_ports ports = {"port92", 0x92, 1};

    *control = (struct reset_control){
        .device = {.type = &reset_control_type, .path = "isa/reset"},
        .platform = *platform,
    };
    reset_control_reset(&control->device);
    return isa_claim(bus, &control->device, &control->region, &ports, 1);
}
