/* What every unit test includes: cmocka wants these four before itself. */
#ifndef LODGE_TESTS_UNIT_UNIT_H
#define LODGE_TESTS_UNIT_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
