/* The machine under test: one vCPU of the translator, with the cases' pages at their linear addresses. */
#ifndef LODGE_TESTS_DIFFERENTIAL_GUEST_H
#define LODGE_TESTS_DIFFERENTIAL_GUEST_H

#include "case.h"

struct guest;

/* Reports and answers NULL if the engine does not start. */
struct guest *guest_create(void);
void guest_destroy(struct guest *guest);

/* Fill the read-only page. */
void guest_set_read_only(struct guest *guest, const uint8_t page[4096]);

/* New contents of the code area. */
void guest_set_code(struct guest *guest, const uint8_t *code);

/* Run one case. outcome->data is not filled: guest_data() has it. */
void guest_run(struct guest *guest, const struct one_case *one, const uint8_t *pattern, struct outcome *outcome);

/* Mapped data page i. */
const uint8_t *guest_data(const struct guest *guest, unsigned i);

/* The code area at another linear address, too: a multiple of CODE_AREA. For the next case that reloads. */
void guest_see_code_at(struct guest *guest, uint64_t linear);

/* Blocks translated, blocks moved, flushes of the code cache. */
void guest_figures(const struct guest *guest, uint64_t *translations, uint64_t *moves, uint64_t *flushes);

#endif
