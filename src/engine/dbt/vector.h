/* Which parts of the processor's extended state the translator carries; see state.h for the calls. */
#ifndef LODGE_ENGINE_DBT_VECTOR_H
#define LODGE_ENGINE_DBT_VECTOR_H

#include "engine/dbt/state.h"

/* x87, SSE, AVX, and AVX-512's opmask, upper halves and upper registers: XCR0 bits. */
#define VECTOR_COMPONENTS 0xe7ull

#endif
