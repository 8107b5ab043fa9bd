/* Where a vCPU thread sleeps while its guest is halted or paused. */
#ifndef LODGE_PORT_PARK_H
#define LODGE_PORT_PARK_H

#include <stdint.h>

/*
 * Sleep while *word == expected, until unpark(word). May return early; the caller checks again.
 * The implementation is chosen by linking (host/park.c: a futex).
 */
void park(const uint32_t *word, uint32_t expected);
void unpark(const uint32_t *word);

#endif
