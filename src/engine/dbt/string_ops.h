/* MOVS, STOS, LODS, CMPS, SCAS with and without REP. */
#ifndef LODGE_ENGINE_DBT_STRING_OPS_H
#define LODGE_ENGINE_DBT_STRING_OPS_H

#include "engine/dbt/state.h"

/* The helper for a string instruction's mnemonic, or NULL. */
helper_fn *string_helper(unsigned mnemonic);

#endif
