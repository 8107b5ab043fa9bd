/* What counts as the same on both sides. */
#ifndef LODGE_TESTS_DIFFERENTIAL_COMPARE_H
#define LODGE_TESTS_DIFFERENTIAL_COMPARE_H

#include <stdio.h>

#include "case.h"
#include "forms.h"
#include "guest.h"

/* Compare one->native with the engine's outcome and its memory. Differences are described in report, if not NULL. */
bool compare_case(const struct forms *forms, const struct one_case *one, const struct outcome *engine,
                  const struct guest *guest, FILE *report);

#endif
