/* memcpy and its family. GCC requires them of every environment, freestanding ones too. */
#ifndef LODGE_BASE_MEMORY_H
#define LODGE_BASE_MEMORY_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);
int memcmp(const void *left, const void *right, size_t size);
size_t strlen(const char *string);
int strcmp(const char *left, const char *right);

#endif
