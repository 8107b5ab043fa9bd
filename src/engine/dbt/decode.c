#include "engine/dbt/translate.h"

#include <stdlib.h>
#include <string.h>

#include "engine/dbt/debug.h"
#include "engine/dbt/string_ops.h"
#include "engine/dbt/sys.h"
#include "port/log.h"

enum status decode_init(struct translator *t)
{
    static const ZydisMachineMode machine[3] = {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_MACHINE_MODE_LEGACY_32,
                                                ZYDIS_MACHINE_MODE_LONG_64};
    static const ZydisStackWidth width[3] = {ZYDIS_STACK_WIDTH_16, ZYDIS_STACK_WIDTH_32, ZYDIS_STACK_WIDTH_64};
    size_t count;

    t->helper_index = calloc(ZYDIS_MNEMONIC_MAX_VALUE + 1, sizeof(*t->helper_index));
    if (!t->helper_index) {
        log_error("out of memory for the translator's tables");
        return STATUS_NO_MEMORY;
    }
    for (unsigned i = 0; i < 3; i++)
        if (ZYAN_FAILED(ZydisDecoderInit(&t->decoder[i], machine[i], width[i]))) {
            log_error("the instruction decoder (Zydis) does not start: a version other than 4.x?");
            return STATUS_UNSUPPORTED;
        }
    t->helpers = sys_helpers(&count);
    for (size_t i = 0; i < count; i++)
        t->helper_index[t->helpers[i].mnemonic] = (uint16_t)(i + 1);
    return STATUS_OK;
}

void decode_destroy(struct translator *t)
{
    free(t->helper_index);
    t->helper_index = NULL;
}

/* ---- what Zydis says, in our words ---- */

static bool high_byte(ZydisRegister reg)
{
    return reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH;
}

static int gpr_number(ZydisRegister reg)
{
    switch (ZydisRegisterGetClass(reg)) {
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64:
        return ZydisRegisterGetId(reg);
    case ZYDIS_REGCLASS_IP:
        return 16;
    default:
        return -1;
    }
}

static struct fields read_fields(const ZydisDecodedInstruction *z, const uint8_t *bytes)
{
    struct fields f = {z->raw.modrm.reg, z->raw.modrm.rm, 0, z->opcode & 7};
    const uint8_t *p;

    switch (z->encoding) {
    case ZYDIS_INSTRUCTION_ENCODING_LEGACY:
        f.reg |= (uint8_t)(z->raw.rex.R << 3);
        f.rm |= (uint8_t)(z->raw.rex.B << 3);
        f.embedded |= (uint8_t)(z->raw.rex.B << 3);
        break;
    case ZYDIS_INSTRUCTION_ENCODING_VEX:
        p = bytes + z->raw.vex.offset;
        f.reg |= (p[1] & 0x80) ? 0 : 8;
        if (z->raw.vex.size == 3) {
            f.rm |= (p[1] & 0x20) ? 0 : 8;
            f.vvvv = (uint8_t)(~(p[2] >> 3) & 15);
        } else {
            f.vvvv = (uint8_t)(~(p[1] >> 3) & 15);
        }
        break;
    case ZYDIS_INSTRUCTION_ENCODING_EVEX:
        p = bytes + z->raw.evex.offset;
        f.reg |= (uint8_t)(((p[1] & 0x80) ? 0 : 8) | ((p[1] & 0x10) ? 0 : 16));
        f.rm |= (uint8_t)(((p[1] & 0x20) ? 0 : 8) | ((p[1] & 0x40) || z->raw.modrm.mod != 3 ? 0 : 16));
        f.vvvv = (uint8_t)((~(p[2] >> 3) & 15) | ((p[3] & 8) ? 0 : 16));
        break;
    default:
        break;
    }
    return f;
}

/* Their operand is any byte of a line. */
static bool names_cache_line(ZydisMnemonic mnemonic)
{
    return mnemonic == ZYDIS_MNEMONIC_CLFLUSH || mnemonic == ZYDIS_MNEMONIC_CLFLUSHOPT || mnemonic == ZYDIS_MNEMONIC_CLWB;
}

static void find_memory(struct op *op)
{
    op->memory = NULL;
    for (unsigned i = 0; i < op->z.operand_count; i++) {
        const ZydisDecodedOperand *operand = &op->operand[i];

        if (operand->type != ZYDIS_OPERAND_TYPE_MEMORY || operand->visibility != ZYDIS_OPERAND_VISIBILITY_EXPLICIT)
            continue;
        op->memory = operand;
        op->memory_size = (uint8_t)(operand->size / 8 > 64 ? 0 : operand->size / 8);
        if (names_cache_line(op->z.mnemonic))
            op->memory_size = 1;
        op->reads_memory = (operand->actions & ZYDIS_OPERAND_ACTION_MASK_READ) != 0;
        op->writes_memory = (operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
        break;
    }
    op->locked = (op->z.attributes & ZYDIS_ATTRIB_HAS_LOCK) ||
                 (op->z.mnemonic == ZYDIS_MNEMONIC_XCHG && op->memory != NULL);
}

/* Must the memory operand be aligned to its size, whatever CR0.AM says? Faults of the page come second then. */
static bool needs_alignment(const struct op *op)
{
    switch (op->z.mnemonic) {
    case ZYDIS_MNEMONIC_CMPXCHG16B:
    case ZYDIS_MNEMONIC_CVTPD2PI:
    case ZYDIS_MNEMONIC_CVTTPD2PI:
        return true;
    case ZYDIS_MNEMONIC_MOVUPS:
    case ZYDIS_MNEMONIC_MOVUPD:
    case ZYDIS_MNEMONIC_MOVDQU:
    case ZYDIS_MNEMONIC_LDDQU:
    case ZYDIS_MNEMONIC_PCMPESTRI:
    case ZYDIS_MNEMONIC_PCMPESTRM:
    case ZYDIS_MNEMONIC_PCMPISTRI:
    case ZYDIS_MNEMONIC_PCMPISTRM:
        return false;
    default:
        break;
    }
    switch (op->z.meta.exception_class) {
    case ZYDIS_EXCEPTION_CLASS_AVX1:
    case ZYDIS_EXCEPTION_CLASS_E1:
    case ZYDIS_EXCEPTION_CLASS_E1NF:
        return true;
    case ZYDIS_EXCEPTION_CLASS_SSE1:
    case ZYDIS_EXCEPTION_CLASS_SSE2:
    case ZYDIS_EXCEPTION_CLASS_SSE4:
        return op->memory_size == 16 && op->z.meta.isa_ext != ZYDIS_ISA_EXT_SHA;
    default:
        return false;
    }
}

/* How many mask bits decide about a broadcast's one or few elements; 0: no broadcast. */
static unsigned broadcast_count(ZydisBroadcastMode mode)
{
    switch (mode) {
    case ZYDIS_BROADCAST_MODE_1_TO_2: return 2;
    case ZYDIS_BROADCAST_MODE_1_TO_4: case ZYDIS_BROADCAST_MODE_2_TO_4: return 4;
    case ZYDIS_BROADCAST_MODE_1_TO_8: case ZYDIS_BROADCAST_MODE_2_TO_8: case ZYDIS_BROADCAST_MODE_4_TO_8: return 8;
    case ZYDIS_BROADCAST_MODE_1_TO_16: case ZYDIS_BROADCAST_MODE_2_TO_16: case ZYDIS_BROADCAST_MODE_4_TO_16:
    case ZYDIS_BROADCAST_MODE_8_TO_16: return 16;
    case ZYDIS_BROADCAST_MODE_1_TO_32: return 32;
    case ZYDIS_BROADCAST_MODE_1_TO_64: return 64;
    default: return 0;
    }
}

static unsigned log2_of(unsigned value)
{
    unsigned result = 0;

    while (value >> (result + 1))
        result++;
    return result;
}

/* Does it report a pending x87 exception before anything else? */
static bool waits_for_x87(const struct op *op)
{
    if (op->z.mnemonic == ZYDIS_MNEMONIC_FISTTP)
        return true; /* SSE3's */
    if (op->z.meta.isa_ext == ZYDIS_ISA_EXT_X87)
        return op->z.mnemonic != ZYDIS_MNEMONIC_FNSTCW && op->z.mnemonic != ZYDIS_MNEMONIC_FNSTSW;
    for (unsigned i = 0; i < op->z.operand_count_visible; i++)
        if (op->operand[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            ZydisRegisterGetClass(op->operand[i].reg.value) == ZYDIS_REGCLASS_MMX)
            return true;
    return false;
}

static bool masked_move(ZydisMnemonic mnemonic)
{
    return mnemonic == ZYDIS_MNEMONIC_VMASKMOVPS || mnemonic == ZYDIS_MNEMONIC_VMASKMOVPD ||
           mnemonic == ZYDIS_MNEMONIC_VPMASKMOVD || mnemonic == ZYDIS_MNEMONIC_VPMASKMOVQ;
}

static bool packed_move(ZydisMnemonic mnemonic)
{
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_VCOMPRESSPS: case ZYDIS_MNEMONIC_VCOMPRESSPD: case ZYDIS_MNEMONIC_VPCOMPRESSB:
    case ZYDIS_MNEMONIC_VPCOMPRESSW: case ZYDIS_MNEMONIC_VPCOMPRESSD: case ZYDIS_MNEMONIC_VPCOMPRESSQ:
    case ZYDIS_MNEMONIC_VEXPANDPS: case ZYDIS_MNEMONIC_VEXPANDPD: case ZYDIS_MNEMONIC_VPEXPANDB:
    case ZYDIS_MNEMONIC_VPEXPANDW: case ZYDIS_MNEMONIC_VPEXPANDD: case ZYDIS_MNEMONIC_VPEXPANDQ:
        return true;
    default:
        return false;
    }
}

/* Do faults of elements that the mask leaves out not count? (SDM volume 2, 2.8: types with NF, no fault suppression) */
static bool suppresses_faults(const ZydisDecodedInstruction *z)
{
    /* Elements of the result that are made from several of the operand. */
    if (z->mnemonic == ZYDIS_MNEMONIC_VDBPSADBW || z->mnemonic == ZYDIS_MNEMONIC_VCVTNE2PS2BF16 ||
        z->mnemonic == ZYDIS_MNEMONIC_VGF2P8AFFINEQB || z->mnemonic == ZYDIS_MNEMONIC_VGF2P8AFFINEINVQB)
        return false;
    switch (z->meta.exception_class) {
    case ZYDIS_EXCEPTION_CLASS_E1NF:
    case ZYDIS_EXCEPTION_CLASS_E2NF:
    case ZYDIS_EXCEPTION_CLASS_E3NF:
    case ZYDIS_EXCEPTION_CLASS_E4NF:
    case ZYDIS_EXCEPTION_CLASS_E5NF:
    case ZYDIS_EXCEPTION_CLASS_E6NF:
    case ZYDIS_EXCEPTION_CLASS_E9NF:
    case ZYDIS_EXCEPTION_CLASS_E10NF:
    case ZYDIS_EXCEPTION_CLASS_E11NF:
        return false;
    default:
        return true;
    }
}

static uint32_t mask_descriptor(const struct op *op)
{
    const ZydisDecodedInstruction *z = &op->z;
    unsigned element = op->memory ? op->memory->element_size / 8u : 0, count, kind = MASK_ELEMENTS, number;

    if (op->z.mnemonic == ZYDIS_MNEMONIC_VEXTRACTF32X8)
        element = 4; /* Zydis says 2 */
    if (!element || element > 8)
        return 0;
    count = op->memory_size / element;
    if (masked_move(z->mnemonic)) {
        kind = MASK_SIGNS;
        number = op->fields.vvvv & 15u;
    } else {
        if (z->encoding != ZYDIS_INSTRUCTION_ENCODING_EVEX || z->avx.mask.reg <= ZYDIS_REGISTER_K0 ||
            z->avx.mask.reg > ZYDIS_REGISTER_K7 || !suppresses_faults(z))
            return 0;
        number = (unsigned)(z->avx.mask.reg - ZYDIS_REGISTER_K0);
        if (packed_move(z->mnemonic))
            kind = MASK_PACKED;
        else if (broadcast_count(z->avx.broadcast.mode))
            count = broadcast_count(z->avx.broadcast.mode);
    }
    return ACCESS_MASKED | number << ACCESS_MASK_SHIFT | log2_of(element) << ACCESS_ELEMENT_SHIFT |
           log2_of(count) << ACCESS_COUNT_SHIFT | kind << ACCESS_KIND_SHIFT;
}

static uint8_t segment_of(const struct op *op)
{
    static const struct { ZydisInstructionAttributes attribute; uint8_t segment; } overrides[] = {
        {ZYDIS_ATTRIB_HAS_SEGMENT_ES, SEG_ES}, {ZYDIS_ATTRIB_HAS_SEGMENT_CS, SEG_CS}, {ZYDIS_ATTRIB_HAS_SEGMENT_SS, SEG_SS},
        {ZYDIS_ATTRIB_HAS_SEGMENT_DS, SEG_DS}, {ZYDIS_ATTRIB_HAS_SEGMENT_FS, SEG_FS}, {ZYDIS_ATTRIB_HAS_SEGMENT_GS, SEG_GS},
    };

    if (op->memory && op->memory->mem.segment >= ZYDIS_REGISTER_ES && op->memory->mem.segment <= ZYDIS_REGISTER_GS)
        return (uint8_t)(op->memory->mem.segment - ZYDIS_REGISTER_ES);
    for (unsigned i = 0; i < ARRAY_LENGTH(overrides); i++)
        if (op->z.attributes & overrides[i].attribute)
            return overrides[i].segment;
    return SEG_DS;
}

static void fill_immediates(struct insn *insn, const struct op *op)
{
    unsigned found = 0;

    for (unsigned i = 0; i < op->z.operand_count && found < 2; i++) {
        const ZydisDecodedOperand *operand = &op->operand[i];

        if (operand->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
            if (found++ == 0)
                insn->immediate = operand->imm.value.u;
            else
                insn->immediate2 = operand->imm.value.u;
        } else if (operand->type == ZYDIS_OPERAND_TYPE_POINTER) {
            insn->immediate = operand->ptr.offset;
            insn->immediate2 = operand->ptr.segment;
            found = 2;
        }
    }
}

static void fill_insn(struct op *op, const uint8_t *bytes)
{
    const ZydisDecodedInstruction *z = &op->z;
    struct insn *insn = &op->insn;

    memset(insn, 0, sizeof(*insn));
    insn->mnemonic = (uint16_t)z->mnemonic;
    insn->length = z->length;
    memcpy(insn->bytes, bytes, z->length);
    insn->operand_size = z->operand_width / 8;
    insn->address_size = z->address_width / 8;
    insn->segment = segment_of(op);
    insn->base = insn->index = -1;
    if (op->memory) {
        insn->has_memory = 1;
        insn->base = (int8_t)gpr_number(op->memory->mem.base);
        insn->index = (int8_t)gpr_number(op->memory->mem.index);
        insn->scale = op->memory->mem.scale;
        insn->displacement = op->memory->mem.disp.has_displacement ? op->memory->mem.disp.value : 0;
        if (z->raw.modrm.mod == 0 && z->raw.modrm.rm == 4 && z->raw.sib.base == 5 && z->address_width != 16) {
            insn->base = -1; /* REX.B or not: Zydis sees R13 there */
            insn->displacement = z->raw.disp.value;
        }
        insn->memory_size = op->memory_size;
    }
    insn->opcode = z->opcode;
    insn->opcode_map = (uint8_t)z->opcode_map;
    insn->reg = op->fields.reg;
    insn->rm = op->fields.rm;
    insn->vvvv = op->fields.vvvv;
    insn->lock = (z->attributes & ZYDIS_ATTRIB_HAS_LOCK) != 0;
    insn->rep = (z->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE)) != 0;
    insn->repne = (z->attributes & ZYDIS_ATTRIB_HAS_REPNE) != 0;
    for (unsigned i = 0; i < z->operand_count; i++) {
        const ZydisDecodedOperand *operand = &op->operand[i];

        if (operand->type != ZYDIS_OPERAND_TYPE_REGISTER)
            continue;
        if (operand->encoding == ZYDIS_OPERAND_ENCODING_OPCODE)
            insn->reg = op->fields.embedded;
        if (high_byte(operand->reg.value)) {
            insn->high_reg |= operand->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG;
            insn->high_rm |= operand->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM;
        }
    }
    fill_immediates(insn, op);
}

/* ---- flags ---- */

/* Shifts and rotates whose count may be zero leave every flag as it was, and so do repeated comparisons. */
static bool count_may_be_zero(const ZydisDecodedInstruction *z)
{
    if (z->meta.category == ZYDIS_CATEGORY_STRINGOP)
        return (z->attributes & (ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE)) != 0;
    switch (z->mnemonic) {
    case ZYDIS_MNEMONIC_SHL:
    case ZYDIS_MNEMONIC_SHR:
    case ZYDIS_MNEMONIC_SAR:
    case ZYDIS_MNEMONIC_ROL:
    case ZYDIS_MNEMONIC_ROR:
    case ZYDIS_MNEMONIC_RCL:
    case ZYDIS_MNEMONIC_RCR:
    case ZYDIS_MNEMONIC_SHLD:
    case ZYDIS_MNEMONIC_SHRD:
        if (z->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
            return false;
        if (z->opcode == 0xd0 || z->opcode == 0xd1)
            return false;
        return z->raw.imm[0].size == 0 || (z->raw.imm[0].value.u & (z->operand_width == 64 ? 63 : 31)) == 0;
    default:
        return false;
    }
}

/* Flags that the manual calls undefined and processors are known to leave as they were, at least some of them. */
static uint32_t kept_flags(const ZydisDecodedInstruction *z)
{
    switch (z->mnemonic) {
    case ZYDIS_MNEMONIC_BSF:
    case ZYDIS_MNEMONIC_BSR:
    case ZYDIS_MNEMONIC_BT:
    case ZYDIS_MNEMONIC_BTC:
    case ZYDIS_MNEMONIC_BTR:
    case ZYDIS_MNEMONIC_BTS:
    case ZYDIS_MNEMONIC_DIV:
    case ZYDIS_MNEMONIC_IDIV:
    case ZYDIS_MNEMONIC_IMUL:
    case ZYDIS_MNEMONIC_LZCNT:
    case ZYDIS_MNEMONIC_MUL:
    case ZYDIS_MNEMONIC_TZCNT:
        return z->cpu_flags->undefined;
    default:
        return 0;
    }
}

/* Flags that an instruction reads, overwrites for certain, and may change. */
static void flag_effects(const ZydisDecodedInstruction *z, uint32_t *read, uint32_t *killed, uint32_t *touched)
{
    const ZydisAccessedFlags *flags = z->cpu_flags;

    *read = *killed = *touched = 0;
    if (!flags)
        return;
    *read = flags->tested & LIVE_FLAGS;
    *touched = (flags->modified | flags->set_0 | flags->set_1 | flags->undefined) & LIVE_FLAGS;
    *killed = *touched & ~*read & ~kept_flags(z);
    if (count_may_be_zero(z)) {
        *killed = 0;
        *read = LIVE_FLAGS;
    }
}

/* MOV, PUSH and POP are in the table of helpers for their forms with a segment, control or debug register only. */
static bool plain_form(const ZydisDecodedInstruction *z)
{
    switch (z->mnemonic) {
    case ZYDIS_MNEMONIC_MOV:
        return z->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && z->opcode != 0x8c && z->opcode != 0x8e;
    case ZYDIS_MNEMONIC_PUSH:
    case ZYDIS_MNEMONIC_POP:
        return z->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && z->opcode >= 0x50;
    default:
        return false;
    }
}

uint32_t decode_peek(struct translator *t, uint64_t rip, unsigned which)
{
    uint64_t start = t->block->rip & ~(uint64_t)(PAGE_SIZE - 1);
    uint64_t at = rip;
    uint32_t live = 0;
    uint32_t undecided = LIVE_FLAGS;

    if (t->block->page_id[1] || t->block->cs_base || rip - start >= PAGE_SIZE)
        return LIVE_FLAGS;
    for (unsigned i = 0; i < 6 && undecided; i++) {
        ZydisDecodedInstruction z;
        unsigned offset = (unsigned)(at - start);
        uint32_t read;
        uint32_t killed;
        uint32_t touched;

        if (offset >= PAGE_SIZE || debug_stop_at(t->c->dbt, at) ||
            ZYAN_FAILED(ZydisDecoderDecodeInstruction(&t->decoder[t->mode & MODE_SIZE], ZYAN_NULL, t->page + offset,
                                                      PAGE_SIZE - offset, &z)))
            break;
        at += z.length;
        if (t->helper_index[z.mnemonic] && !plain_form(&z))
            break;
        flag_effects(&z, &read, &killed, &touched);
        live |= read & undecided;
        undecided &= ~(killed | read);
        if (z.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE || z.meta.category == ZYDIS_CATEGORY_STRINGOP)
            break;
    }
    if (undecided == LIVE_FLAGS)
        return LIVE_FLAGS; /* nothing learnt, nothing relied on */
    t->block->peek[which].start = (uint16_t)(rip - start);
    t->block->peek[which].length = (uint8_t)(at - rip);
    return live | undecided;
}

/* ---- what to do with an instruction ---- */

/* Extensions that no machine of ours has; the host may have some of them. */
static bool extension_absent(ZydisISAExt extension)
{
    switch (extension) {
    case ZYDIS_ISA_EXT_AMD3DNOW:
    case ZYDIS_ISA_EXT_AMD_INVLPGB:
    case ZYDIS_ISA_EXT_AMX_BF16:
    case ZYDIS_ISA_EXT_AMX_INT8:
    case ZYDIS_ISA_EXT_AMX_TILE:
    case ZYDIS_ISA_EXT_ENQCMD:
    case ZYDIS_ISA_EXT_FMA4:
    case ZYDIS_ISA_EXT_HRESET:
    case ZYDIS_ISA_EXT_KEYLOCKER:
    case ZYDIS_ISA_EXT_KEYLOCKER_WIDE:
    case ZYDIS_ISA_EXT_KNC:
    case ZYDIS_ISA_EXT_KNCE:
    case ZYDIS_ISA_EXT_KNCV:
    case ZYDIS_ISA_EXT_MCOMMIT:
    case ZYDIS_ISA_EXT_MONITOR:
    case ZYDIS_ISA_EXT_MONITORX:
    case ZYDIS_ISA_EXT_MOVDIR:
    case ZYDIS_ISA_EXT_PADLOCK:
    case ZYDIS_ISA_EXT_PCONFIG:
    case ZYDIS_ISA_EXT_PKU:
    case ZYDIS_ISA_EXT_PT:
    case ZYDIS_ISA_EXT_RDPRU:
    case ZYDIS_ISA_EXT_RTM:
    case ZYDIS_ISA_EXT_SERIALIZE:
    case ZYDIS_ISA_EXT_SGX:
    case ZYDIS_ISA_EXT_SGX_ENCLV:
    case ZYDIS_ISA_EXT_SMX:
    case ZYDIS_ISA_EXT_SNP:
    case ZYDIS_ISA_EXT_SVM:
    case ZYDIS_ISA_EXT_TBM:
    case ZYDIS_ISA_EXT_TDX:
    case ZYDIS_ISA_EXT_TSX_LDTRK:
    case ZYDIS_ISA_EXT_UINTR:
    case ZYDIS_ISA_EXT_VMFUNC:
    case ZYDIS_ISA_EXT_VTX:
    case ZYDIS_ISA_EXT_WAITPKG:
    case ZYDIS_ISA_EXT_XOP:
    case ZYDIS_ISA_EXT_XSAVES:
        return true;
    default:
        return false;
    }
}

static bool uses_vector_state(const ZydisDecodedInstruction *z)
{
    switch (z->mnemonic) {
    case ZYDIS_MNEMONIC_LDMXCSR: /* Zydis does not say so of these */
    case ZYDIS_MNEMONIC_STMXCSR:
    case ZYDIS_MNEMONIC_VLDMXCSR:
    case ZYDIS_MNEMONIC_VSTMXCSR:
        return true;
    default:
        break;
    }
    return (z->attributes & (ZYDIS_ATTRIB_FPU_STATE_CR | ZYDIS_ATTRIB_FPU_STATE_CW | ZYDIS_ATTRIB_XMM_STATE_CR |
                             ZYDIS_ATTRIB_XMM_STATE_CW)) != 0 ||
           z->meta.isa_ext == ZYDIS_ISA_EXT_X87 || z->meta.isa_ext == ZYDIS_ISA_EXT_MMX;
}

/* May a vector, x87 or MMX instruction run in this mode? Otherwise a helper raises #NM or #UD as the manual has it. */
static bool vector_off(const struct translator *t, const struct op *op)
{
    const ZydisDecodedInstruction *z = &op->z;
    bool extended = z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX || z->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;
    bool vector = uses_vector_state(z);

    for (unsigned i = 0; i < z->operand_count && !vector; i++) {
        if (op->operand[i].type != ZYDIS_OPERAND_TYPE_REGISTER)
            continue;
        switch (ZydisRegisterGetClass(op->operand[i].reg.value)) {
        case ZYDIS_REGCLASS_X87:
        case ZYDIS_REGCLASS_MMX:
        case ZYDIS_REGCLASS_XMM:
        case ZYDIS_REGCLASS_YMM:
        case ZYDIS_REGCLASS_ZMM:
        case ZYDIS_REGCLASS_MASK:
            vector = true;
            break;
        default:
            break;
        }
    }
    if (!vector)
        return false;
    if (t->mode & MODE_NM)
        return true;
    if (z->meta.isa_ext == ZYDIS_ISA_EXT_X87 || z->meta.isa_ext == ZYDIS_ISA_EXT_MMX)
        return false;
    if (extended && (t->mode & MODE_NO_AVX))
        return true;
    if ((z->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX || z->meta.isa_ext == ZYDIS_ISA_EXT_AVX512VEX) &&
        (t->mode & MODE_NO_AVX512))
        return true;
    return !extended && (t->mode & MODE_NO_SSE);
}

static bool is_jcc(ZydisMnemonic mnemonic)
{
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_JB: case ZYDIS_MNEMONIC_JBE: case ZYDIS_MNEMONIC_JL: case ZYDIS_MNEMONIC_JLE:
    case ZYDIS_MNEMONIC_JNB: case ZYDIS_MNEMONIC_JNBE: case ZYDIS_MNEMONIC_JNL: case ZYDIS_MNEMONIC_JNLE:
    case ZYDIS_MNEMONIC_JNO: case ZYDIS_MNEMONIC_JNP: case ZYDIS_MNEMONIC_JNS: case ZYDIS_MNEMONIC_JNZ:
    case ZYDIS_MNEMONIC_JO: case ZYDIS_MNEMONIC_JP: case ZYDIS_MNEMONIC_JS: case ZYDIS_MNEMONIC_JZ:
        return true;
    default:
        return false;
    }
}

static enum op_kind classify(const struct op *op)
{
    const ZydisDecodedInstruction *z = &op->z;
    bool relative = z->raw.imm[0].is_relative; /* the attribute is also set for RIP-relative memory */

    if (is_jcc(z->mnemonic))
        return OP_JCC;
    if (z->meta.isa_ext == ZYDIS_ISA_EXT_MPX)
        return OP_NOP; /* what they are where MPX is not enabled: no operand is accessed */
    switch (z->mnemonic) {
    case ZYDIS_MNEMONIC_JMP:
        return relative ? OP_JUMP : OP_JUMP_INDIRECT;
    case ZYDIS_MNEMONIC_CALL:
        return relative ? OP_CALL : OP_CALL_INDIRECT;
    case ZYDIS_MNEMONIC_RET:
        return OP_RET;
    case ZYDIS_MNEMONIC_LOOP:
    case ZYDIS_MNEMONIC_LOOPE:
    case ZYDIS_MNEMONIC_LOOPNE:
    case ZYDIS_MNEMONIC_JCXZ:
    case ZYDIS_MNEMONIC_JECXZ:
    case ZYDIS_MNEMONIC_JRCXZ:
        return OP_LOOP;
    case ZYDIS_MNEMONIC_PUSH:
        return OP_PUSH;
    case ZYDIS_MNEMONIC_POP:
        return OP_POP;
    case ZYDIS_MNEMONIC_LEAVE:
        return OP_LEAVE;
    case ZYDIS_MNEMONIC_LEA:
        return OP_LEA;
    case ZYDIS_MNEMONIC_NOP:
        /* 0F 0D with a register: the processor's word whether it is one. */
        return z->opcode_map == ZYDIS_OPCODE_MAP_0F && z->opcode == 0x0d && z->raw.modrm.mod == 3 ? OP_COPY : OP_NOP;
    case ZYDIS_MNEMONIC_ENDBR32:
    case ZYDIS_MNEMONIC_ENDBR64:
    case ZYDIS_MNEMONIC_RDSSPD:
    case ZYDIS_MNEMONIC_RDSSPQ:
    case ZYDIS_MNEMONIC_PREFETCH:
    case ZYDIS_MNEMONIC_PREFETCHNTA:
    case ZYDIS_MNEMONIC_PREFETCHT0:
    case ZYDIS_MNEMONIC_PREFETCHT1:
    case ZYDIS_MNEMONIC_PREFETCHT2:
    case ZYDIS_MNEMONIC_PREFETCHW:
    case ZYDIS_MNEMONIC_PREFETCHWT1:
    case ZYDIS_MNEMONIC_CLDEMOTE:
        return OP_NOP;
    case ZYDIS_MNEMONIC_BT:
    case ZYDIS_MNEMONIC_BTS:
    case ZYDIS_MNEMONIC_BTR:
    case ZYDIS_MNEMONIC_BTC:
        return op->memory && z->opcode != 0xba ? OP_BIT_STRING : OP_COPY;
    case ZYDIS_MNEMONIC_MOV:
        return z->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY && z->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT &&
                       z->opcode >= 0xa0 && z->opcode <= 0xa3
                   ? OP_MOFFS
                   : OP_COPY;
    default:
        return OP_COPY;
    }
}

/*
 * Does the table's helper carry it out? PUSH, POP and MOV are there for their segment, control and
 * debug register forms only.
 */
static bool sys_claims(const struct op *op, unsigned index)
{
    if (!index)
        return false;
    switch (op->z.mnemonic) {
    case ZYDIS_MNEMONIC_PUSH:
    case ZYDIS_MNEMONIC_POP:
    case ZYDIS_MNEMONIC_MOV:
        for (unsigned i = 0; i < op->z.operand_count; i++) {
            ZydisRegisterClass class = op->operand[i].type == ZYDIS_OPERAND_TYPE_REGISTER
                                           ? ZydisRegisterGetClass(op->operand[i].reg.value)
                                           : ZYDIS_REGCLASS_INVALID;

            if (class == ZYDIS_REGCLASS_SEGMENT || class == ZYDIS_REGCLASS_CONTROL || class == ZYDIS_REGCLASS_DEBUG ||
                class == ZYDIS_REGCLASS_TEST)
                return true;
        }
        return false;
    case ZYDIS_MNEMONIC_JMP:
    case ZYDIS_MNEMONIC_CALL:
    case ZYDIS_MNEMONIC_RET:
        return op->z.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
    default:
        return true;
    }
}

/* What has a helper for the general case, but is short enough to be done in place at CPL 0. */
static enum op_kind inline_kind(const struct translator *t, const struct op *op)
{
    if (t->mode & (MODE_USER | MODE_RING12 | MODE_REAL | MODE_STEP))
        return OP_HELPER;
    switch (op->z.mnemonic) {
    case ZYDIS_MNEMONIC_CLI:
        return OP_CLI;
    case ZYDIS_MNEMONIC_STI:
        return OP_STI;
    case ZYDIS_MNEMONIC_STAC:
    case ZYDIS_MNEMONIC_CLAC:
        return t->mode & MODE_SMAP ? OP_STAC : OP_HELPER;
    case ZYDIS_MNEMONIC_SWAPGS:
        return in_64(t) ? OP_SWAPGS : OP_HELPER;
    case ZYDIS_MNEMONIC_PUSHFQ:
        return in_64(t) && op->z.operand_width == 64 ? OP_PUSHF : OP_HELPER;
    default:
        return OP_HELPER;
    }
}

static void choose(struct translator *t, struct op *op)
{
    const ZydisDecodedInstruction *z = &op->z;
    unsigned index = t->helper_index[z->mnemonic];

    op->helper = NULL;
    op->helper_ends = false;
    if (extension_absent(z->meta.isa_ext)) {
        op->kind = OP_UNDEFINED;
        return;
    }
    op->kind = classify(op);
    if (vector_off(t, op)) {
        op->helper = fpu_unavailable;
        op->helper_ends = true;
    } else if (z->meta.category == ZYDIS_CATEGORY_STRINGOP && string_helper(z->mnemonic)) {
        op->helper = string_helper(z->mnemonic); /* MOVSD and CMPSD are names of SSE2 instructions too */
    } else if (sys_claims(op, index)) {
        op->helper = t->helpers[index - 1].run;
        op->helper_ends = t->helpers[index - 1].ends_block;
    }
    if (op->helper)
        op->kind = inline_kind(t, op);
    else if (op->kind == OP_COPY && op->memory && op->memory_size == 0 && (op->reads_memory || op->writes_memory))
        op->kind = OP_UNDEFINED;
}

static uint64_t branch_target(const struct translator *t, const struct op *op)
{
    uint64_t target = op->rip + op->z.length + (uint64_t)op->z.raw.imm[0].value.s;

    if (in_64(t))
        return target;
    return op->z.operand_width == 16 ? (uint16_t)target : (uint32_t)target;
}

bool decode_op(struct translator *t, struct op *op, const uint8_t *bytes, unsigned room, uint64_t rip)
{
    ZyanStatus status = ZydisDecoderDecodeFull(&t->decoder[t->mode & MODE_SIZE], bytes, room, &op->z, op->operand);

    if (status == ZYDIS_STATUS_NO_MORE_DATA && room < ZYDIS_MAX_INSTRUCTION_LENGTH)
        return false;
    op->rip = rip;
    op->memory = NULL;
    op->reads_memory = op->writes_memory = op->locked = op->aligned = op->waits = false;
    op->mask = 0;
    op->memory_size = 0;
    op->flags_read = op->flags_killed = op->flags_touched = 0;
    op->target = 0;
    if (ZYAN_FAILED(status)) {
        memset(&op->insn, 0, sizeof(op->insn));
        op->insn.length = 1;
        op->z.length = 1;
        op->kind = OP_UNDEFINED;
        op->vector = status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG ? VECTOR_GP : VECTOR_UD;
        op->flags_read = op->flags_touched = LIVE_FLAGS;
        return true;
    }
    op->vector = VECTOR_UD;
    find_memory(op);
    op->fields = read_fields(&op->z, bytes);
    if (op->memory) {
        op->aligned = needs_alignment(op);
        op->mask = mask_descriptor(op);
        if (op->writes_memory && op->z.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX)
            op->reads_memory = true; /* a mask may leave some of it */
        op->waits = waits_for_x87(op);
    }
    fill_insn(op, bytes);
    choose(t, op);
    if (op->kind == OP_JUMP || op->kind == OP_JCC || op->kind == OP_CALL || op->kind == OP_LOOP)
        op->target = branch_target(t, op);
    flag_effects(&op->z, &op->flags_read, &op->flags_killed, &op->flags_touched);
    if (op->kind == OP_HELPER || op->kind == OP_UNDEFINED) {
        op->flags_read = LIVE_FLAGS;
        op->flags_killed = 0;
        op->flags_touched = LIVE_FLAGS;
    } else if (op->kind == OP_PUSHF) {
        op->flags_read = LIVE_FLAGS;
        op->flags_killed = op->flags_touched = 0;
    } else if (op->kind == OP_NOP || (op->kind >= OP_CLI && op->kind <= OP_SWAPGS)) {
        op->flags_read = op->flags_killed = op->flags_touched = 0;
    }
    return true;
}
