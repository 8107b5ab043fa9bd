/* What the chipset asks of the machine as a whole. Handed to the devices at construction. */
#ifndef LODGE_DEV_CHIPSET_PLATFORM_H
#define LODGE_DEV_CHIPSET_PLATFORM_H

#include <stdint.h>

/*
 * Each call only notes the wish (machine_end()): the device that called returns and may be called
 * again before the machine has really stopped. Any vCPU thread, machine lock held. A member may be
 * NULL: the wish is then ignored.
 */
struct platform {
    void (*power_off)(void *context);
    void (*reset)(void *context);
    void (*debug_exit)(void *context, uint32_t value);
    void *context;
};

static inline void platform_power_off(const struct platform *platform)
{
    if (platform->power_off)
        platform->power_off(platform->context);
}

static inline void platform_reset(const struct platform *platform)
{
    if (platform->reset)
        platform->reset(platform->context);
}

static inline void platform_debug_exit(const struct platform *platform, uint32_t value)
{
    if (platform->debug_exit)
        platform->debug_exit(platform->context, value);
}

#endif
