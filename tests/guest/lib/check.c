#include "lib/check.h"

#include <stdatomic.h>

#include "lib/console.h"
#include "lib/runtime.h"

static const char *group = "start";
static atomic_uint checks, failures, skips;

void test_group(const char *name)
{
    group = name;
    if (option("verbose"))
        print("group %s\n", name);
}

bool skip_on(const char *oracle, const char *reason)
{
    char word[32] = "oracle=";
    unsigned end = 7;

    while (*oracle != 0 && end < sizeof(word) - 1)
        word[end++] = *oracle++;
    word[end] = 0;
    if (!option(word))
        return false;
    skip(reason);
    return true;
}

void skip(const char *reason)
{
    skips++;
    print("SKIP %s: %s\n", group, reason);
}

void fail(const char *format, ...)
{
    va_list arguments;

    failures++;
    print("FAIL %s: ", group);
    va_start(arguments, format);
    print_list(format, arguments);
    va_end(arguments);
    print("\n");
}

void check_at(const char *file, int line, const char *what, bool good)
{
    checks++;
    if (!good)
        fail("%s:%d: %s", file, line, what);
}

void check_equal_at(const char *file, int line, const char *what, uint64_t got, uint64_t want)
{
    checks++;
    if (got != want)
        fail("%s:%d: %s: expected 0x%lx, got 0x%lx", file, line, what, want, got);
}

void test_end(void)
{
    print("%s: %u checks, %u failures, %u skipped\n", test_name, checks, failures, skips);
    guest_exit(failures != 0 || checks == 0);
}
