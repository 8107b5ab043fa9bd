/*
 * Translation of one block: decode, decide, emit. Private to decode.c, copy.c and translate*.c.
 *
 * A block is decoded first (decode.c), its flags' liveness is found backwards, then each
 * instruction is emitted: copied with its memory operand replaced (copy.c, translate_memory.c),
 * or as a branch (translate_flow.c), or as a call to a helper. Code for misses comes out of line
 * behind the block's end.
 */
#ifndef LODGE_ENGINE_DBT_TRANSLATE_H
#define LODGE_ENGINE_DBT_TRANSLATE_H

#include <Zydis/Zydis.h>

#include "engine/dbt/descriptor.h"
#include "engine/dbt/emit.h"
#include "engine/dbt/engine.h"
#include "engine/dbt/thunks.h"

enum { BLOCK_INSNS = 64, BLOCK_EXITS = 4, BLOCK_SLOW = 2 * BLOCK_INSNS, BLOCK_MOVES = 8 * BLOCK_INSNS };

/* The flags that host code of ours may clobber and that liveness is about; DF is never touched. */
#define LIVE_FLAGS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

enum op_kind {
    OP_COPY,          /* as it is, operands renamed, at most one memory operand */
    OP_HELPER,
    OP_NOP,
    OP_LEA,
    OP_MOFFS,         /* mov between rAX and [offset] */
    OP_BIT_STRING,    /* BT family with a register index into memory */
    OP_CLI,           /* at CPL 0 */
    OP_STI,
    OP_STAC,          /* or CLAC, under SMAP; ends the block */
    OP_SWAPGS,
    OP_PUSHF,
    OP_PUSH,
    OP_POP,
    OP_LEAVE,
    OP_JUMP,          /* direct */
    OP_JCC,
    OP_LOOP,          /* LOOPcc, JrCXZ */
    OP_CALL,          /* direct */
    OP_JUMP_INDIRECT,
    OP_CALL_INDIRECT,
    OP_RET,
    OP_UNDEFINED,     /* no instruction: #UD, or #GP if it is longer than 15 bytes */
};

/* Register fields of an encoding, REX/VEX/EVEX extensions applied. */
struct fields {
    uint8_t reg, rm, vvvv, embedded;
};

struct op {
    ZydisDecodedInstruction z;
    ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];
    const ZydisDecodedOperand *memory; /* the explicit memory operand, or NULL */
    struct insn insn;
    struct fields fields;
    uint64_t rip;
    uint64_t target;          /* of a direct branch */
    enum op_kind kind;
    helper_fn *helper;
    bool helper_ends;
    bool reads_memory, writes_memory, locked;
    bool aligned;             /* its memory operand must be */
    bool waits;               /* an x87 or MMX instruction that reports pending exceptions */
    uint32_t mask;            /* ACCESS_MASKED and what goes with it, or 0 */
    uint8_t memory_size;
    uint8_t vector;           /* of OP_UNDEFINED */
    uint32_t flags_read;      /* must be in host RFLAGS before it */
    uint32_t flags_killed;    /* overwritten whatever happens */
    uint32_t flags_touched;   /* may change */
    uint32_t live_in, live_out;
};

/* Where the guest's arithmetic flags are at a point of the emitted code. */
enum flags_place { FLAGS_HOST, FLAGS_SAVED };

/* An access whose TLB miss is handled out of line. */
struct slow {
    const struct op *op;
    void (*body)(struct translator *t, const struct op *op);
    uint8_t *hole;            /* of the jump there */
    uint8_t *resume;
    uint32_t descriptor;
    enum flags_place flags;
    unsigned group;           /* instructions under one check (translate_group.c); 0: an access with a body */
};

struct exit_record {
    uint8_t *hole;
    uint32_t number;
};

/* [base + index + displacement]; index is HOST_S2 or HOST_NONE */
struct host_address {
    int base, index;
    int32_t displacement;
};

struct translator {
    ZydisDecoder decoder[3];  /* by MODE_16, MODE_32, MODE_64 */
    uint16_t *helper_index;   /* by mnemonic: 1 + index in helpers, or 0 */
    const struct helper_entry *helpers;

    /* The block at hand. */
    struct dbt_vcpu *c;
    struct code_cache *cache;
    struct emitter e;
    struct block *block;
    uint32_t mode;
    const uint8_t *page;      /* host address of the guest page that it starts on */
    enum flags_place flags;
    struct host_address operand_at; /* where the memory operand is once the TLB check has passed */
    struct op ops[BLOCK_INSNS];
    unsigned count;
    uint64_t end_rip;         /* behind the last instruction */
    struct insn_map map[BLOCK_INSNS + 1];
    bool saved_before[BLOCK_INSNS]; /* the flags were in saved_flags when the instruction's first access was made */
    struct slow slow[BLOCK_SLOW];
    unsigned slow_count;
    struct exit_record exits[BLOCK_EXITS];
    unsigned exit_count;
    struct move moves[BLOCK_MOVES];
    unsigned move_count;
    bool fixed;               /* it cannot be moved */
    uint8_t *verify_hole[2];  /* the entry's jumps out of line; NULL: none */
    uint8_t *attention_hole;
    uint8_t *indirect_hole;   /* of the host call that an indirect call makes to its lookup */
    uint8_t *canonical_hole, *canonical_resume; /* of the one indirect branch that a block can have */
    uint32_t entry_live;      /* flags that the block needs from whoever comes before */
    uint32_t return_live;     /* flags that the code behind a call needs */
};

/* decode.c */
enum status decode_init(struct translator *t) MUST_CHECK;
void decode_destroy(struct translator *t);
/* Decode the instruction at `bytes` (of which `room` may be read). False: it does not fit in room. */
bool decode_op(struct translator *t, struct op *op, const uint8_t *bytes, unsigned room, uint64_t rip);
/* Flags that code at rip may read before it overwrites them; looks a few instructions ahead on the block's first page. */
uint32_t decode_peek(struct translator *t, uint64_t rip, unsigned which);

/* copy.c: emit the instruction with its registers mapped and its memory operand at t->operand_at. */
void copy_op(struct translator *t, const struct op *op);
/* Does it name one of AH, CH, DH, BH? */
bool copy_uses_high_byte(const struct op *op);

/* relocate.c: what was written last, the `bytes` before t->e.at, is to be changed when the block is moved. */
void note_move(struct translator *t, enum move_kind kind, unsigned bytes);
/* emit_mov_imm() of an address that moves with the block. */
void emit_mov_rip(struct translator *t, unsigned to, uint64_t value);
/* Once it is written: can relocate_block() take it? */
bool block_is_movable(const struct translator *t);

/* translate_memory.c */
void emit_access(struct translator *t, const struct op *op, uint32_t descriptor,
                 void (*body)(struct translator *t, const struct op *op));
void emit_address(struct translator *t, const struct op *op, int32_t extra);
uint32_t operand_descriptor(const struct translator *t, const struct op *op);
void emit_slow_paths(struct translator *t);
void emit_flags_save(struct translator *t);
void emit_flags_restore(struct translator *t);
/* Make host RFLAGS right if any of `needed` is. */
void emit_flags_need(struct translator *t, uint32_t needed);
/* Guest register to the host register `to` (full width), and back. */
void emit_load_guest(struct translator *t, unsigned to, unsigned guest);
void emit_store_guest(struct translator *t, unsigned guest, unsigned from);
unsigned stack_size(const struct translator *t);
void emit_stack_address(struct translator *t, int32_t delta);
void emit_stack_adjust(struct translator *t, int32_t delta);
uint32_t stack_descriptor(const struct translator *t, unsigned size, uint32_t kind);
void emit_move_sized(struct translator *t, unsigned opcode, unsigned reg, unsigned base, unsigned size);

/*
 * shared.c: code that many blocks call or jump to, written once at the start of the cache. MEMORY: `detail` is the
 * access descriptor; takes the XORed address back, loads the descriptor and goes to the thunk. LOOKUP: the whole
 * TLB check, and the thunk only on a miss.
 */
enum shared { SHARED_LOOKUP_USER, SHARED_LOOKUP_KERNEL, SHARED_LOOKUP_KERNEL_AC, SHARED_MEMORY_USER, SHARED_MEMORY_KERNEL, SHARED_MEMORY_KERNEL_AC, SHARED_MEMORY_PLAIN, SHARED_POST,
              SHARED_CHAIN, SHARED_ATTENTION, SHARED_INDIRECT, SHARED_HELPER, SHARED_HELPER_END, SHARED_RAISE };
void emit_call_shared(struct translator *t, enum shared kind, uint32_t detail);
void emit_jump_shared(struct translator *t, enum shared kind, uint32_t detail);
uint32_t tlb_offset(unsigned mmu, size_t member);
uint32_t tlb_tag_offset(unsigned mmu, uint32_t descriptor);
/*
 * The check itself; returns the hole of the jump taken on a miss, where S1 is XORed and S2 is the entry's offset. On a
 * hit S1 is the host address; or, with `addend`, S2 is what to add to the guest address.
 */
uint8_t *emit_tlb_check(struct emitter *e, unsigned mmu, uint32_t descriptor, bool addend);

/* translate_entry.c: how a block is entered and left */
void emit_entries(struct translator *t);
/* Leave for the block at `target`; `condition` 0..15: if it holds, else go on; 16: always; EXIT_CALL: a host call. */
void emit_exit(struct translator *t, unsigned condition, uint64_t target, uint64_t from);
/* Everything that comes out of line but the slow paths. */
void emit_stubs(struct translator *t);
enum { CONDITION_ALWAYS = 16, EXIT_CALL = 17 };

/* translate_flow.c */
void emit_flow(struct translator *t, const struct op *op);
void emit_helper(struct translator *t, const struct op *op);
/* The rest of a RET whose target is in S1. */
void emit_return(struct translator *t, const struct op *op);

/* translate_system.c */
void emit_stac(struct translator *t, const struct op *op);
void emit_swapgs(struct translator *t);
void emit_pushf(struct translator *t, const struct op *op);
void emit_cli(struct translator *t, const struct op *op);
void emit_sti(struct translator *t, const struct op *op);
void emit_undefined(struct translator *t, const struct op *op);
void emit_canonical_slow(struct translator *t, const struct op *op);

/* The TLB check for `group` instructions from op on; S1 becomes the host address. */
void emit_group_check(struct translator *t, const struct op *op, uint32_t descriptor, unsigned group);
/* The TLB check as a call: S1 is the guest address and becomes the host one; the flags are lost. */
void emit_lookup(struct translator *t, uint32_t descriptor);

/* translate_group.c: emit the run of PUSHes or POPs at index; how many instructions that was, 0 for none. */
unsigned emit_group(struct translator *t, unsigned index);
void emit_group_slow(struct translator *t, const struct slow *slow);

/* translate_stack.c */
void emit_push(struct translator *t, const struct op *op);
void emit_pop(struct translator *t, const struct op *op);
void emit_leave(struct translator *t, const struct op *op);

static inline bool in_64(const struct translator *t)
{
    return (t->mode & MODE_SIZE) == MODE_64;
}

static inline unsigned operand_bytes(const struct op *op)
{
    return op->z.operand_width / 8;
}

static inline uint32_t gpr_offset(unsigned guest)
{
    return OFF_GPR + 8 * guest;
}

#endif
