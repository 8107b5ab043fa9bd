/*
 * Every form of every instruction that the decoder knows: found once at the start by trying all
 * opcodes with all prefixes that select another instruction.
 */
#ifndef LODGE_TESTS_DIFFERENTIAL_FORMS_H
#define LODGE_TESTS_DIFFERENTIAL_FORMS_H

#include <Zydis/Zydis.h>
#include <stdbool.h>
#include <stdint.h>

enum form_encoding { FORM_LEGACY, FORM_VEX, FORM_EVEX };

struct form {
    uint16_t mnemonic;
    uint8_t encoding; /* enum form_encoding */
    uint8_t map;      /* 0 one-byte, 1 0F, 2 0F38, 3 0F3A */
    uint8_t opcode;
    uint8_t prefix;    /* 0 none, 1 66, 2 F3, 3 F2 */
    uint8_t wide;      /* REX.W, VEX.W */
    uint8_t length;    /* VEX.L, EVEX.L'L */
    uint8_t broadcast; /* EVEX.b */
    uint8_t modrm;     /* with mod 0 or 3 */
    bool has_modrm;
    bool vsib;
};

enum { FORMS_PER_MNEMONIC = 24 };

struct forms {
    ZydisDecoder decoder;
    struct form *list[ZYDIS_MNEMONIC_MAX_VALUE + 1]; /* FORMS_PER_MNEMONIC each, or NULL */
    uint16_t count[ZYDIS_MNEMONIC_MAX_VALUE + 1];
    uint16_t mnemonics[ZYDIS_MNEMONIC_MAX_VALUE + 1]; /* those with forms that cases may use */
    unsigned mnemonic_count;
    uint16_t core[ZYDIS_MNEMONIC_MAX_VALUE + 1]; /* of them, the general-purpose ones, */
    unsigned core_count;
    uint16_t x87[ZYDIS_MNEMONIC_MAX_VALUE + 1]; /* and x87's */
    unsigned x87_count;
};

/* False: out of memory, or no decoder. */
bool forms_find(struct forms *forms);

/* May a case contain it? Not what differs by nature, reaches the host's kernel, or is hidden from guests. */
bool forms_allowed(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *operands);

/* Does the machine's CPUID deny it to programs, though a processor may have it? It has #UD in the guest then. */
bool forms_hidden(const ZydisDecodedInstruction *z);

/* Does it store x87 instruction and data pointers, which the engine has none of? Then only at the end of a sequence. */
bool forms_stores_pointers(ZydisMnemonic mnemonic);

#endif
