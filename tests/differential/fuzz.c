#define _GNU_SOURCE
#include "fuzz.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "compare.h"
#include "generate.h"
#include "random.h"

bool fuzz_open(struct fuzz *f)
{
    memset(f, 0, sizeof(*f));
    if (!forms_find(&f->forms) || !native_open(&f->native))
        return false;
    for (unsigned i = 0; i < CASE_BUFFERS; i++)
        generate_patterns(f->native.shared->batch[i].pattern);
    return true;
}

/* After the child was started: it must not inherit the engine. */
static bool open_guest(struct fuzz *f)
{
    if (f->guest)
        return true;
    f->native.shared->batch[0].count = 0;
    if (!native_start(&f->native, 0, 0) || !native_finish(&f->native, 0))
        return false;
    f->guest = guest_create();
    if (f->guest)
        guest_set_read_only(f->guest, f->native.shared->batch[0].pattern[0] + DATA_READ_ONLY * 4096);
    return f->guest != NULL;
}

void fuzz_close(struct fuzz *f)
{
    native_close(&f->native);
    if (f->guest)
        guest_destroy(f->guest);
}

static uint8_t *code_area(const struct fuzz *f, unsigned buffer)
{
    return f->native.code + buffer * CODE_AREA;
}

static void place_code(const struct fuzz *f, unsigned buffer, const struct sequence *code)
{
    memcpy(code_area(f, buffer) + (code->address - CODE_BASE), code->bytes, code->length);
}

/* ---- what went wrong ---- */

static void disassemble(const struct fuzz *f, const struct sequence *code)
{
    ZydisFormatter formatter;

    ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
    for (unsigned i = 0; i < code->count; i++) {
        const uint8_t *bytes = code->bytes + code->offset[i];
        unsigned length = code->offset[i + 1] - code->offset[i];
        uint64_t address = code->address + code->offset[i];
        ZydisDecodedInstruction z;
        ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
        char text[128] = "?";

        if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(&f->forms.decoder, bytes, length, &z, operands)))
            ZydisFormatterFormatInstruction(&formatter, &z, operands, z.operand_count_visible, text, sizeof(text),
                                            address, NULL);
        printf("  %08" PRIx64 "  ", address);
        for (unsigned at = 0; at < 15; at++)
            printf(at < length ? "%02x" : "  ", at < length ? bytes[at] : 0u);
        printf("  %s\n", text);
    }
}

static void print_start(const struct image *start)
{
    static const char *const names[16] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                          "R8",  "R9",  "R10", "R11", "R12", "R13", "R14", "R15"};
    uint32_t mxcsr;
    uint16_t control, status;

    for (unsigned i = 0; i < 16; i++)
        printf("  %-3s %016" PRIx64 "%s", names[i], start->gpr[i], i % 4 == 3 ? "\n" : "");
    memcpy(&mxcsr, start->xsave + 24, 4);
    memcpy(&control, start->xsave, 2);
    memcpy(&status, start->xsave + 2, 2);
    printf("  RFLAGS %08" PRIx64 "  FS %016" PRIx64 "  GS %016" PRIx64
           "  MXCSR %04x FCW %04x FSW %04x FTW %02x BV %02x\n",
           start->rflags, start->fs_base, start->gs_base, mxcsr, control, status, start->xsave[4], start->xsave[512]);
}

/* One case alone on both sides; true if they agree. */
static bool alone(struct fuzz *f, const struct one_case *one, FILE *report)
{
    enum { buffer = 0 };
    struct batch *batch = &f->native.shared->batch[buffer];
    struct outcome *engine = calloc(1, sizeof(*engine));
    bool same;

    batch->cases[0] = *one;
    batch->count = 1;
    memset(code_area(f, buffer), 0xcc, CODE_AREA);
    place_code(f, buffer, &one->code);
    guest_set_code(f->guest, code_area(f, buffer));
    if (!engine || !native_start(&f->native, buffer, 0) || !native_finish(&f->native, buffer))
        return true;
    guest_run(f->guest, &batch->cases[0], batch->pattern[one->data], engine);
    /* A shortened sequence may loop for long. */
    same = (report == NULL && engine->trap == TRAP_HANG) ||
           compare_case(&f->forms, &batch->cases[0], engine, f->guest, report);
    free(engine);
    return same;
}

static void minimise(struct fuzz *f, struct one_case *one)
{
    bool progress = true;

    while (progress) {
        progress = false;
        for (unsigned i = 0; i < one->code.count && one->code.count > 1; i++) {
            struct one_case less = *one;

            generate_drop(&less.code, i);
            if (!alone(f, &less, NULL)) {
                *one = less;
                progress = true;
                break;
            }
        }
    }
}

static void signature_of(const struct fuzz *f, const struct sequence *code, char text[FUZZ_SIGNATURE])
{
    size_t used = 0;

    text[0] = 0;
    for (unsigned i = 0; i < code->count && used < FUZZ_SIGNATURE; i++) {
        ZydisDecodedInstruction z;

        if (ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&f->forms.decoder, NULL, code->bytes + code->offset[i], 15, &z)))
            used += (size_t)snprintf(text + used, FUZZ_SIGNATURE - used, "%s ", ZydisMnemonicGetString(z.mnemonic));
    }
}

static bool known(struct fuzz *f, const char *signature)
{
    for (unsigned i = 0; i < f->signature_count; i++)
        if (strcmp(f->signatures[i], signature) == 0)
            return true;
    if (f->signature_count < FUZZ_SIGNATURES)
        memcpy(f->signatures[f->signature_count++], signature, FUZZ_SIGNATURE);
    return false;
}

static bool same_answer(const struct outcome *a, const struct outcome *b)
{
    return a->trap == b->trap && a->error == b->error &&
           memcmp(&a->image, &b->image, offsetof(struct image, xsave)) == 0 &&
           memcmp(a->data, b->data, sizeof(a->data)) == 0;
}

static void tell(struct fuzz *f, const struct one_case *one, const char *description)
{
    static struct one_case less;
    char signature[FUZZ_SIGNATURE] = {0};

    less = *one;
    if (alone(f, &less, NULL)) {
        if (!same_answer(&one->native, &f->native.shared->batch[0].cases[0].native)) {
            f->mismatches--; /* an interrupt in the sequence has cost the oracle something: it is no oracle here */
            f->hangs++;
            return;
        }
        printf("mismatch, seed %#" PRIx64 ": not when it runs alone\n%s", one->seed, description);
        disassemble(f, &one->code);
        print_start(&one->start);
        return;
    }
    minimise(f, &less);
    signature_of(f, &less.code, signature);
    if (known(f, signature))
        return;
    printf("mismatch, seed %#" PRIx64 "; the sequence, made as short as it can be:\n", one->seed);
    disassemble(f, &less.code);
    print_start(&less.start);
    alone(f, &less, stdout);
    fflush(stdout);
}

/* ---- batches ---- */

static void make_batch(struct fuzz *f, unsigned buffer, struct random *seeds)
{
    struct batch *batch = &f->native.shared->batch[buffer];

    batch->count = BATCH_CASES;
    for (unsigned slot = 0; slot < CASE_SLOTS; slot++) {
        uint64_t seed = (random_next(seeds) & ~(uint64_t)SEED_BITS) | slot;

        generate_case(&f->forms, &batch->cases[slot], seed);
        generate_case(&f->forms, &batch->cases[slot + CASE_SLOTS], seed | SEED_VARIANT);
    }
    memset(code_area(f, buffer), 0xcc, CODE_AREA);
    for (unsigned slot = 0; slot < CASE_SLOTS; slot++)
        place_code(f, buffer, &batch->cases[slot].code);
}

static void count_executed(struct fuzz *f, const struct one_case *one)
{
    const struct sequence *code = &one->code;
    uint64_t end = one->native.image.rip - code->address;

    for (unsigned i = 0; i < code->count && code->offset[i] < end; i++) {
        ZydisDecodedInstruction z;

        if (ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&f->forms.decoder, NULL, code->bytes + code->offset[i], 15, &z)))
            f->executed[z.mnemonic]++;
    }
}

/* What differs, kept in case it does not happen again. */
static void describe(const struct fuzz *f, const struct one_case *one, const struct outcome *engine, char *text)
{
    FILE *to = fmemopen(text, FUZZ_DESCRIPTION, "w");

    if (!to)
        return;
    compare_case(&f->forms, one, engine, f->guest, to);
    fclose(to);
    text[FUZZ_DESCRIPTION - 1] = 0;
}

/* The engine's turn at a batch that the processor has done. Returns how many disagree; the first few are copied. */
static unsigned judge_batch(struct fuzz *f, unsigned buffer, struct one_case *failures)
{
    static struct outcome engine;
    struct batch *batch = &f->native.shared->batch[buffer];
    unsigned failed = 0;

    guest_set_code(f->guest, code_area(f, buffer));
    for (unsigned i = 0; i < batch->count; i++) {
        const struct one_case *one = &batch->cases[i];

        f->native.shared->current_seed = one->seed;
        if (one->native.trap >= TRAP_HANG) {
            f->hangs++;
            continue;
        }
        guest_run(f->guest, one, batch->pattern[one->data], &engine);
        if (!compare_case(&f->forms, one, &engine, f->guest, NULL) && failed++ < FUZZ_FAILURES) {
            failures[failed - 1] = *one;
            describe(f, one, &engine, f->description[failed - 1]);
        }
        if (i < CASE_SLOTS)
            count_executed(f, one);
    }
    f->cases += batch->count;
    f->native.shared->done = f->cases;
    return failed;
}

static uint64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec;
}

bool fuzz_run(struct fuzz *f, uint64_t seed, uint64_t cases, unsigned seconds)
{
    static struct one_case failures[FUZZ_FAILURES];
    struct random seeds = {random_mix(seed)};
    uint64_t end = now() + seconds;
    unsigned buffer = 0;

    if (!open_guest(f))
        return false;
    make_batch(f, 0, &seeds);
    if (!native_start(&f->native, 0, 0))
        return false;
    for (;;) {
        unsigned other = buffer ^ 1, failed;

        make_batch(f, other, &seeds);
        if (!native_finish(&f->native, buffer) || !native_start(&f->native, other, 0))
            return false;
        failed = judge_batch(f, buffer, failures);
        f->mismatches += failed;
        if (failed) {
            if (!native_finish(&f->native, other))
                return false;
            for (unsigned i = 0; i < failed && i < FUZZ_FAILURES; i++)
                tell(f, &failures[i], f->description[i]);
            if (!f->keep_going && f->mismatches)
                return true;
            make_batch(f, other, &seeds); /* telling has used the buffers */
            if (!native_start(&f->native, other, 0))
                return false;
        }
        if (cases ? f->cases >= cases : now() >= end)
            return native_finish(&f->native, other);
        buffer = other;
    }
}

bool fuzz_one(struct fuzz *f, uint64_t seed)
{
    static struct one_case one;

    if (!open_guest(f))
        return false;
    generate_case(&f->forms, &one, seed);
    f->native.shared->current_seed = seed;
    printf("seed %#" PRIx64 ":\n", seed);
    disassemble(f, &one.code);
    print_start(&one.start);
    fflush(stdout);
    f->cases = 1;
    if (alone(f, &one, stdout)) {
        const struct outcome *native = &f->native.shared->batch[0].cases[0].native;

        printf("the same on both: vector %" PRIu64 " at %#" PRIx64 "\n", native->trap, native->image.rip);
        return true;
    }
    f->mismatches = 1;
    tell(f, &one, "");
    return true;
}

void fuzz_print_coverage(const struct fuzz *f, bool all)
{
    uint64_t translations, moves, flushes;
    unsigned completed = 0;

    for (unsigned i = 0; i < f->forms.mnemonic_count; i++)
        completed += f->executed[f->forms.mnemonics[i]] != 0;
    guest_figures(f->guest, &translations, &moves, &flushes);
    printf("%u of %u mnemonics completed; %" PRIu64 " translations, %" PRIu64 " moves, %" PRIu64
           " flushes of the code cache\n",
           completed, f->forms.mnemonic_count, translations, moves, flushes);
    if (!all)
        return;
    for (unsigned i = 0; i < f->forms.mnemonic_count; i++) {
        unsigned mnemonic = f->forms.mnemonics[i];

        printf("%10" PRIu64 " %s\n", f->executed[mnemonic], ZydisMnemonicGetString((ZydisMnemonic)mnemonic));
    }
}
