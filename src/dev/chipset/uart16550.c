#include "dev/chipset/uart16550.h"

#include "base/bits.h"
#include "dev/chipset/ticks.h"

/* DLAB gives the first two addresses to the divisor latch. */
enum uart_register {
    RBR_THR = 0,
    IER = 1,
    IIR_FCR = 2,
    LCR = 3,
    MCR = 4,
    LSR = 5,
    MSR = 6,
    SCR = 7,
};

enum {
    IER_ERBFI = 1 << 0,
    IER_ETBEI = 1 << 1,
    IER_ELSI = 1 << 2,
    IER_EDSSI = 1 << 3,
    IER_BITS = 0x0f,

    IIR_MODEM_STATUS = 0x00,
    IIR_NONE = 0x01,
    IIR_THRE = 0x02,
    IIR_RECEIVED = 0x04,
    IIR_LINE_STATUS = 0x06,
    IIR_TIMEOUT = 0x0c,
    IIR_FIFOS = 0xc0,

    FCR_ENABLE = 1 << 0,
    FCR_RESET_RECEIVER = 1 << 1,
    FCR_DMA = 1 << 3,
    FCR_TRIGGER = 0xc0,
    FCR_TRIGGER_SHIFT = 6,
    FCR_KEPT = FCR_ENABLE | FCR_DMA | FCR_TRIGGER,

    LCR_WLS = 0x03,
    LCR_STB = 1 << 2,
    LCR_PEN = 1 << 3,
    LCR_SET_BREAK = 1 << 6,
    LCR_DLAB = 1 << 7,

    MCR_DTR = 1 << 0,
    MCR_RTS = 1 << 1,
    MCR_OUT1 = 1 << 2,
    MCR_OUT2 = 1 << 3,
    MCR_LOOP = 1 << 4,
    MCR_BITS = 0x1f,

    LSR_DR = 1 << 0,
    LSR_OE = 1 << 1,
    LSR_PE = 1 << 2,
    LSR_FE = 1 << 3,
    LSR_BI = 1 << 4,
    LSR_THRE = 1 << 5,
    LSR_TEMT = 1 << 6,
    LSR_FIFO_ERROR = 1 << 7,
    LSR_CHARACTER_ERRORS = LSR_PE | LSR_FE | LSR_BI,

    MSR_TERI = 1 << 2,
    MSR_DELTAS = 0x0f,
    MSR_CTS = 1 << 4,
    MSR_DSR = 1 << 5,
    MSR_RI = 1 << 6,
    MSR_DCD = 1 << 7,
    MSR_LINES_SHIFT = 4,

    UART_BASE_BAUD = 115200, /* 1.8432 MHz / 16 */
    TIMEOUT_CHARACTERS = 4,
};

static const struct state_field uart_fields[] = {
    STATE_SCALAR(struct uart16550_state, ier, 1),
    STATE_SCALAR(struct uart16550_state, fcr, 1),
    STATE_SCALAR(struct uart16550_state, lcr, 1),
    STATE_SCALAR(struct uart16550_state, mcr, 1),
    STATE_SCALAR(struct uart16550_state, scr, 1),
    STATE_SCALAR(struct uart16550_state, dll, 1),
    STATE_SCALAR(struct uart16550_state, dlm, 1),
    STATE_SCALAR(struct uart16550_state, lsr_errors, 1),
    STATE_SCALAR(struct uart16550_state, msr, 1),
    STATE_SCALAR(struct uart16550_state, thre_pending, 1),
    STATE_SCALAR(struct uart16550_state, timeout_pending, 1),
    STATE_SCALAR(struct uart16550_state, rx_head, 1),
    STATE_SCALAR(struct uart16550_state, rx_count, 1),
    STATE_ARRAY(struct uart16550_state, rx_data, 1),
    STATE_ARRAY(struct uart16550_state, rx_errors, 1),
};

static bool uart_valid(const void *candidate)
{
    const struct uart16550_state *state = candidate;
    unsigned room = state->fcr & FCR_ENABLE ? UART_FIFO : 1;

    for (unsigned i = 0; i < UART_FIFO; i++) {
        if (state->rx_errors[i] & ~LSR_CHARACTER_ERRORS)
            return false;
    }
    return !(state->ier & ~IER_BITS) && !(state->fcr & ~FCR_KEPT) && !(state->mcr & ~MCR_BITS) &&
           !(state->lsr_errors & ~(LSR_OE | LSR_CHARACTER_ERRORS)) && state->thre_pending <= 1 &&
           state->timeout_pending <= 1 && state->rx_head < UART_FIFO && state->rx_count <= room;
}

const struct state_schema uart16550_schema = {
    .name = "uart16550",
    .version = 1,
    .fields = uart_fields,
    .field_count = ARRAY_LENGTH(uart_fields),
    .size = sizeof(struct uart16550_state),
    .valid = uart_valid,
};

/* --- interrupts --- */

static bool uart_has_fifos(const struct uart16550 *uart)
{
    return uart->state.fcr & FCR_ENABLE;
}

static bool uart_loops(const struct uart16550 *uart)
{
    return uart->state.mcr & MCR_LOOP;
}

static unsigned uart_trigger(const struct uart16550 *uart)
{
    static const uint8_t levels[] = {1, 4, 8, 14};

    return uart_has_fifos(uart) ? levels[(uart->state.fcr & FCR_TRIGGER) >> FCR_TRIGGER_SHIFT] : 1;
}

/* The interrupt with the highest priority (data sheet, table IV), without the FIFO bits. */
static uint8_t uart_interrupt(const struct uart16550 *uart)
{
    const struct uart16550_state *state = &uart->state;

    if ((state->ier & IER_ELSI) && state->lsr_errors)
        return IIR_LINE_STATUS;
    if ((state->ier & IER_ERBFI) && state->rx_count >= uart_trigger(uart))
        return IIR_RECEIVED;
    if ((state->ier & IER_ERBFI) && state->timeout_pending)
        return IIR_TIMEOUT;
    if ((state->ier & IER_ETBEI) && state->thre_pending)
        return IIR_THRE;
    if ((state->ier & IER_EDSSI) && (state->msr & MSR_DELTAS))
        return IIR_MODEM_STATUS;
    return IIR_NONE;
}

static bool uart_asserts(const struct uart16550 *uart)
{
    return (uart->state.mcr & MCR_OUT2) && !uart_loops(uart) && uart_interrupt(uart) != IIR_NONE;
}

/* The line hears of changes only: this runs with every character. */
static void uart_update(struct uart16550 *uart)
{
    bool asserts = uart_asserts(uart);

    if (asserts == uart->asserted)
        return;
    uart->asserted = asserts;
    irq_set(&uart->irq, asserts);
}

/* The time of one character at the programmed rate; a divisor of 0 is taken for 1. */
static uint64_t uart_character_ns(const struct uart16550 *uart)
{
    const struct uart16550_state *state = &uart->state;
    uint64_t divisor = (uint64_t)state->dlm << 8 | state->dll;
    unsigned word = 5u + (state->lcr & LCR_WLS), parity = state->lcr & LCR_PEN ? 1 : 0;
    unsigned bits = 1 + word + parity + (state->lcr & LCR_STB ? 2 : 1);

    return (divisor ? divisor : 1) * bits * NS_PER_SECOND / UART_BASE_BAUD;
}

/* The receiver FIFO was touched: the timeout starts anew if something is left in it. */
static void uart_restart_timeout(struct uart16550 *uart)
{
    uint64_t now = timer_now(uart->timer.queue);

    if (uart_has_fifos(uart) && uart->state.rx_count > 0)
        timer_arm(&uart->timer, ticks_add(now, TIMEOUT_CHARACTERS * uart_character_ns(uart)));
    else
        timer_cancel(&uart->timer);
}

/* Timer: the host's alarm, machine lock held. */
static void uart_timed_out(void *owner)
{
    struct uart16550 *uart = owner;

    uart->state.timeout_pending = 1;
    uart_update(uart);
}

/* --- the receiver --- */

static unsigned uart_room(const struct uart16550 *uart)
{
    return (uart_has_fifos(uart) ? UART_FIFO : 1u) - uart->state.rx_count;
}

/* The errors of the oldest character appear in LSR. */
static void uart_reveal_errors(struct uart16550 *uart)
{
    struct uart16550_state *state = &uart->state;

    if (state->rx_count == 0)
        return;
    state->lsr_errors |= state->rx_errors[state->rx_head];
    state->rx_errors[state->rx_head] = 0;
}

/* There is room for it. */
static void uart_push(struct uart16550 *uart, uint8_t byte, uint8_t errors)
{
    struct uart16550_state *state = &uart->state;
    unsigned tail = (state->rx_head + state->rx_count) % UART_FIFO;

    state->rx_data[tail] = byte;
    state->rx_errors[tail] = errors;
    state->rx_count++;
    if (state->rx_count == 1)
        uart_reveal_errors(uart);
}

/* Tells the far end that it may go on. It may call uart_receive() from within. */
static void uart_drained(struct uart16550 *uart)
{
    if (!uart->refused || uart->state.rx_count > 0 || uart_loops(uart) || uart->stream->drained == NULL)
        return;
    uart->refused = false;
    uart->stream->drained(uart->stream);
}

static size_t uart_receive(void *device, const void *bytes, size_t size)
{
    struct uart16550 *uart = device;
    const uint8_t *from = bytes;
    size_t room = uart_loops(uart) ? 0 : uart_room(uart);
    size_t taken = size < room ? size : room;

    for (size_t i = 0; i < taken; i++)
        uart_push(uart, from[i], 0);
    if (taken < size)
        uart->refused = true;
    if (taken > 0) {
        uart_restart_timeout(uart);
        uart_update(uart);
    }
    return taken;
}

static void uart_clear_receiver(struct uart16550 *uart)
{
    uart->state.rx_count = 0;
    uart->state.timeout_pending = 0;
    uart_restart_timeout(uart);
}

static uint8_t uart_read_rbr(struct uart16550 *uart)
{
    struct uart16550_state *state = &uart->state;
    uint8_t byte = state->rx_data[state->rx_head];

    if (state->rx_count == 0)
        return byte; /* whatever was there last */
    state->rx_count--;
    if (state->rx_count > 0)
        state->rx_head = (uint8_t)((state->rx_head + 1) % UART_FIFO);
    state->timeout_pending = 0;
    uart_reveal_errors(uart);
    uart_restart_timeout(uart);
    return byte;
}

/* --- the transmitter --- */

/* What was sent comes back. Without room the FIFO stays as it is; a single buffer is overwritten. */
static void uart_loop_back(struct uart16550 *uart, uint8_t byte, uint8_t errors)
{
    if (uart_room(uart) == 0) {
        uart->state.lsr_errors |= LSR_OE;
        if (uart_has_fifos(uart))
            return;
        uart->state.rx_count = 0;
    }
    uart_push(uart, byte, errors);
    uart_restart_timeout(uart);
}

/* THR is full for no time at all: the interrupt goes and comes again, which makes the edge that an 8259A needs. */
static void uart_write_thr(struct uart16550 *uart, uint8_t value)
{
    uint8_t byte = value & (uint8_t)bits_mask(5 + (uart->state.lcr & LCR_WLS));

    uart->state.thre_pending = 0;
    uart_update(uart);
    if (uart_loops(uart))
        uart_loop_back(uart, byte, 0);
    else if (uart->stream)
        uart->stream->write(uart->stream, &byte, 1);
    uart->state.thre_pending = 1;
}

/* --- the other registers --- */

static uint8_t uart_read_iir(struct uart16550 *uart)
{
    uint8_t interrupt = uart_interrupt(uart);

    if (interrupt == IIR_THRE)
        uart->state.thre_pending = 0;
    return interrupt | (uart_has_fifos(uart) ? IIR_FIFOS : 0);
}

static uint8_t uart_read_lsr(struct uart16550 *uart)
{
    struct uart16550_state *state = &uart->state;
    unsigned lsr = LSR_THRE | LSR_TEMT | state->lsr_errors, in_fifo = state->lsr_errors & LSR_CHARACTER_ERRORS;

    for (unsigned i = 0; i < state->rx_count; i++)
        in_fifo |= state->rx_errors[(state->rx_head + i) % UART_FIFO];
    if (state->rx_count > 0)
        lsr |= LSR_DR;
    if (in_fifo && uart_has_fifos(uart))
        lsr |= LSR_FIFO_ERROR;
    state->lsr_errors = 0;
    return (uint8_t)lsr;
}

static uint8_t uart_read_msr(struct uart16550 *uart)
{
    uint8_t msr = uart->state.msr;

    uart->state.msr &= (uint8_t)~MSR_DELTAS;
    return msr;
}

static void uart_write_ier(struct uart16550 *uart, uint8_t value)
{
    /* THR is empty at this moment, so enabling its interrupt raises it. */
    if ((value & IER_ETBEI) && !(uart->state.ier & IER_ETBEI))
        uart->state.thre_pending = 1;
    uart->state.ier = value & IER_BITS;
}

static void uart_write_fcr(struct uart16550 *uart, uint8_t value)
{
    bool switched = (value ^ uart->state.fcr) & FCR_ENABLE;

    /* The other bits count only together with this one. */
    uart->state.fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
    if (switched || (value & (FCR_ENABLE | FCR_RESET_RECEIVER)) == (FCR_ENABLE | FCR_RESET_RECEIVER))
        uart_clear_receiver(uart);
}

static void uart_write_lcr(struct uart16550 *uart, uint8_t value)
{
    bool begins = (value & LCR_SET_BREAK) && !(uart->state.lcr & LCR_SET_BREAK);

    uart->state.lcr = value;
    if (begins && uart_loops(uart))
        uart_loop_back(uart, 0, LSR_BI | LSR_FE);
}

/* Modem inputs: ours in loopback mode, else those of a far end that is there and ready. */
static uint8_t uart_modem_lines(const struct uart16550 *uart)
{
    unsigned mcr = uart->state.mcr, lines = 0;

    if (!uart_loops(uart))
        return uart->stream ? MSR_CTS | MSR_DSR | MSR_DCD : 0;
    lines |= mcr & MCR_RTS ? MSR_CTS : 0;
    lines |= mcr & MCR_DTR ? MSR_DSR : 0;
    lines |= mcr & MCR_OUT1 ? MSR_RI : 0;
    lines |= mcr & MCR_OUT2 ? MSR_DCD : 0;
    return (uint8_t)lines;
}

static void uart_write_mcr(struct uart16550 *uart, uint8_t value)
{
    uint8_t before = uart->state.msr & (uint8_t)~MSR_DELTAS, lines;
    unsigned deltas;

    uart->state.mcr = value & MCR_BITS;
    lines = uart_modem_lines(uart);
    deltas = (unsigned)(before ^ lines) >> MSR_LINES_SHIFT;
    if (lines & MSR_RI)
        deltas &= ~(unsigned)MSR_TERI; /* only its trailing edge counts */
    uart->state.msr = (uint8_t)(lines | (uart->state.msr & MSR_DELTAS) | deltas);
}

static bool uart_latch_access(const struct uart16550 *uart)
{
    return uart->state.lcr & LCR_DLAB;
}

uint8_t uart16550_read(struct uart16550 *uart, unsigned reg)
{
    uint8_t value = 0;

    switch ((enum uart_register)(reg % UART_REGISTERS)) {
    case RBR_THR:
        value = uart_latch_access(uart) ? uart->state.dll : uart_read_rbr(uart);
        break;
    case IER:
        value = uart_latch_access(uart) ? uart->state.dlm : uart->state.ier;
        break;
    case IIR_FCR:
        value = uart_read_iir(uart);
        break;
    case LCR:
        value = uart->state.lcr;
        break;
    case MCR:
        value = uart->state.mcr;
        break;
    case LSR:
        value = uart_read_lsr(uart);
        break;
    case MSR:
        value = uart_read_msr(uart);
        break;
    case SCR:
        value = uart->state.scr;
        break;
    }
    uart_update(uart);
    uart_drained(uart);
    return value;
}

void uart16550_write(struct uart16550 *uart, unsigned reg, uint8_t value)
{
    switch ((enum uart_register)(reg % UART_REGISTERS)) {
    case RBR_THR:
        if (uart_latch_access(uart))
            uart->state.dll = value;
        else
            uart_write_thr(uart, value);
        break;
    case IER:
        if (uart_latch_access(uart))
            uart->state.dlm = value;
        else
            uart_write_ier(uart, value);
        break;
    case IIR_FCR:
        uart_write_fcr(uart, value);
        break;
    case LCR:
        uart_write_lcr(uart, value);
        break;
    case MCR:
        uart_write_mcr(uart, value);
        break;
    case LSR: /* for factory tests */
    case MSR:
        break;
    case SCR:
        uart->state.scr = value;
        break;
    }
    uart_update(uart);
    uart_drained(uart);
}

void uart16550_reset(struct uart16550 *uart)
{
    uart->state = (struct uart16550_state){0};
    uart->state.msr = uart_modem_lines(uart);
    uart16550_resume(uart);
}

void uart16550_resume(struct uart16550 *uart)
{
    uart->asserted = uart_asserts(uart);
    irq_set(&uart->irq, uart->asserted);
    uart_restart_timeout(uart);
    uart->refused = uart->stream != NULL; /* it may hold something back from before */
    uart_drained(uart);
}

void uart16550_init(struct uart16550 *uart, const struct irq_line *irq, struct stream *stream,
                    struct timer_queue *timers)
{
    *uart = (struct uart16550){.irq = *irq, .stream = stream};
    timer_init(&uart->timer, timers, uart_timed_out, uart);
    if (stream) {
        stream->device = uart;
        stream->receive = uart_receive;
    }
    uart16550_reset(uart);
}
