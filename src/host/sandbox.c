#include "host/sandbox.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/bits.h"
#include "host/sandbox_internal.h"
#include "port/log.h"

/* Of this process, once and for ever; threads that start later look at it. */
static struct {
    atomic_bool entered;
    bool has_filters;
    struct sandbox sandbox;
} inside;

/* One line for a layer that this host does not give. */
static enum status refused(const struct sandbox *sandbox, const char *what)
{
    if (sandbox->strict) {
        log_error("sandbox: this host refuses %s: %s; --sandbox on does without", what, strerror(errno));
        return STATUS_UNSUPPORTED;
    }
    log_warning("sandbox: this host refuses %s: %s; the machine runs without that", what, strerror(errno));
    return STATUS_OK;
}

static enum status change_user(const struct sandbox *sandbox)
{
    if (!sandbox->changes_user || sandbox_change_user(sandbox->uid, sandbox->gid))
        return STATUS_OK;
    if (!sandbox->user_named)
        return refused(sandbox, "the change to an unprivileged user");
    log_error("--user: cannot become user %u: %s", (unsigned)sandbox->uid, strerror(errno));
    return STATUS_DENIED;
}

static enum status close_files(const struct sandbox *sandbox)
{
    if (sandbox_landlock(sandbox->slirp))
        return STATUS_OK;
    if (sandbox_private_root()) {
        if (sandbox->slirp)
            log_warning(
                "sandbox: this host has no Landlock: the user network's name server, 10.0.2.3, does not answer");
        return sandbox_drop_capabilities(0) ? STATUS_OK : refused(sandbox, "giving up capabilities");
    }
    return refused(sandbox, "Landlock and a root of our own");
}

static enum status prepare_filters(const struct sandbox *sandbox)
{
    inside.sandbox = *sandbox;
    inside.has_filters = sandbox_filter_exists();
    atomic_store(&inside.entered, true);
    if (!inside.has_filters)
        return refused(sandbox, "a filter for system calls (seccomp)");
    sandbox_trap_install();
    return STATUS_OK;
}

/* A bounding set can be emptied only while there is a capability left, and that goes with root's user. */
enum status sandbox_enter(const struct sandbox *sandbox)
{
    const uint64_t to_change_user = BIT64(CAP_SETUID) | BIT64(CAP_SETGID);
    enum status status = STATUS_OK;

    if (sandbox->changes_user && !sandbox_drop_capabilities(to_change_user))
        status = refused(sandbox, "giving up capabilities");
    if (status == STATUS_OK)
        status = change_user(sandbox);
    if (status == STATUS_OK && !sandbox_drop_capabilities(0))
        status = refused(sandbox, "giving up capabilities");
    if (status == STATUS_OK && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        status = refused(sandbox, "giving up new privileges");
    if (status == STATUS_OK)
        status = close_files(sandbox);
    return status == STATUS_OK ? prepare_filters(sandbox) : status;
}

bool sandbox_enter_thread(enum sandbox_thread kind)
{
    if (!atomic_load(&inside.entered) || !inside.has_filters || sandbox_filter_install(kind, &inside.sandbox))
        return true;
    log_error("sandbox: a thread cannot give up system calls: %s", strerror(errno));
    return false;
}

bool sandbox_enter_opener(void)
{
    const struct sandbox sandbox = {0};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && sandbox_filter_install(SANDBOX_OPENER, &sandbox);
}
