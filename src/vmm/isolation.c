#include "vmm/isolation.h"

#include <string.h>

#include "base/bits.h"
#include "engine/kvm/kvm.h"
#include "host/footprint.h"
#include "vmm/gdb.h"
#include "vmm/images.h"

static const char *const modes[] = {"on", "off", "strict", NULL};

const char *const *vmm_sandbox_modes(void)
{
    return modes;
}

/* --- the opener --- */

/* Who never starts again, makes no connections and leaves no file behind needs nobody outside. */
static bool needs_opener(const struct vmm_options *options)
{
    return !options->no_reboot || options->gdb || options->vsock;
}

static enum status start_opener(struct isolation *isolation, const struct vmm_options *options)
{
    char gdb[SOCKET_NAME], vsock[VSOCK_PATH];
    struct opener_job job = {0};

    job.count = images_paths(options, job.paths);
    if (gdb_socket_path(options, gdb, sizeof(gdb)))
        job.sockets[ISOLATION_GDB_SOCKET] = gdb;
    if (backends_vsock_path(options, vsock, sizeof(vsock)))
        job.sockets[ISOLATION_VSOCK_SOCKET] = job.ports = vsock;
    return host_opener_start(&isolation->opener, &job);
}

/* A thread that has the machine lock. */
static int vsock_connect(struct vsock_outside *vsock, uint32_t port)
{
    return host_opener_connect(&CONTAINER_OF(vsock, struct isolation, vsock)->opener, port);
}

static void vsock_remove(struct vsock_outside *vsock)
{
    host_opener_remove(&CONTAINER_OF(vsock, struct isolation, vsock)->opener, ISOLATION_VSOCK_SOCKET);
}

struct vsock_outside *isolation_vsock(struct isolation *isolation)
{
    return isolation->wanted ? &isolation->vsock : NULL;
}

enum status isolation_open(struct isolation *isolation, const struct vmm_options *options)
{
    enum status status;

    isolation->wanted = strcmp(options->sandbox, "off") != 0;
    isolation->sandbox.strict = strcmp(options->sandbox, "strict") == 0;
    isolation->vsock = (struct vsock_outside){.connect = vsock_connect, .remove = vsock_remove};
    if (!isolation->wanted)
        return STATUS_OK;
    status = sandbox_choose_user(&isolation->sandbox, options->user);
    return status == STATUS_OK && needs_opener(options) ? start_opener(isolation, options) : status;
}

/* --- going inside --- */

/* The threads of back ends, about themselves. */
static bool enter_disk(void)
{
    return sandbox_enter_thread(SANDBOX_DISK);
}

static bool enter_vsock(void)
{
    return sandbox_enter_thread(SANDBOX_VSOCK);
}

static bool enter_slirp(void)
{
    return sandbox_enter_thread(SANDBOX_SLIRP);
}

static bool enter_tap(void)
{
    return sandbox_enter_thread(SANDBOX_TAP);
}

static const struct backends_enter enter = {
    .disk = enter_disk, .vsock = enter_vsock, .slirp = enter_slirp, .tap = enter_tap};

/* What threads will have to do follows from what is there. */
static void describe(struct sandbox *sandbox, const struct engine_ops *engine, const struct backends *backends)
{
    sandbox->kvm = engine == &kvm_engine_ops;
    sandbox->vsock = backends->vsock != NULL;
    for (unsigned i = 0; i < VMM_NETS; i++) {
        sandbox->slirp |= backends->nets[i].slirp != NULL;
        sandbox->tap |= backends->nets[i].tap != NULL;
    }
}

enum status isolation_enter(struct isolation *isolation, const struct engine_ops *engine, struct backends *backends)
{
    enum status status;

    if (!isolation->wanted)
        return backends_start(backends, &enter);
    footprint_keep();
    describe(&isolation->sandbox, engine, backends);
    isolation->entered = true;
    status = sandbox_enter(&isolation->sandbox);
    if (status == STATUS_OK)
        status = backends_start(backends, &enter);
    if (status == STATUS_OK && !sandbox_enter_thread(SANDBOX_MAIN))
        status = STATUS_DENIED;
    return status;
}

struct host_opener *isolation_opener(struct isolation *isolation)
{
    return isolation->entered ? &isolation->opener : NULL;
}

void isolation_close(struct isolation *isolation)
{
    host_opener_stop(&isolation->opener);
}
