/* Users and capabilities: capabilities(7), credentials(7). */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bits.h"
#include "host/sandbox_internal.h"
#include "port/log.h"

enum { NOBODY = 65534, CAPABILITIES_MOST = 64 };

static bool parse_number(const char *text, uid_t *number)
{
    char *end;

    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    *number = (uid_t)value;
    return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0 && value < UINT32_MAX;
}

static enum status find_user(struct sandbox *sandbox, const char *user)
{
    const struct passwd *entry = getpwnam(user);
    uid_t number;

    if (!entry && parse_number(user, &number))
        entry = getpwuid(number);
    if (entry) {
        sandbox->uid = entry->pw_uid;
        sandbox->gid = entry->pw_gid;
    } else if (parse_number(user, &number)) {
        sandbox->uid = number;
        sandbox->gid = number;
    } else {
        log_error("--user %s: there is no such user on this host", user);
        return STATUS_NOT_FOUND;
    }
    return STATUS_OK;
}

/* The numbers of nobody and nogroup are the kernel's own; looking them up would take longer than all the rest. */
enum status sandbox_choose_user(struct sandbox *sandbox, const char *user)
{
    sandbox->changes_user = sandbox->user_named = false;
    if (user && strcmp(user, "keep") == 0)
        return STATUS_OK;
    sandbox->user_named = user != NULL;
    if (geteuid() != 0) {
        if (!user)
            return STATUS_OK;
        log_error("--user %s: only root can change to another user", user);
        return STATUS_DENIED;
    }
    sandbox->changes_user = true;
    sandbox->uid = sandbox->gid = NOBODY;
    return user ? find_user(sandbox, user) : STATUS_OK;
}

bool sandbox_change_user(uid_t uid, gid_t gid)
{
    return setgroups(0, NULL) == 0 && setresgid(gid, gid, gid) == 0 && setresuid(uid, uid, uid) == 0;
}

/* The bounding set first, as long as we may; who may not has nothing in it that could be had again. */
bool sandbox_drop_capabilities(uint64_t keep)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct kept[2] = {
        {.effective = (uint32_t)keep, .permitted = (uint32_t)keep},
        {.effective = (uint32_t)(keep >> 32), .permitted = (uint32_t)(keep >> 32)},
    };

    for (unsigned long i = 0; i < CAPABILITIES_MOST && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) == 0; i++)
        ;
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return syscall(SYS_capset, &header, kept) == 0;
}
