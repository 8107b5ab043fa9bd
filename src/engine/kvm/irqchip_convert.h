/*
 * KVM's forms of the interrupt controllers' and the timer's state, to the models' (state/irqchip.h) and back. Pure
 * functions: what comes out of a *_to() is valid for the model, whatever KVM gave.
 */
#ifndef LODGE_ENGINE_KVM_IRQCHIP_CONVERT_H
#define LODGE_ENGINE_KVM_IRQCHIP_CONVERT_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "state/irqchip.h"

/* One 8259A. lines: its inputs as the board drives them. */
void pic_chip_from_kvm(struct pic_chip *chip, const struct kvm_pic_state *kvm, bool master, uint8_t lines);
void pic_chip_to_kvm(struct kvm_pic_state *kvm, const struct pic_chip *chip, bool master);

/* lines: its pins as the board drives them. */
void ioapic_from_kvm(struct ioapic_state *ioapic, const struct kvm_ioapic_state *kvm, uint32_t lines);
void ioapic_to_kvm(struct kvm_ioapic_state *kvm, const struct ioapic_state *ioapic);

/*
 * now_ns: the clock of count_load_time (CLOCK_MONOTONIC); elapsed_ns: how long the machine has run. KVM starts all
 * counters anew when it takes them, so their phase is lost on the way there, and only there.
 */
void pit_from_kvm(struct pit_state *pit, const struct kvm_pit_state2 *kvm, uint64_t now_ns, uint64_t elapsed_ns);
void pit_to_kvm(struct kvm_pit_state2 *kvm, const struct pit_state *pit);

/* apic_base and tsc_deadline are MSRs. identifier: of the vCPU. */
void lapic_from_kvm(struct lapic_state *lapic, const struct kvm_lapic_state *kvm, uint64_t apic_base,
                    uint64_t tsc_deadline);
void lapic_to_kvm(struct kvm_lapic_state *kvm, const struct lapic_state *lapic, uint32_t identifier);

#endif
