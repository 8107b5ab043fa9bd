/* The engine that lets Linux' KVM run the guest. Works where /dev/kvm does; no privilege but access to it is needed. */
#ifndef LODGE_ENGINE_KVM_KVM_H
#define LODGE_ENGINE_KVM_KVM_H

#include "core/engine.h"

extern const struct engine_ops kvm_engine_ops;

#endif
