/* No path leads to a file any more: Landlock, or where the kernel has none, a root with nothing in it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bits.h"
#include "host/sandbox_internal.h"

/*
 * linux/landlock.h of the build host may be older than the kernel; documented in the kernel's
 * userspace-api/landlock.rst. All numbers are those of the interface.
 */
enum { RULESET_VERSION = 1, ABI_KNOWN = 6, RULE_PATH_BENEATH = 1 };

#define READ_FILE 4ull

struct ruleset {
    uint64_t files, network, scoped;
};

/* What each version of the interface added; everything it handles is forbidden, but for what a rule allows. */
static const struct {
    size_t size;
    struct ruleset handled;
} versions[ABI_KNOWN + 1] = {
    [1] = {8, {.files = 0x1fff}},                             /* all but those below */
    [2] = {8, {.files = 0x3fff}},                             /* refer: links and renames between folders */
    [3] = {8, {.files = 0x7fff}},                             /* truncate */
    [4] = {16, {.files = 0x7fff, .network = 3}},              /* bind and connect of TCP */
    [5] = {16, {.files = 0xffff, .network = 3}},              /* ioctl of devices that are opened later */
    [6] = {24, {.files = 0xffff, .network = 3, .scoped = 3}}, /* abstract Unix sockets, signals to others */
};

/* What a rule allows below a path, or of a file. */
struct path_rule {
    uint64_t allowed;
    int32_t parent;
} __attribute__((packed));

static void allow_reading(int ruleset, const char *path)
{
    struct path_rule rule = {.allowed = READ_FILE, .parent = open(path, O_PATH | O_CLOEXEC)};

    if (rule.parent < 0)
        return;
    (void)syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0);
    close(rule.parent);
}

/*
 * libslirp reads the list anew when it has changed. Who keeps it elsewhere (systemd-resolved, resolvconf), in a folder
 * for that, replaces it; in /etc the folder has other things, and only the file as it is now can be read.
 */
static void allow_name_servers(int ruleset)
{
    char path[PATH_MAX];
    char *end;

    if (!realpath("/etc/resolv.conf", path))
        return;
    end = strrchr(path, '/');
    if (end != path + strlen("/etc") || strncmp(path, "/etc", strlen("/etc")) != 0)
        *end = '\0';
    allow_reading(ruleset, *path ? path : "/etc/resolv.conf");
}

bool sandbox_landlock(bool slirp)
{
    struct ruleset handled;
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, RULESET_VERSION);

    if (abi < 1)
        return false;
    if (abi > ABI_KNOWN)
        abi = ABI_KNOWN;
    handled = versions[abi].handled;
    if (slirp)
        handled.network = 0;
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &handled, versions[abi].size, 0);
    if (ruleset < 0)
        return false;
    if (slirp)
        allow_name_servers(ruleset);
    bool done = syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
    int error = errno;
    close(ruleset);
    errno = error;
    return done;
}

/* pivot_root(2), "pivot_root(".", ".")": the old root ends up on top of the new one, and is taken away. */
bool sandbox_private_root(void)
{
    if (unshare(CLONE_NEWNS) != 0 && (errno != EPERM || unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0))
        return false;
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("lodge", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, "size=4k") == 0 &&
           chdir("/tmp") == 0 && syscall(SYS_pivot_root, ".", ".") == 0 && umount2(".", MNT_DETACH) == 0 &&
           chdir("/") == 0;
}
