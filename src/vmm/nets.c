#include "vmm/nets.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "port/log.h"
#include "vmm/spec.h"

static bool port_parse(const char *text, uint16_t *port)
{
    unsigned long value;
    char *end;

    if (text[0] < '0' || text[0] > '9')
        return false;
    value = strtoul(text, &end, 10);
    *port = (uint16_t)value;
    return *end == '\0' && value >= 1 && value <= UINT16_MAX;
}

/* PROTOCOL:[ADDRESS:]HOSTPORT:GUESTPORT; text is cut up. */
static bool forward_parse(char *text, struct net_forward *forward)
{
    char *parts[4] = {0};
    unsigned count = 0;

    while (text && count < 4)
        parts[count++] = strsep(&text, ":");
    if (text || count < 3)
        return false;
    *forward = (struct net_forward){.udp = strcmp(parts[0], "udp") == 0, .address.s_addr = htonl(INADDR_LOOPBACK)};
    return (forward->udp || strcmp(parts[0], "tcp") == 0) &&
           (count == 3 || inet_pton(AF_INET, parts[1], &forward->address) == 1) &&
           port_parse(parts[count - 2], &forward->host_port) && port_parse(parts[count - 1], &forward->guest_port);
}

static enum status take_forward(struct net_spec *spec, const char *value)
{
    struct net_slirp_config *user = &spec->user;
    char *copy = strdup(value);
    bool valid;

    if (user->forward_count == NET_FORWARDS) {
        log_error("--net: there may be %d forwards", (int)NET_FORWARDS);
        free(copy);
        return STATUS_INVALID;
    }
    valid = copy && forward_parse(copy, &user->forwards[user->forward_count]);
    free(copy);
    if (!valid) {
        log_error("--net: forward=%s is not tcp:HOSTPORT:GUESTPORT, tcp:ADDRESS:HOSTPORT:GUESTPORT or one with udp",
                  value);
        return STATUS_INVALID;
    }
    user->forward_count++;
    return STATUS_OK;
}

static int digit_of(char digit)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = digit ? strchr(digits, digit | ('a' ^ 'A')) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* Six bytes, of a single card. */
static enum status take_mac(struct net_spec *spec, const char *value)
{
    bool valid = strlen(value) == 3 * PACKET_MAC - 1;

    for (unsigned i = 0; valid && i < PACKET_MAC; i++) {
        int high = digit_of(value[3 * i]), low = digit_of(value[3 * i + 1]);

        valid = high >= 0 && low >= 0 && (i == PACKET_MAC - 1 || value[3 * i + 2] == ':');
        if (valid)
            spec->mac[i] = (uint8_t)(high << 4 | low);
    }
    if (!valid || spec->mac[0] & 1 || memcmp(spec->mac, "\0\0\0\0\0", PACKET_MAC) == 0) {
        log_error("--net: mac=%s is not the address of a card, like 52:54:00:12:34:56", value);
        return STATUS_INVALID;
    }
    spec->has_mac = true;
    return STATUS_OK;
}

static enum status take_name(const char *what, const char *value, char name[NET_NAME + 1])
{
    size_t length = strlen(value);

    if (length < 1 || length > NET_NAME) {
        log_error("--net: %s=%s is not a name of 1 to %d bytes", what, value, (int)NET_NAME);
        return STATUS_INVALID;
    }
    memcpy(name, value, length + 1);
    return STATUS_OK;
}

static enum status take_word(struct net_spec *spec, const char *word)
{
    bool user = spec->kind == NET_USER;
    const char *value;

    if (spec->kind != NET_NONE && (value = spec_value(word, "mac")))
        return take_mac(spec, value);
    if (user && (value = spec_value(word, "forward")))
        return take_forward(spec, value);
    if (user && (value = spec_value(word, "hostname")))
        return take_name("hostname", value, spec->hostname);
    if (user && strcmp(word, "restrict") == 0) {
        spec->user.restricted = true;
        return STATUS_OK;
    }
    log_error("--net: '%s' is not known (there are: user[,forward=tcp:HOSTPORT:GUESTPORT][,mac=MAC][,restrict]"
              "[,hostname=NAME], tap=INTERFACE[,mac=MAC], none)",
              word);
    return STATUS_INVALID;
}

static enum status take_kind(struct net_spec *spec, const char *word)
{
    const char *interface = spec_value(word, "tap");

    if (interface) {
        spec->kind = NET_TAP;
        return take_name("tap", interface, spec->interface);
    }
    if (strcmp(word, "none") == 0)
        return STATUS_OK;
    spec->kind = NET_USER;
    return strcmp(word, "user") == 0 ? STATUS_OK : take_word(spec, word);
}

enum status vmm_net_parse(const char *text, struct net_spec *spec)
{
    char *copy = strdup(text), *rest = copy;
    enum status status;

    *spec = (struct net_spec){.kind = NET_NONE};
    if (!copy) {
        log_error("no memory for network %s", text);
        return STATUS_NO_MEMORY;
    }
    status = take_kind(spec, strsep(&rest, ","));
    while (rest && status == STATUS_OK)
        status = take_word(spec, strsep(&rest, ","));
    free(copy);
    return status;
}

/* The same for the same name and number, in the range of addresses that nobody gives out (the bit 2 of the first). */
static void derive_mac(const char *machine, unsigned number, uint8_t mac[PACKET_MAC])
{
    uint64_t hash = 0xcbf29ce484222325; /* FNV-1a, 64 bits */

    for (; *machine; machine++)
        hash = (hash ^ (uint8_t)*machine) * 0x100000001b3;
    hash = (hash ^ number) * 0x100000001b3;
    mac[0] = 2;
    for (unsigned i = 1; i < PACKET_MAC; i++)
        mac[i] = (uint8_t)(hash >> (8 * i));
}

enum status vmm_net_open(const char *text, const char *machine, unsigned number, unsigned pairs, struct vmm_net *net)
{
    struct net_spec *spec = malloc(sizeof(*spec));
    enum status status;

    *net = (struct vmm_net){0};
    if (!spec) {
        log_error("no memory for network %s", text);
        return STATUS_NO_MEMORY;
    }
    status = vmm_net_parse(text, spec);
    if (spec->has_mac)
        memcpy(net->mac, spec->mac, sizeof(net->mac));
    else
        derive_mac(machine, number, net->mac);
    if (status == STATUS_OK && spec->kind == NET_USER) {
        spec->user.hostname = spec->hostname[0] ? spec->hostname : NULL;
        status = net_slirp_open(&spec->user, &net->slirp);
        net->network = status == STATUS_OK ? net_slirp_network(net->slirp) : NULL;
    } else if (status == STATUS_OK && spec->kind == NET_TAP) {
        status = net_tap_open(spec->interface, pairs, &net->tap);
        net->network = status == STATUS_OK ? net_tap_network(net->tap) : NULL;
    }
    free(spec);
    return status;
}

enum status vmm_net_start(struct vmm_net *net, bool (*enter_slirp)(void), bool (*enter_tap)(void))
{
    if (net->slirp)
        return net_slirp_start(net->slirp, enter_slirp);
    return net->tap ? net_tap_start(net->tap, enter_tap) : STATUS_OK;
}

void vmm_net_attach(struct vmm_net *net, struct lock *machine_lock)
{
    if (net->slirp)
        net_slirp_attach(net->slirp, machine_lock);
    if (net->tap)
        net_tap_attach(net->tap, machine_lock);
}

void vmm_net_close(struct vmm_net *net)
{
    net_slirp_close(net->slirp);
    net_tap_close(net->tap);
    *net = (struct vmm_net){0};
}
