/*
 * The binary translator: an engine that needs no privilege. docs/engine.md tells how it works.
 */
#ifndef LODGE_ENGINE_DBT_DBT_H
#define LODGE_ENGINE_DBT_DBT_H

#include "core/engine.h"

extern const struct engine_ops dbt_engine_ops;

#endif
