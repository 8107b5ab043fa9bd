/* The comma-separated words that options like --disk, --net and --vsock take. */
#ifndef LODGE_VMM_SPEC_H
#define LODGE_VMM_SPEC_H

#include <string.h>

/* The value in word, which is "NAME=VALUE", or NULL: it does not begin with this name and "=". */
static inline const char *spec_value(const char *word, const char *name)
{
    size_t length = strlen(name);

    return strncmp(word, name, length) == 0 && word[length] == '=' ? word + length + 1 : NULL;
}

#endif
