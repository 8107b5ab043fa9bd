#include "dev/chipset/i8042.h"

#include "base/bits.h"
#include "base/memory.h"
#include "dev/chipset/isa.h"

enum i8042_region { REGION_DATA, REGION_COMMAND };

enum {
    STATUS_OBF = 1 << 0,
    STATUS_SYS = 1 << 2,
    STATUS_CMD = 1 << 3,
    STATUS_UNLOCKED = 1 << 4, /* the key of the keyboard lock: always */
    STATUS_AUX_OBF = 1 << 5,
    STATUS_TIMEOUT = 1 << 6,
    STATUS_KEPT = STATUS_OBF | STATUS_SYS | STATUS_CMD | STATUS_AUX_OBF | STATUS_TIMEOUT,

    COMMAND_BYTE = 0, /* in the RAM */
    CB_INT = 1 << 0,
    CB_INT2 = 1 << 1,
    CB_SYS = 1 << 2,
    CB_DISABLE_KEYBOARD = 1 << 4,
    CB_DISABLE_AUX = 1 << 5,
    CB_XLATE = 1 << 6,

    OUTPUT_RESET = 1 << 0, /* active low */
    OUTPUT_A20 = 1 << 1,
    OUTPUT_OBF_IRQ = 1 << 4,
    OUTPUT_AUX_IRQ = 1 << 5,
    OUTPUT_IDLE = 0xcf, /* not in reset, A20 on, the lines to the devices released */

    INPUT_PORT = 0xa0, /* not locked, no manufacturing jumper */
    TEST_INPUTS_IDLE = 0x03,
    SELF_TEST_PASSED = 0x55,
    INTERFACE_OK = 0x00,
    NO_PASSWORD = 0xf1,
    NO_ANSWER = 0xfe,
};

enum i8042_command {
    COMMAND_READ_RAM = 0x20, /* ..0x3f */
    COMMAND_WRITE_RAM = 0x60, /* ..0x7f */
    COMMAND_TEST_PASSWORD = 0xa4,
    COMMAND_DISABLE_AUX = 0xa7,
    COMMAND_ENABLE_AUX = 0xa8,
    COMMAND_TEST_AUX = 0xa9,
    COMMAND_SELF_TEST = 0xaa,
    COMMAND_TEST_KEYBOARD = 0xab,
    COMMAND_DISABLE_KEYBOARD = 0xad,
    COMMAND_ENABLE_KEYBOARD = 0xae,
    COMMAND_READ_INPUT_PORT = 0xc0,
    COMMAND_READ_OUTPUT_PORT = 0xd0,
    COMMAND_WRITE_OUTPUT_PORT = 0xd1,
    COMMAND_WRITE_KEYBOARD_OUTPUT = 0xd2,
    COMMAND_WRITE_AUX_OUTPUT = 0xd3,
    COMMAND_WRITE_AUX = 0xd4,
    COMMAND_READ_TEST_INPUTS = 0xe0,
    COMMAND_PULSE = 0xf0, /* ..0xff: the bits that are 0 go low for 6 us */
};

/* To the keyboard, and from it. */
enum keyboard_code {
    KEYBOARD_SET_LEDS = 0xed,
    KEYBOARD_ECHO = 0xee,
    KEYBOARD_SCAN_CODES = 0xf0,
    KEYBOARD_IDENTIFY = 0xf2,
    KEYBOARD_SET_RATE = 0xf3,
    KEYBOARD_FIRST_WITHOUT_EFFECT = 0xf4, /* ..0xfd: there are no keys whose ways they could change */
    KEYBOARD_LAST_WITHOUT_EFFECT = 0xfd,
    KEYBOARD_RESET = 0xff,
    KEYBOARD_ACK = 0xfa,
    KEYBOARD_RESEND = 0xfe,
    KEYBOARD_TEST_PASSED = 0xaa,
    KEYBOARD_ID_1 = 0xab,
    KEYBOARD_ID_2 = 0x83,
    KEYBOARD_ID_2_TRANSLATED = 0x41,
};

static const struct state_field i8042_fields[] = {
    STATE_SCALAR(struct i8042_state, status, 1),
    STATE_SCALAR(struct i8042_state, output, 1),
    STATE_SCALAR(struct i8042_state, output_port, 1),
    STATE_SCALAR(struct i8042_state, expects, 1),
    STATE_ARRAY(struct i8042_state, ram, 1),
    STATE_ARRAY(struct i8042_state, queue, 2),
    STATE_SCALAR(struct i8042_state, queued, 2),
    STATE_SCALAR(struct i8042_state, keyboard_expects, 2),
};

static bool command_takes_data(uint8_t command)
{
    return (command >= COMMAND_WRITE_RAM && command < COMMAND_WRITE_RAM + I8042_RAM_SIZE) ||
           (command >= COMMAND_WRITE_OUTPUT_PORT && command <= COMMAND_WRITE_AUX);
}

static bool i8042_valid(const void *candidate)
{
    const struct i8042_state *state = candidate;

    return !(state->status & ~STATUS_KEPT) && (state->expects == 0 || command_takes_data(state->expects)) &&
           state->queued <= I8042_QUEUE;
}

static const struct state_schema i8042_schema = {
    .name = "i8042",
    .version = 2,
    .fields = i8042_fields,
    .field_count = ARRAY_LENGTH(i8042_fields),
    .size = sizeof(struct i8042_state),
    .valid = i8042_valid,
};

/* The interrupts are as long as the output buffer is full. */
static void i8042_update(struct i8042 *i8042)
{
    const struct i8042_state *state = &i8042->state;
    bool full = state->status & STATUS_OBF, aux = state->status & STATUS_AUX_OBF;

    irq_set(&i8042->keyboard_irq, full && !aux && (state->ram[COMMAND_BYTE] & CB_INT));
    irq_set(&i8042->aux_irq, full && aux && (state->ram[COMMAND_BYTE] & CB_INT2));
}

/* Puts a byte into the output buffer, over what was there. flags: AUX_OBF, TIMEOUT. */
static void i8042_answer(struct i8042 *i8042, uint8_t byte, uint8_t flags)
{
    struct i8042_state *state = &i8042->state;

    state->status &= (uint8_t)~(STATUS_OBF | STATUS_AUX_OBF | STATUS_TIMEOUT);
    i8042_update(i8042); /* each byte is an edge of its own */
    state->output = byte;
    state->status |= (uint8_t)(STATUS_OBF | flags);
    i8042_update(i8042);
}

/* --- the keyboard --- */

/* The next byte of the keyboard goes to the output buffer when there is room and the port is on. */
static void keyboard_pump(struct i8042 *i8042)
{
    struct i8042_state *state = &i8042->state;
    uint8_t byte = state->queue[0];

    if (state->queued == 0 || (state->status & STATUS_OBF) || (state->ram[COMMAND_BYTE] & CB_DISABLE_KEYBOARD))
        return;
    state->queued--;
    memmove(state->queue, state->queue + 1, state->queued);
    if (byte == KEYBOARD_ID_2 && (state->ram[COMMAND_BYTE] & CB_XLATE))
        byte = KEYBOARD_ID_2_TRANSLATED;
    i8042_answer(i8042, byte, 0);
}

/* What does not fit is lost: the guest does not read what it asks for. */
static void keyboard_send(struct i8042 *i8042, uint8_t byte)
{
    if (i8042->state.queued < I8042_QUEUE)
        i8042->state.queue[i8042->state.queued++] = byte;
}

static void keyboard_command(struct i8042 *i8042, uint8_t command)
{
    if (command == KEYBOARD_RESET)
        i8042->state.queued = 0;
    if (command == KEYBOARD_SET_LEDS || command == KEYBOARD_SCAN_CODES || command == KEYBOARD_SET_RATE)
        i8042->state.keyboard_expects = command;
    else if (command == KEYBOARD_ECHO)
        keyboard_send(i8042, KEYBOARD_ECHO);
    else if (command != KEYBOARD_RESET && command != KEYBOARD_IDENTIFY &&
             (command < KEYBOARD_FIRST_WITHOUT_EFFECT || command > KEYBOARD_LAST_WITHOUT_EFFECT)) {
        keyboard_send(i8042, KEYBOARD_RESEND);
        return;
    }
    if (command != KEYBOARD_ECHO)
        keyboard_send(i8042, KEYBOARD_ACK);
    if (command == KEYBOARD_RESET)
        keyboard_send(i8042, KEYBOARD_TEST_PASSED);
    if (command == KEYBOARD_IDENTIFY) {
        keyboard_send(i8042, KEYBOARD_ID_1);
        keyboard_send(i8042, KEYBOARD_ID_2);
    }
}

/* A byte to the keyboard switches its port on. */
static void keyboard_write(struct i8042 *i8042, uint8_t value)
{
    bool parameter = i8042->state.keyboard_expects != 0 && value < KEYBOARD_SET_LEDS;

    i8042->state.keyboard_expects = 0;
    i8042->state.ram[COMMAND_BYTE] &= (uint8_t)~CB_DISABLE_KEYBOARD;
    if (parameter)
        keyboard_send(i8042, KEYBOARD_ACK);
    else
        keyboard_command(i8042, value);
    keyboard_pump(i8042);
}

/* --- registers --- */

static uint8_t i8042_read_data(struct i8042 *i8042)
{
    uint8_t value = i8042->state.output;

    i8042->state.status &= (uint8_t)~(STATUS_OBF | STATUS_AUX_OBF | STATUS_TIMEOUT);
    i8042_update(i8042);
    keyboard_pump(i8042);
    return value;
}

static void i8042_write_ram(struct i8042 *i8042, unsigned address, uint8_t value)
{
    i8042->state.ram[address % I8042_RAM_SIZE] = value;
    if (address % I8042_RAM_SIZE != COMMAND_BYTE)
        return;
    i8042->state.status &= (uint8_t)~STATUS_SYS;
    if (value & CB_SYS)
        i8042->state.status |= STATUS_SYS;
    i8042_update(i8042);
}

static void i8042_change_command_byte(struct i8042 *i8042, uint8_t set, uint8_t clear)
{
    uint8_t *command_byte = &i8042->state.ram[COMMAND_BYTE];

    *command_byte = (uint8_t)((*command_byte | set) & ~clear);
}

static void i8042_write_output_port(struct i8042 *i8042, uint8_t value)
{
    i8042->state.output_port = value;
    if (!(value & OUTPUT_RESET))
        platform_reset(&i8042->platform);
}

static uint8_t i8042_read_output_port(const struct i8042 *i8042)
{
    unsigned value = i8042->state.output_port & ~(unsigned)(OUTPUT_OBF_IRQ | OUTPUT_AUX_IRQ);

    if (i8042->state.status & STATUS_OBF)
        value |= i8042->state.status & STATUS_AUX_OBF ? OUTPUT_AUX_IRQ : OUTPUT_OBF_IRQ;
    return (uint8_t)value;
}

/* Both ports disabled, translation on: as after power-on, but a system that has been initialized. */
static void i8042_self_test(struct i8042 *i8042)
{
    i8042_write_ram(i8042, COMMAND_BYTE, CB_SYS | CB_DISABLE_KEYBOARD | CB_DISABLE_AUX | CB_XLATE);
    i8042_answer(i8042, SELF_TEST_PASSED, 0);
}

/* Commands that stand alone. */
static void i8042_command(struct i8042 *i8042, uint8_t command)
{
    switch (command) {
    case COMMAND_TEST_PASSWORD:
        i8042_answer(i8042, NO_PASSWORD, 0);
        break;
    case COMMAND_DISABLE_AUX:
        i8042_change_command_byte(i8042, CB_DISABLE_AUX, 0);
        break;
    case COMMAND_ENABLE_AUX:
        i8042_change_command_byte(i8042, 0, CB_DISABLE_AUX);
        break;
    case COMMAND_SELF_TEST:
        i8042_self_test(i8042);
        break;
    case COMMAND_TEST_AUX:
    case COMMAND_TEST_KEYBOARD:
        i8042_answer(i8042, INTERFACE_OK, 0);
        break;
    case COMMAND_DISABLE_KEYBOARD:
        i8042_change_command_byte(i8042, CB_DISABLE_KEYBOARD, 0);
        break;
    case COMMAND_ENABLE_KEYBOARD:
        i8042_change_command_byte(i8042, 0, CB_DISABLE_KEYBOARD);
        break;
    case COMMAND_READ_INPUT_PORT:
        i8042_answer(i8042, INPUT_PORT, 0);
        break;
    case COMMAND_READ_OUTPUT_PORT:
        i8042_answer(i8042, i8042_read_output_port(i8042), 0);
        break;
    case COMMAND_READ_TEST_INPUTS:
        i8042_answer(i8042, TEST_INPUTS_IDLE, 0);
        break;
    default:
        break; /* unknown ones do nothing */
    }
}

static void i8042_write_command(struct i8042 *i8042, uint8_t command)
{
    i8042->state.status |= STATUS_CMD;
    i8042->state.expects = command_takes_data(command) ? command : 0;
    if (command >= COMMAND_READ_RAM && command < COMMAND_READ_RAM + I8042_RAM_SIZE)
        i8042_answer(i8042, i8042->state.ram[command - COMMAND_READ_RAM], 0);
    else if (command >= COMMAND_PULSE && !(command & OUTPUT_RESET))
        platform_reset(&i8042->platform);
    else
        i8042_command(i8042, command);
    keyboard_pump(i8042);
}

static void i8042_write_data(struct i8042 *i8042, uint8_t value)
{
    uint8_t command = i8042->state.expects;

    i8042->state.status &= (uint8_t)~STATUS_CMD;
    i8042->state.expects = 0;
    switch (command) {
    case COMMAND_WRITE_OUTPUT_PORT:
        i8042_write_output_port(i8042, value);
        break;
    case COMMAND_WRITE_KEYBOARD_OUTPUT:
        i8042_answer(i8042, value, 0);
        break;
    case COMMAND_WRITE_AUX_OUTPUT:
        i8042_answer(i8042, value, STATUS_AUX_OBF);
        break;
    case COMMAND_WRITE_AUX:
        i8042_answer(i8042, NO_ANSWER, STATUS_AUX_OBF | STATUS_TIMEOUT);
        break;
    case 0: /* for the keyboard */
        if (i8042->keyboard)
            keyboard_write(i8042, value);
        else
            i8042_answer(i8042, NO_ANSWER, STATUS_TIMEOUT);
        break;
    default:
        i8042_write_ram(i8042, command, value);
        keyboard_pump(i8042);
    }
}

static enum io_result i8042_io(struct device *device, unsigned region, struct io_access *access)
{
    struct i8042 *i8042 = CONTAINER_OF(device, struct i8042, device);

    if (region == REGION_DATA && access->write)
        i8042_write_data(i8042, (uint8_t)access->value);
    else if (region == REGION_DATA)
        access->value = i8042_read_data(i8042);
    else if (access->write)
        i8042_write_command(i8042, (uint8_t)access->value);
    else
        access->value = i8042->state.status | STATUS_UNLOCKED;
    return IO_DONE;
}

static void i8042_reset(struct device *device)
{
    struct i8042 *i8042 = CONTAINER_OF(device, struct i8042, device);

    i8042->state = (struct i8042_state){.output_port = OUTPUT_IDLE};
    i8042->state.ram[COMMAND_BYTE] = CB_DISABLE_KEYBOARD | CB_DISABLE_AUX | CB_XLATE;
    i8042_update(i8042);
}

static void i8042_resume(struct device *device)
{
    i8042_update(CONTAINER_OF(device, struct i8042, device));
}

static const struct device_type i8042_type = {
    .name = "i8042",
    .schema = &i8042_schema,
    .state_offset = offsetof(struct i8042, state),
    .io = i8042_io,
    .reset = i8042_reset,
    .resume = i8042_resume,
};

void i8042_plug_keyboard(struct i8042 *i8042)
{
    i8042->keyboard = true;
}

enum status i8042_init(struct i8042 *i8042, const struct irq_line *keyboard_irq, const struct irq_line *aux_irq,
                       const struct platform *platform, struct bus *bus)
{
    static const struct isa_ports ports[] = {
        [REGION_DATA] = {"i8042-data", 0x60, 1},
        [REGION_COMMAND] = {"i8042-command", 0x64, 1},
    };

    *i8042 = (struct i8042){
        .device = {.type = &i8042_type, .path = "isa/i8042"},
        .keyboard_irq = *keyboard_irq,
        .aux_irq = *aux_irq,
        .platform = *platform,
    };
    i8042_reset(&i8042->device);
    return isa_claim(bus, &i8042->device, i8042->regions, ports, ARRAY_LENGTH(ports));
}
