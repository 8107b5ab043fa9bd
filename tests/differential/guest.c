#define _GNU_SOURCE
#include "guest.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>

#include "core/machine.h"
#include "engine/dbt/dbt.h"
#include "engine/dbt/state.h"
#include "x86/paging.h"
#include "x86/regs.h"

enum { RAM_SIZE = 8 << 20, PAGE = 4096 };

/* Guest physical addresses; the tables are also seen at KERNEL + address. */
enum {
    AT_GDT = 0x1000,
    AT_IDT = 0x2000,
    AT_TSS = 0x3000,
    AT_HANDLERS = 0x4000,
    AT_STACK = 0x7000,
    AT_EXIT = 0x8000,
    AT_CODE = 0x100000,
    AT_DATA = 0x200000,
    AT_TABLES = 0x300000
};
#define KERNEL 0xffff800000000000ull

/* Selectors, as Linux has them: programs can see them. */
enum { KERNEL_CS = 0x10, KERNEL_SS = 0x18, USER_CS32 = 0x23, USER_SS = 0x2b, USER_CS = 0x33, TSS_SELECTOR = 0x40 };

struct guest {
    struct machine machine;
    struct dbt_vcpu *cpu;
    struct vcpu *vcpu;
    const struct engine_ops *ops;
    uint8_t *ram;
    uint64_t next_table;
    struct cpu_state state;
    bool stale; /* the vCPU's registers are not what a case left: it needs all of its state */
};

/* ---- what the machine has around the CPU: nothing ---- */

static int apic_acknowledge(void *apic)
{
    (void)apic;
    return -1;
}
static bool apic_pending(void *apic)
{
    (void)apic;
    return false;
}
static uint64_t apic_get_tpr(void *apic)
{
    (void)apic;
    return 0;
}
static void apic_set_tpr(void *apic, uint64_t cr8)
{
    (void)apic;
    (void)cr8;
}
static bool apic_read_msr(void *apic, uint32_t msr, uint64_t *value)
{
    (void)apic;
    (void)msr;
    (void)value;
    return false;
}
static bool apic_write_msr(void *apic, uint32_t msr, uint64_t value)
{
    (void)apic;
    (void)msr;
    (void)value;
    return false;
}
static bool apic_read(void *apic, uint32_t offset, unsigned size, uint32_t *value)
{
    (void)apic;
    (void)offset;
    (void)size;
    (void)value;
    return false;
}
static bool apic_write(void *apic, uint32_t offset, unsigned size, uint32_t value)
{
    (void)apic;
    (void)offset;
    (void)size;
    (void)value;
    return false;
}
static uint64_t apic_base(void *apic)
{
    (void)apic;
    return 0;
}
static void apic_tsc_changed(void *apic)
{
    (void)apic;
}
static bool apic_send_ipi(void *apic, uint32_t command, uint32_t identifier)
{
    (void)apic;
    (void)command;
    (void)identifier;
    return false;
}

static const struct apic_ops no_apic = {
    .acknowledge = apic_acknowledge,
    .pending = apic_pending,
    .get_tpr = apic_get_tpr,
    .set_tpr = apic_set_tpr,
    .read_msr = apic_read_msr,
    .write_msr = apic_write_msr,
    .read = apic_read,
    .write = apic_write,
    .base = apic_base,
    .tsc_changed = apic_tsc_changed,
    .send_ipi = apic_send_ipi,
};

static uint64_t clock_zero(struct clock *clock)
{
    (void)clock;
    return 0;
}
static struct clock no_clock = {clock_zero, clock_zero};
static void alarm_ignore(struct alarm *alarm, uint64_t deadline)
{
    (void)alarm;
    (void)deadline;
}
static struct alarm no_alarm = {alarm_ignore};

/* ---- memory ---- */

static void poke(struct guest *g, uint64_t at, uint64_t value)
{
    memcpy(g->ram + at, &value, sizeof(value));
}

static uint64_t peek(const struct guest *g, uint64_t at)
{
    uint64_t value;

    memcpy(&value, g->ram + at, sizeof(value));
    return value;
}

static void map(struct guest *g, uint64_t linear, uint64_t physical, uint64_t flags)
{
    uint64_t table = AT_TABLES;

    for (unsigned shift = 39; shift > 12; shift -= 9) {
        uint64_t at = table + (linear >> shift & 511) * 8;

        if (!(peek(g, at) & PTE_P)) {
            poke(g, at, g->next_table | PTE_P | PTE_W | PTE_U | PTE_A);
            g->next_table += PAGE;
        }
        table = peek(g, at) & PTE_ADDRESS;
    }
    poke(g, table + (linear >> 12 & 511) * 8, physical | flags | PTE_P | PTE_A | PTE_D);
}

void guest_see_code_at(struct guest *g, uint64_t linear)
{
    for (uint64_t at = 0; at < CODE_AREA; at += PAGE)
        map(g, linear + at, AT_CODE + at, PTE_U);
}

static void build_pages(struct guest *g)
{
    g->next_table = AT_TABLES + PAGE;
    guest_see_code_at(g, CODE_BASE);
    map(g, EXIT_PAGE, AT_EXIT, PTE_U);
    for (unsigned i = 0; i < CASE_DATA_PAGES; i++)
        map(g, DATA_BASE + (uint64_t)data_window_page(i) * PAGE, AT_DATA + i * PAGE,
            PTE_U | PTE_NX | (i == DATA_READ_ONLY ? 0 : PTE_W));
    for (uint64_t at = 0; at < AT_EXIT; at += PAGE)
        map(g, KERNEL + at, at, PTE_W);
}

/* The handler of vector n is a HLT at AT_HANDLERS + 2n. */
static void build_tables(struct guest *g)
{
    poke(g, AT_GDT + KERNEL_CS, 0x00af9b000000ffff);
    poke(g, AT_GDT + KERNEL_SS, 0x00cf93000000ffff);
    poke(g, AT_GDT + (USER_CS32 & ~7u), 0x00cffb000000ffff);
    poke(g, AT_GDT + (USER_SS & ~7u), 0x00cff3000000ffff);
    poke(g, AT_GDT + (USER_CS & ~7u), 0x00affb000000ffff);
    poke(g, AT_TSS + 4, KERNEL + AT_STACK + PAGE);
    poke(g, AT_TSS + 0x60, 0x68ull << 48); /* no I/O permission bitmap */
    memset(g->ram + AT_HANDLERS, 0xf4, PAGE);
    g->ram[AT_EXIT] = 0xf4; /* the rest of the page is zero on both sides */
    for (unsigned vector = 0; vector < 256; vector++) {
        uint64_t to = KERNEL + AT_HANDLERS + 2 * vector;
        unsigned dpl = vector == 3 || vector == 4 ? 3 : 0;

        poke(g, AT_IDT + 16 * vector,
             (to & 0xffff) | (uint64_t)KERNEL_CS << 16 | (uint64_t)(0x8e | dpl << 5) << 40 | (to & 0xffff0000) << 32);
        poke(g, AT_IDT + 16 * vector + 8, to >> 32);
    }
}

static struct segment_state flat(uint16_t selector, unsigned type, unsigned dpl, unsigned more)
{
    return (struct segment_state){
        0, 0xffffffff, selector,
        (uint16_t)(type | SEGMENT_S | SEGMENT_P | dpl << SEGMENT_DPL_SHIFT | SEGMENT_G | more)};
}

static void build_state(struct guest *g)
{
    struct cpu_state *s = &g->state;
    uint32_t low, high;

    cpu_state_reset(s, 0);
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    s->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
    s->cr3 = AT_TABLES;
    s->cr4 = CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_FSGSBASE | CR4_OSXSAVE;
    s->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
    s->xcr0 = low & XSAVE_COMPONENTS;
    s->gdt_base = KERNEL + AT_GDT;
    s->gdt_limit = 0x4f;
    s->idt_base = KERNEL + AT_IDT;
    s->idt_limit = 0xfff;
    s->segment[SEG_TR] = (struct segment_state){KERNEL + AT_TSS, 0x67, TSS_SELECTOR, SEGMENT_P | 0xb};
    s->segment[SEG_LDTR] = (struct segment_state){0, 0, 0, SEGMENT_UNUSABLE};
    s->segment[SEG_CS] = flat(USER_CS, 0xb, 3, SEGMENT_L);
    s->segment[SEG_SS] = flat(USER_SS, 3, 3, SEGMENT_DB);
    s->segment[SEG_DS] = s->segment[SEG_ES] = (struct segment_state){0, 0, 0, SEGMENT_UNUSABLE};
    s->segment[SEG_FS] = s->segment[SEG_GS] = s->segment[SEG_DS];
    s->activity = CPU_RUNNING;
    s->interrupt_shadow = 0;
}

/* ---- life ---- */

static struct guest *ticking; /* whom the watchdog looks at */
static volatile sig_atomic_t ticks;

/* A case that is still running after two ticks is taken out of the engine. */
static void tick(int number)
{
    (void)number;
    if (++ticks >= 2 && ticking)
        atomic_fetch_or(&ticking->vcpu->attention, ATTENTION_PAUSE);
}

static void start_watchdog(struct guest *g)
{
    struct sigaction action = {.sa_handler = tick, .sa_flags = SA_RESTART | SA_ONSTACK};
    struct itimerval every = {{1, 0}, {1, 0}};

    ticking = g;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &every, NULL);
}

static bool start_engine(struct guest *g)
{
    struct cpuid_request request = {.model = "host", .cpus = 1, .tsc_khz = 1000000};

    machine_init(&g->machine, &no_clock, &no_alarm);
    g->machine.cpu_count = 1;
    g->ops = &dbt_engine_ops;
    return g->ops->limits(&request) == STATUS_OK &&
           memory_init(&g->machine.memory, g->ram, -1, RAM_SIZE) == STATUS_OK &&
           cpuid_build(&g->machine.cpuid, &request) == STATUS_OK &&
           g->ops->create(&g->machine, &g->machine.engine) == STATUS_OK &&
           g->ops->vcpu_create(g->machine.engine, 0, &g->vcpu) == STATUS_OK;
}

struct guest *guest_create(void)
{
    struct guest *g = aligned_alloc(64, (sizeof(*g) + 63) / 64 * 64);

    if (!g)
        return NULL;
    memset(g, 0, sizeof(*g));
    g->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g->ram == MAP_FAILED || !start_engine(g)) {
        fprintf(stderr, "fuzz-dbt: the engine does not start\n");
        free(g);
        return NULL;
    }
    g->vcpu->apic_ops = &no_apic;
    g->machine.vcpus[0] = g->vcpu;
    g->cpu = (struct dbt_vcpu *)g->vcpu;
    build_pages(g);
    build_tables(g);
    build_state(g);
    g->stale = true;
    start_watchdog(g);
    return g;
}

void guest_destroy(struct guest *g)
{
    ticking = NULL;
    g->ops->destroy(g->machine.engine);
    munmap(g->ram, RAM_SIZE);
    free(g);
}

void guest_set_read_only(struct guest *g, const uint8_t page[4096])
{
    memcpy(g->ram + AT_DATA + DATA_READ_ONLY * PAGE, page, PAGE);
}

void guest_set_code(struct guest *g, const uint8_t *code)
{
    memcpy(g->ram + AT_CODE, code, CODE_AREA);
    memory_wrote(&g->machine.memory, AT_CODE, CODE_AREA);
}

const uint8_t *guest_data(const struct guest *g, unsigned i)
{
    return g->ram + AT_DATA + i * PAGE;
}

void guest_figures(const struct guest *g, uint64_t *translations, uint64_t *moves, uint64_t *flushes)
{
    struct engine_statistics s;

    g->ops->statistics(g->machine.engine, &s);
    *translations = s.translations;
    *moves = s.moves;
    *flushes = s.flushes;
}

/* ---- one case ---- */

/* The whole state through the front door; TLBs are empty then. */
static void load_all(struct guest *g, const struct image *start)
{
    struct cpu_state *s = &g->state;

    memcpy(s->gpr, start->gpr, sizeof(s->gpr));
    s->rip = start->rip;
    s->rflags = start->rflags;
    s->segment[SEG_FS].base = start->fs_base;
    s->segment[SEG_GS].base = start->gs_base;
    memset(s->xsave, 0, sizeof(s->xsave));
    memcpy(s->xsave, start->xsave, sizeof(start->xsave));
    s->cr2 = 0;
    if (g->ops->set_state(g->vcpu, s) != STATUS_OK)
        fprintf(stderr, "fuzz-dbt: set_state() failed\n");
}

/* What a case may have changed, straight into the vCPU, so that its TLBs stay as they are. */
static void load_registers(struct guest *g, const struct image *start)
{
    struct dbt_vcpu *c = g->cpu;

    memcpy(c->gpr, start->gpr, sizeof(c->gpr));
    memcpy(c->segment, g->state.segment, sizeof(c->segment));
    c->segment[SEG_FS].base = start->fs_base;
    c->segment[SEG_GS].base = start->gs_base;
    c->rip = start->rip;
    rflags_set(c, start->rflags);
    memcpy(c->xsave, start->xsave, sizeof(start->xsave));
    c->vector_live = 0;
    c->cr2 = 0;
    c->dr[6] = DR6_RESET;
    c->cpl = 3;
    c->halted = 0;
    c->interrupt_shadow = 0;
    c->exception_pending = 0;
    mode_update(c);
}

/* The exception that ended it: from the handler that was reached and the frame on its stack. */
static void read_frame(const struct guest *g, struct outcome *out)
{
    uint64_t top = AT_STACK + PAGE;

    out->trap = (out->image.rip - 1 - (KERNEL + AT_HANDLERS)) / 2;
    out->image.gpr[GPR_RSP] = peek(g, top - 16);
    out->image.rflags = peek(g, top - 24);
    out->image.rip = peek(g, top - 40);
    out->error = vector_has_error((unsigned)out->trap) ? peek(g, top - 48) : 0;
}

void guest_run(struct guest *g, const struct one_case *one, const uint8_t *pattern, struct outcome *out)
{
    static struct cpu_state end;
    enum vcpu_exit exit;

    memcpy(g->ram + AT_DATA, pattern, 2 * PAGE);
    memcpy(g->ram + AT_DATA + 3 * PAGE, pattern + 3 * PAGE, PAGE);
    if (one->reload || g->stale)
        load_all(g, &one->start);
    else
        load_registers(g, &one->start);
    g->stale = false;
    ticks = 0;
    atomic_fetch_and(&g->vcpu->attention, ~(uint32_t)ATTENTION_PAUSE); /* from a wait before */
    exit = g->ops->run(g->vcpu);
    g->ops->get_state(g->vcpu, &end);
    memcpy(out->image.gpr, end.gpr, sizeof(end.gpr));
    out->image.rip = end.rip;
    out->image.rflags = end.rflags;
    out->image.fs_base = end.segment[SEG_FS].base;
    out->image.gs_base = end.segment[SEG_GS].base;
    memcpy(out->image.xsave, end.xsave, sizeof(out->image.xsave));
    out->cr2 = end.cr2;
    if (exit == VCPU_EXIT_HALT && end.rip - (KERNEL + AT_HANDLERS) <= 512) {
        read_frame(g, out);
        return;
    }
    g->stale = true;
    atomic_fetch_and(&g->vcpu->attention, ~(uint32_t)ATTENTION_PAUSE);
    out->trap = exit == VCPU_EXIT_ATTENTION ? TRAP_HANG : TRAP_LOST;
}
