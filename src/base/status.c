#include "base/status.h"

const char *status_name(enum status status)
{
    switch (status) {
    case STATUS_OK:
        return "ok";
    case STATUS_INVALID:
        return "invalid";
    case STATUS_NO_MEMORY:
        return "out of memory";
    case STATUS_NOT_FOUND:
        return "not found";
    case STATUS_DENIED:
        return "permission denied";
    case STATUS_UNSUPPORTED:
        return "not supported";
    case STATUS_IO:
        return "input/output error";
    case STATUS_BUSY:
        return "busy";
    case STATUS_CORRUPT:
        return "corrupt";
    case STATUS_EXISTS:
        return "already exists";
    }
    return "unknown";
}
