#include "forms.h"

#include <stdlib.h>
#include <string.h>

#include "host.h"

/* ---- what may not be in a case ---- */

static bool extension_allowed(ZydisISAExt extension)
{
    switch (extension) {
    /* The machine's CPUID denies them, whatever the processor has. */
    case ZYDIS_ISA_EXT_AMD_INVLPGB:
    case ZYDIS_ISA_EXT_MCOMMIT:
    case ZYDIS_ISA_EXT_MONITOR:
    case ZYDIS_ISA_EXT_MONITORX:
    case ZYDIS_ISA_EXT_PKU:
    case ZYDIS_ISA_EXT_RDPRU:
    case ZYDIS_ISA_EXT_SNP:
    case ZYDIS_ISA_EXT_SVM:
    case ZYDIS_ISA_EXT_VTX:
    case ZYDIS_ISA_EXT_XSAVES:
    /* Encodings of other processors that Zydis knows. */
    case ZYDIS_ISA_EXT_KNC:
    case ZYDIS_ISA_EXT_KNCE:
    case ZYDIS_ISA_EXT_KNCV:
        return false;
    case ZYDIS_ISA_EXT_RDWRFSGS:
        return host_has_fsgsbase();
    default:
        return true;
    }
}

static bool mnemonic_allowed(ZydisMnemonic mnemonic)
{
    switch (mnemonic) {
    /* The host's kernel would answer. */
    case ZYDIS_MNEMONIC_SYSCALL:
    case ZYDIS_MNEMONIC_SYSENTER:
    case ZYDIS_MNEMONIC_VMCALL:
    case ZYDIS_MNEMONIC_VMMCALL:
    case ZYDIS_MNEMONIC_SYSRET:
    case ZYDIS_MNEMONIC_SYSEXIT:
    case ZYDIS_MNEMONIC_SGDT:
    case ZYDIS_MNEMONIC_SIDT:
    case ZYDIS_MNEMONIC_SLDT:
    case ZYDIS_MNEMONIC_STR:
    case ZYDIS_MNEMONIC_SMSW:
    /* Hidden from guests by CPUID. */
    case ZYDIS_MNEMONIC_CLZERO:
    /* Never the same twice, or another machine's. */
    case ZYDIS_MNEMONIC_CPUID:
    case ZYDIS_MNEMONIC_RDTSC:
    case ZYDIS_MNEMONIC_RDTSCP:
    case ZYDIS_MNEMONIC_RDPMC:
    case ZYDIS_MNEMONIC_RDRAND:
    case ZYDIS_MNEMONIC_RDSEED:
    case ZYDIS_MNEMONIC_RDPID:
    case ZYDIS_MNEMONIC_XGETBV:
    /* A hypervisor under the oracle may get its RIP wrong. */
    case ZYDIS_MNEMONIC_INT1:
    /* Descriptor tables. */
    case ZYDIS_MNEMONIC_LAR:
    case ZYDIS_MNEMONIC_LSL:
    case ZYDIS_MNEMONIC_VERR:
    case ZYDIS_MNEMONIC_VERW:
    case ZYDIS_MNEMONIC_LSS:
    case ZYDIS_MNEMONIC_LFS:
    case ZYDIS_MNEMONIC_LGS:
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_IRETQ:
        return false;
    default:
        return true;
    }
}

/*
 * A general register in an EVEX instruction's ModRM.rm has no use for EVEX.X. Where it is set all the same and the
 * register is RSP, some processors read what RSP was before the last CALL or PUSH.
 */
static bool has_stray_extension(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *operands)
{
    if (z->encoding != ZYDIS_INSTRUCTION_ENCODING_EVEX || z->raw.modrm.mod != 3 || z->raw.evex.X)
        return false;
    for (unsigned i = 0; i < z->operand_count; i++) {
        ZydisRegisterClass class = operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER
                                       ? ZydisRegisterGetClass(operands[i].reg.value)
                                       : ZYDIS_REGCLASS_INVALID;

        if (operands[i].encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM &&
            (class == ZYDIS_REGCLASS_GPR8 || class == ZYDIS_REGCLASS_GPR16 || class == ZYDIS_REGCLASS_GPR32 ||
             class == ZYDIS_REGCLASS_GPR64))
            return true;
    }
    return false;
}

/* Not the host kernel's system call, nor what a hypervisor under the oracle makes something else of. */
static bool interrupt_allowed(uint8_t vector)
{
    return vector == 3 || vector == 4 || (vector != 0x80 && host_faults_interrupt(vector));
}

bool forms_allowed(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *operands)
{
    if (!extension_allowed(z->meta.isa_ext) || !mnemonic_allowed(z->mnemonic) || has_stray_extension(z, operands))
        return false;
    if (z->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
        return false;
    if (z->mnemonic == ZYDIS_MNEMONIC_INT && !interrupt_allowed((uint8_t)z->raw.imm[0].value.u))
        return false;
    /* A 16-bit near branch is AMD's alone, and Zydis does not decode it so. */
    if (z->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE && (z->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE))
        return false;
    /* Repeat prefixes change what LOOPcc does, on some processors. */
    for (unsigned i = 0; i < z->raw.prefix_count; i++)
        if (z->opcode >= 0xe0 && z->opcode <= 0xe3 && z->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT &&
            (z->raw.prefixes[i].value == 0xf2 || z->raw.prefixes[i].value == 0xf3))
            return false;
    for (unsigned i = 0; i < z->operand_count; i++)
        if (operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            (operands[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) &&
            ZydisRegisterGetClass(operands[i].reg.value) == ZYDIS_REGCLASS_SEGMENT)
            return false;
    return true;
}

bool forms_hidden(const ZydisDecodedInstruction *z)
{
    switch (z->meta.isa_ext) {
    case ZYDIS_ISA_EXT_ENQCMD:
    case ZYDIS_ISA_EXT_MOVDIR:
    case ZYDIS_ISA_EXT_RTM:
    case ZYDIS_ISA_EXT_SERIALIZE:
    case ZYDIS_ISA_EXT_UINTR:
    case ZYDIS_ISA_EXT_WAITPKG:
        return true;
    default:
        return false;
    }
}

bool forms_stores_pointers(ZydisMnemonic mnemonic)
{
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_FNSTENV:
    case ZYDIS_MNEMONIC_FNSAVE:
    case ZYDIS_MNEMONIC_FXSAVE:
    case ZYDIS_MNEMONIC_FXSAVE64:
    case ZYDIS_MNEMONIC_XSAVE:
    case ZYDIS_MNEMONIC_XSAVE64:
    case ZYDIS_MNEMONIC_XSAVEC:
    case ZYDIS_MNEMONIC_XSAVEC64:
    case ZYDIS_MNEMONIC_XSAVEOPT:
    case ZYDIS_MNEMONIC_XSAVEOPT64:
        return true;
    default:
        return false;
    }
}

/* ---- the search ---- */

static const uint8_t prefix_byte[4] = {0, 0x66, 0xf3, 0xf2};

static unsigned put_legacy(uint8_t *to, const struct form *f)
{
    unsigned n = 0;

    if (f->prefix)
        to[n++] = prefix_byte[f->prefix];
    if (f->wide)
        to[n++] = 0x48;
    if (f->map)
        to[n++] = 0x0f;
    if (f->map == 2)
        to[n++] = 0x38;
    if (f->map == 3)
        to[n++] = 0x3a;
    to[n++] = f->opcode;
    return n;
}

static unsigned put_vex(uint8_t *to, const struct form *f, bool use_vvvv)
{
    to[0] = 0xc4;
    to[1] = (uint8_t)(0xe0 | f->map);
    to[2] = (uint8_t)(f->wide << 7 | (use_vvvv ? 0x68 : 0x78) | f->length << 2 | f->prefix);
    to[3] = f->opcode;
    return 4;
}

static unsigned put_evex(uint8_t *to, const struct form *f, bool use_vvvv, bool use_mask)
{
    to[0] = 0x62;
    to[1] = (uint8_t)(0xf0 | f->map);
    to[2] = (uint8_t)(f->wide << 7 | (use_vvvv ? 0x68 : 0x78) | 4 | f->prefix);
    to[3] = (uint8_t)(f->length << 5 | f->broadcast << 4 | 8 | (use_mask ? 1 : 0));
    to[4] = f->opcode;
    return 5;
}

/* The form as an instruction; the decoder's word for it. */
static bool decodes(struct forms *forms, const struct form *f, bool use_vvvv, bool use_mask, ZydisDecodedInstruction *z,
                    ZydisDecodedOperand *operands)
{
    uint8_t bytes[24];
    unsigned n = f->encoding == FORM_LEGACY ? put_legacy(bytes, f)
                 : f->encoding == FORM_VEX  ? put_vex(bytes, f, use_vvvv)
                                            : put_evex(bytes, f, use_vvvv, use_mask);

    memset(bytes + n, 0, sizeof(bytes) - n);
    bytes[n++] = f->modrm;
    if ((f->modrm & 0xc7) == 4)
        bytes[n++] = 0x0b; /* base rBX, index rCX or vector 1 */
    return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&forms->decoder, bytes, sizeof(bytes), z, operands));
}

static bool same(const struct form *a, const struct form *b)
{
    return a->encoding == b->encoding && a->map == b->map && a->opcode == b->opcode && a->prefix == b->prefix &&
           a->wide == b->wide && a->length == b->length && a->broadcast == b->broadcast &&
           (a->modrm >> 6) == (b->modrm >> 6) &&
           (a->modrm == b->modrm || !a->has_modrm || a->opcode < 0xd8 || a->opcode > 0xdf);
}

static bool general(const ZydisDecodedInstruction *z)
{
    switch (z->meta.isa_ext) {
    case ZYDIS_ISA_EXT_BASE:
    case ZYDIS_ISA_EXT_ADOX_ADCX:
    case ZYDIS_ISA_EXT_BMI1:
    case ZYDIS_ISA_EXT_BMI2:
    case ZYDIS_ISA_EXT_LONGMODE:
    case ZYDIS_ISA_EXT_LZCNT:
    case ZYDIS_ISA_EXT_MOVBE:
    case ZYDIS_ISA_EXT_RDWRFSGS:
    case ZYDIS_ISA_EXT_SMAP:
        return true;
    default:
        return z->mnemonic == ZYDIS_MNEMONIC_CRC32 || z->mnemonic == ZYDIS_MNEMONIC_POPCNT;
    }
}

static bool add(struct forms *forms, struct form *f, const ZydisDecodedInstruction *z,
                const ZydisDecodedOperand *operands)
{
    unsigned *mnemonics = &forms->mnemonic_count;
    uint16_t *count = &forms->count[z->mnemonic];
    struct form **list = &forms->list[z->mnemonic];

    if (!forms_allowed(z, operands))
        return true;
    f->mnemonic = (uint16_t)z->mnemonic;
    f->has_modrm = (z->attributes & ZYDIS_ATTRIB_HAS_MODRM) != 0;
    f->vsib = false;
    for (unsigned i = 0; i < z->operand_count; i++)
        if (operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY && operands[i].mem.type == ZYDIS_MEMOP_TYPE_VSIB)
            f->vsib = true;
    if (*list == NULL) {
        *list = calloc(FORMS_PER_MNEMONIC, sizeof(**list));
        if (*list == NULL)
            return false;
        forms->mnemonics[(*mnemonics)++] = (uint16_t)z->mnemonic;
        if (general(z))
            forms->core[forms->core_count++] = (uint16_t)z->mnemonic;
        if (z->meta.isa_ext == ZYDIS_ISA_EXT_X87)
            forms->x87[forms->x87_count++] = (uint16_t)z->mnemonic;
    }
    for (unsigned i = 0; i < *count; i++)
        if (same(&(*list)[i], f))
            return true;
    if (*count < FORMS_PER_MNEMONIC)
        (*list)[(*count)++] = *f;
    return true;
}

static bool try_form(struct forms *forms, struct form *f)
{
    ZydisDecodedInstruction z;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];

    for (unsigned attempt = 0; attempt < (f->encoding == FORM_LEGACY ? 1 : f->encoding == FORM_VEX ? 2 : 4); attempt++)
        if (decodes(forms, f, (attempt & 1) == 0, (attempt & 2) != 0, &z, operands))
            return add(forms, f, &z, operands);
    return true;
}

/* All ModRM groups; x87 instructions are told apart by rm too. */
static bool try_modrm(struct forms *forms, struct form *f)
{
    bool x87 = f->encoding == FORM_LEGACY && f->map == 0 && f->opcode >= 0xd8 && f->opcode <= 0xdf;
    bool by_rm = x87 || (f->encoding == FORM_LEGACY && f->map == 1 &&
                         (f->opcode == 0x01 || f->opcode == 0xae || f->opcode == 0x1e));

    for (unsigned reg = 0; reg < 8; reg++) {
        f->modrm = (uint8_t)(reg << 3 | 4);
        if (!try_form(forms, f))
            return false;
        for (unsigned rm = 0; rm < (by_rm ? 8 : 1); rm++) {
            f->modrm = (uint8_t)(0xc0 | reg << 3 | rm);
            if (!try_form(forms, f))
                return false;
        }
    }
    return true;
}

static bool is_prefix(unsigned opcode)
{
    return (opcode >= 0x40 && opcode <= 0x4f) || opcode == 0x66 || opcode == 0x67 || opcode == 0xf0 || opcode == 0xf2 ||
           opcode == 0xf3 || opcode == 0x26 || opcode == 0x2e || opcode == 0x36 || opcode == 0x3e || opcode == 0x64 ||
           opcode == 0x65 || opcode == 0x62 || opcode == 0xc4 || opcode == 0xc5 || opcode == 0x0f;
}

static bool search(struct forms *forms, enum form_encoding encoding)
{
    const unsigned lengths = encoding == FORM_LEGACY ? 1 : encoding == FORM_VEX ? 2 : 4;
    struct form f = {.encoding = (uint8_t)encoding};

    for (unsigned which = 0; which < 4u * 4 * 2 * lengths * 2; which++) {
        f.map = (uint8_t)(which & 3);
        f.prefix = (uint8_t)(which >> 2 & 3);
        f.wide = (uint8_t)(which >> 4 & 1);
        f.broadcast = (uint8_t)(which >> 5 & 1);
        f.length = (uint8_t)(which >> 6);
        if ((encoding != FORM_LEGACY && f.map == 0) || (encoding != FORM_EVEX && f.broadcast))
            continue;
        for (unsigned opcode = 0; opcode < 256; opcode++) {
            f.opcode = (uint8_t)opcode;
            if (encoding == FORM_LEGACY &&
                ((f.map == 0 && is_prefix(opcode)) || (f.map == 1 && (opcode == 0x38 || opcode == 0x3a))))
                continue;
            if (!try_modrm(forms, &f))
                return false;
        }
    }
    return true;
}

bool forms_find(struct forms *forms)
{
    memset(forms, 0, sizeof(*forms));
    return ZYAN_SUCCESS(ZydisDecoderInit(&forms->decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)) &&
           search(forms, FORM_LEGACY) && search(forms, FORM_VEX) && search(forms, FORM_EVEX);
}
