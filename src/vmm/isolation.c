#include "vmm/isolation.h"

#include <string.h>

#include "engine/kvm/kvm.h"
#include "host/footprint.h"
#include "vmm/gdb.h"
#include "vmm/images.h"

static const char *const modes[] = {"on", "off", "strict", NULL};

const char *const *vmm_sandbox_modes(void)
{
    return modes;
}

/* Who never starts again and leaves no file behind needs nobody outside. */
static enum status start_opener(struct isolation *isolation, const struct vmm_options *options)
{
    char socket[SOCKET_NAME];
    bool has_socket = gdb_socket_path(options, socket, sizeof(socket));
    const char *paths[IMAGES_MOST];

    if (options->no_reboot && !options->gdb)
        return STATUS_OK;
    return host_opener_start(&isolation->opener, paths, images_paths(options, paths), has_socket ? socket : NULL);
}

enum status isolation_open(struct isolation *isolation, const struct vmm_options *options)
{
    enum status status;

    isolation->wanted = strcmp(options->sandbox, "off") != 0;
    isolation->sandbox.strict = strcmp(options->sandbox, "strict") == 0;
    if (!isolation->wanted)
        return STATUS_OK;
    status = sandbox_choose_user(&isolation->sandbox, options->user);
    return status == STATUS_OK ? start_opener(isolation, options) : status;
}

enum status isolation_enter(struct isolation *isolation, const struct engine_ops *engine)
{
    if (!isolation->wanted)
        return STATUS_OK;
    footprint_keep();
    isolation->sandbox.kvm = engine == &kvm_engine_ops;
    isolation->entered = true;
    return sandbox_enter(&isolation->sandbox);
}

struct host_opener *isolation_opener(struct isolation *isolation)
{
    return isolation->entered ? &isolation->opener : NULL;
}

void isolation_close(struct isolation *isolation)
{
    host_opener_stop(&isolation->opener);
}
