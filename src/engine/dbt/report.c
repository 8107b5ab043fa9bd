/* What the log says of a processor that shut down. */
#include "engine/dbt/engine.h"
#include "engine/dbt/run.h"
#include "port/log.h"

typedef unsigned long long ull;

static void report_segments(const struct dbt_vcpu *c)
{
    static const char *const names[SEG_COUNT] = {"ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR"};

    for (unsigned i = 0; i < SEG_COUNT; i++)
        log_error("%-4s %04x base %016llx limit %08x attributes %04x", names[i], c->segment[i].selector,
                  (ull)c->segment[i].base, c->segment[i].limit, c->segment[i].attributes);
}

static void report_exceptions(const struct dbt_vcpu *c)
{
    uint32_t kept =
        c->last_count < ARRAY_LENGTH(c->last_vectors) ? c->last_count : (uint32_t)ARRAY_LENGTH(c->last_vectors);

    for (uint32_t i = c->last_count - kept; i != c->last_count; i++)
        log_error("exception %u at rip %016llx", c->last_vectors[i % ARRAY_LENGTH(c->last_vectors)],
                  (ull)c->last_rips[i % ARRAY_LENGTH(c->last_rips)]);
}

void report_shutdown(const struct dbt_vcpu *c)
{
    static const char *const names[GPR_COUNT] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                                 "r8 ", "r9 ", "r10", "r11", "r12", "r13", "r14", "r15"};

    log_error("triple fault on CPU %u; its registers:", c->vcpu.index);
    log_error("rip %016llx rflags %016llx cpl %u", (ull)c->rip, (ull)rflags_get(c), c->cpl);
    for (unsigned i = 0; i < GPR_COUNT; i += 4)
        log_error("%s %016llx %s %016llx %s %016llx %s %016llx", names[i], (ull)c->gpr[i], names[i + 1],
                  (ull)c->gpr[i + 1], names[i + 2], (ull)c->gpr[i + 2], names[i + 3], (ull)c->gpr[i + 3]);
    log_error("cr0 %016llx cr2 %016llx cr3 %016llx cr4 %016llx efer %016llx", (ull)c->cr0, (ull)c->cr2, (ull)c->cr3,
              (ull)c->cr4, (ull)c->efer);
    log_error("gdt %016llx/%04x idt %016llx/%04x", (ull)c->gdt_base, c->gdt_limit, (ull)c->idt_base, c->idt_limit);
    report_segments(c);
    report_exceptions(c);
}
