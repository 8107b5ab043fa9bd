#include "debug/registers.h"

#include <stddef.h>
#include <string.h>

#include "base/bits.h"
#include "x86/regs.h"
#include "x86/xsave.h"

/* In the order in which GDB wants them. */
enum x87_register { X87_CONTROL, X87_STATUS, X87_TAG, X87_FCS, X87_FIP, X87_FDS, X87_FDP, X87_OPCODE };

#define CORE "org.gnu.gdb.i386.core"
#define SEGMENTS "org.gnu.gdb.i386.segments"
#define SSE "org.gnu.gdb.i386.sse"
#define AVX "org.gnu.gdb.i386.avx"
#define CONTROL "lodge.x86.control"

#define GPR(name, number, type)                                                                                        \
    {                                                                                                                  \
        name, type, "general", CORE, number, REGISTER_GPR, 8                                                           \
    }
#define GPR32(name, number, type)                                                                                      \
    {                                                                                                                  \
        name, type, "general", CORE, number, REGISTER_GPR, 4                                                           \
    }
#define SELECTOR(name, number)                                                                                         \
    {                                                                                                                  \
        name, "int32", "general", CORE, number, REGISTER_SELECTOR, 4                                                   \
    }
#define X87(name, number)                                                                                              \
    {                                                                                                                  \
        name, "int", "float", CORE, number, REGISTER_X87, 4                                                            \
    }
#define SYSTEM(name, member, type)                                                                                     \
    {                                                                                                                  \
        name, type, "system", CONTROL, offsetof(struct cpu_state, member), REGISTER_SYSTEM, 8                          \
    }
#define SYSTEM32(name, member)                                                                                         \
    {                                                                                                                  \
        name, "uint32", "system", CONTROL, offsetof(struct cpu_state, member), REGISTER_SYSTEM, 4                      \
    }

static const struct register_info general_wide[] = {
    GPR("rax", GPR_RAX, "int64"),
    GPR("rbx", GPR_RBX, "int64"),
    GPR("rcx", GPR_RCX, "int64"),
    GPR("rdx", GPR_RDX, "int64"),
    GPR("rsi", GPR_RSI, "int64"),
    GPR("rdi", GPR_RDI, "int64"),
    GPR("rbp", GPR_RBP, "data_ptr"),
    GPR("rsp", GPR_RSP, "data_ptr"),
    GPR("r8", GPR_R8, "int64"),
    GPR("r9", GPR_R9, "int64"),
    GPR("r10", GPR_R10, "int64"),
    GPR("r11", GPR_R11, "int64"),
    GPR("r12", GPR_R12, "int64"),
    GPR("r13", GPR_R13, "int64"),
    GPR("r14", GPR_R14, "int64"),
    GPR("r15", GPR_R15, "int64"),
    {"rip", "code_ptr", "general", CORE, 0, REGISTER_RIP, 8},
};

static const struct register_info general_narrow[] = {
    GPR32("eax", GPR_RAX, "int32"),
    GPR32("ecx", GPR_RCX, "int32"),
    GPR32("edx", GPR_RDX, "int32"),
    GPR32("ebx", GPR_RBX, "int32"),
    GPR32("esp", GPR_RSP, "data_ptr"),
    GPR32("ebp", GPR_RBP, "data_ptr"),
    GPR32("esi", GPR_RSI, "int32"),
    GPR32("edi", GPR_RDI, "int32"),
    {"eip", "code_ptr", "general", CORE, 0, REGISTER_RIP, 4},
};

static const struct register_info flags_and_selectors[] = {
    {"eflags", "i386_eflags", "general", CORE, 0, REGISTER_FLAGS, 4},
    SELECTOR("cs", SEG_CS),
    SELECTOR("ss", SEG_SS),
    SELECTOR("ds", SEG_DS),
    SELECTOR("es", SEG_ES),
    SELECTOR("fs", SEG_FS),
    SELECTOR("gs", SEG_GS),
};

static const struct register_info x87_control[] = {
    X87("fctrl", X87_CONTROL), X87("fstat", X87_STATUS), X87("ftag", X87_TAG),  X87("fiseg", X87_FCS),
    X87("fioff", X87_FIP),     X87("foseg", X87_FDS),    X87("fooff", X87_FDP), X87("fop", X87_OPCODE),
};

static const struct register_info mxcsr[] = {{"mxcsr", "i386_mxcsr", "vector", SSE, 0, REGISTER_MXCSR, 4}};

static const struct register_info bases[] = {
    {"fs_base", "int64", "general", SEGMENTS, SEG_FS, REGISTER_BASE, 8},
    {"gs_base", "int64", "general", SEGMENTS, SEG_GS, REGISTER_BASE, 8},
};

static const struct register_info control_wide[] = {
    SYSTEM("k_gs_base", kernel_gs_base, "int64"),
    SYSTEM("cr0", cr0, "x86_cr0"),
    SYSTEM("cr2", cr2, "data_ptr"),
    SYSTEM("cr3", cr3, "int64"),
    SYSTEM("cr4", cr4, "x86_cr4"),
    SYSTEM("cr8", cr8, "int64"),
    SYSTEM("efer", efer, "x86_efer"),
};

static const struct register_info control_narrow[] = {SYSTEM32("cr0", cr0), SYSTEM32("cr2", cr2), SYSTEM32("cr3", cr3),
                                                      SYSTEM32("cr4", cr4)};

static const char *const st_names[] = {"st0", "st1", "st2", "st3", "st4", "st5", "st6", "st7"};
static const char *const xmm_names[] = {"xmm0", "xmm1", "xmm2",  "xmm3",  "xmm4",  "xmm5",  "xmm6",  "xmm7",
                                        "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"};
static const char *const ymm_names[] = {"ymm0h", "ymm1h", "ymm2h",  "ymm3h",  "ymm4h",  "ymm5h",  "ymm6h",  "ymm7h",
                                        "ymm8h", "ymm9h", "ymm10h", "ymm11h", "ymm12h", "ymm13h", "ymm14h", "ymm15h"};

static const struct register_info st_all = {NULL, "i387_ext", NULL, CORE, 0, REGISTER_ST, 10};
static const struct register_info xmm_all = {NULL, "vec128", NULL, SSE, 0, REGISTER_XMM, 16};
static const struct register_info ymm_all = {NULL, "uint128", NULL, AVX, 0, REGISTER_YMM_HIGH, 16};

/* Takes the number into the table, or makes it relative to what follows. */
static bool from_table(const struct register_info *table, size_t count, unsigned *number, struct register_info *info)
{
    if (*number < count) {
        *info = table[*number];
        return true;
    }
    *number -= (unsigned)count;
    return false;
}

static bool from_row(const struct register_info *all, const char *const *names, unsigned count, unsigned *number,
                     struct register_info *info)
{
    if (*number < count) {
        *info = *all;
        info->name = names[*number];
        info->index = (uint16_t)*number;
        return true;
    }
    *number -= count;
    return false;
}

#define FROM_TABLE(table) from_table(table, ARRAY_LENGTH(table), &number, info)

bool register_describe(struct register_view view, unsigned number, struct register_info *info)
{
    unsigned vectors = view.wide ? 16 : 8;

    if (view.wide ? FROM_TABLE(general_wide) : FROM_TABLE(general_narrow))
        return true;
    if (FROM_TABLE(flags_and_selectors) || from_row(&st_all, st_names, 8, &number, info) || FROM_TABLE(x87_control) ||
        from_row(&xmm_all, xmm_names, vectors, &number, info) || FROM_TABLE(mxcsr))
        return true;
    if (view.avx && from_row(&ymm_all, ymm_names, vectors, &number, info))
        return true;
    if (view.wide)
        return FROM_TABLE(bases) || FROM_TABLE(control_wide);
    return FROM_TABLE(control_narrow);
}

/* ---- the XSAVE area ---- */

/* A component whose bit in the header is clear is in its initial state, whatever its bytes are. */
static bool is_initial(const struct cpu_state *cpu, uint64_t component)
{
    return !(load_le(cpu->xsave + XSAVE_XSTATE_BV, 8) & component);
}

/* Before a register of the component is written. */
static void materialize(struct cpu_state *cpu, uint64_t component)
{
    if (!is_initial(cpu, component))
        return;
    store_le(cpu->xsave + XSAVE_XSTATE_BV, 8, load_le(cpu->xsave + XSAVE_XSTATE_BV, 8) | component);
    if (component == XCR0_X87) {
        memset(cpu->xsave, 0, XSAVE_MXCSR);
        memset(cpu->xsave + XSAVE_ST, 0, 8 * 16);
        store_le(cpu->xsave + XSAVE_FCW, 2, FCW_FNINIT);
    } else if (component == XCR0_SSE) {
        memset(cpu->xsave + XSAVE_XMM, 0, 16 * 16);
        if (is_initial(cpu, XCR0_AVX))
            store_le(cpu->xsave + XSAVE_MXCSR, 4, MXCSR_RESET);
    } else {
        memset(cpu->xsave + XSAVE_YMM_HIGH, 0, 16 * 16);
        if (is_initial(cpu, XCR0_SSE))
            store_le(cpu->xsave + XSAVE_MXCSR, 4, MXCSR_RESET);
    }
}

static uint64_t x87_word(const struct cpu_state *cpu, unsigned offset, unsigned size)
{
    if (is_initial(cpu, XCR0_X87))
        return offset == XSAVE_FCW ? FCW_FNINIT : 0;
    return load_le(cpu->xsave + offset, size);
}

/* The full tag word; all registers are empty in the initial state. */
static uint64_t tag_word(const struct cpu_state *cpu)
{
    return is_initial(cpu, XCR0_X87) ? 0xffff : x87_tags_expand(cpu->xsave);
}

static const struct {
    uint8_t offset, size;
} x87_fields[] = {
    [X87_CONTROL] = {XSAVE_FCW, 2}, [X87_STATUS] = {XSAVE_FSW, 2}, [X87_TAG] = {XSAVE_FTW, 1},
    [X87_FCS] = {XSAVE_FCS, 2},     [X87_FIP] = {XSAVE_FIP, 4},    [X87_FDS] = {XSAVE_FDS, 2},
    [X87_FDP] = {XSAVE_FDP, 4},     [X87_OPCODE] = {XSAVE_FOP, 2},
};

static void x87_set(struct cpu_state *cpu, unsigned which, uint64_t value)
{
    materialize(cpu, XCR0_X87);
    if (which == X87_TAG)
        value = x87_tags_abridge((uint16_t)value);
    store_le(cpu->xsave + x87_fields[which].offset, x87_fields[which].size, value);
}

/* ---- one register ---- */

static uint64_t system_value(const struct cpu_state *cpu, unsigned offset)
{
    uint64_t value;

    memcpy(&value, (const char *)cpu + offset, sizeof(value));
    return value;
}

static uint64_t mxcsr_value(const struct cpu_state *cpu)
{
    return is_initial(cpu, XCR0_SSE) && is_initial(cpu, XCR0_AVX) ? MXCSR_RESET : load_le(cpu->xsave + XSAVE_MXCSR, 4);
}

static uint64_t small_value(const struct cpu_state *cpu, const struct register_info *info)
{
    switch ((enum register_kind)info->kind) {
    case REGISTER_GPR:
        return cpu->gpr[info->index];
    case REGISTER_RIP:
        return cpu->rip;
    case REGISTER_FLAGS:
        return cpu->rflags;
    case REGISTER_SELECTOR:
        return cpu->segment[info->index].selector;
    case REGISTER_BASE:
        return cpu->segment[info->index].base;
    case REGISTER_SYSTEM:
        return system_value(cpu, info->index);
    case REGISTER_X87:
        return info->index == X87_TAG ? tag_word(cpu)
                                      : x87_word(cpu, x87_fields[info->index].offset, x87_fields[info->index].size);
    default:
        return mxcsr_value(cpu);
    }
}

/* Where one of the registers of more than 8 bytes is, and the component that it belongs to. */
static unsigned vector_place(const struct register_info *info, uint64_t *component)
{
    switch ((enum register_kind)info->kind) {
    case REGISTER_ST:
        *component = XCR0_X87;
        return XSAVE_ST + 16u * info->index;
    case REGISTER_XMM:
        *component = XCR0_SSE;
        return XSAVE_XMM + 16u * info->index;
    default:
        *component = XCR0_AVX;
        return XSAVE_YMM_HIGH + 16u * info->index;
    }
}

void register_get(const struct cpu_state *cpu, const struct register_info *info, uint8_t *bytes)
{
    if (info->size <= 8) {
        store_le(bytes, info->size, small_value(cpu, info));
        return;
    }
    uint64_t component;
    unsigned offset = vector_place(info, &component);

    if (is_initial(cpu, component))
        memset(bytes, 0, info->size);
    else
        memcpy(bytes, cpu->xsave + offset, info->size);
}

/* In real mode a selector is a base; elsewhere it stands for a descriptor, which only the guest can load. */
static bool selector_set(struct cpu_state *cpu, unsigned which, uint64_t value)
{
    struct segment_state *segment = &cpu->segment[which];

    if (value == segment->selector)
        return true;
    if (value > UINT16_MAX || ((cpu->cr0 & CR0_PE) && !(cpu->rflags & RFLAGS_VM)))
        return false;
    segment->selector = (uint16_t)value;
    segment->base = value << 4;
    return true;
}

bool register_set(struct cpu_state *cpu, const struct register_info *info, const uint8_t *bytes)
{
    uint64_t component;
    uint64_t value = info->size <= 8 ? load_le(bytes, info->size) : 0;

    switch ((enum register_kind)info->kind) {
    case REGISTER_GPR:
        cpu->gpr[info->index] = value;
        return true;
    case REGISTER_RIP:
        cpu->rip = value;
        return true;
    case REGISTER_FLAGS:
        cpu->rflags = (cpu->rflags & ~bits_mask(32)) | value | RFLAGS_FIXED;
        return true;
    case REGISTER_SELECTOR:
        return selector_set(cpu, info->index, value);
    case REGISTER_BASE:
        cpu->segment[info->index].base = value;
        return true;
    case REGISTER_SYSTEM:
        memcpy((char *)cpu + info->index, &value, sizeof(value));
        return true;
    case REGISTER_X87:
        x87_set(cpu, info->index, value);
        return true;
    case REGISTER_MXCSR:
        if (value >> 16)
            return false;
        materialize(cpu, XCR0_SSE);
        store_le(cpu->xsave + XSAVE_MXCSR, 4, value);
        return true;
    default: {
        unsigned offset = vector_place(info, &component);

        materialize(cpu, component);
        memcpy(cpu->xsave + offset, bytes, info->size);
        return true;
    }
    }
}
