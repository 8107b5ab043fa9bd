/* What the files behind debug/debugger.h share. A command writes its answer into debugger->writer. */
#ifndef LODGE_DEBUG_DEBUGGER_INTERNAL_H
#define LODGE_DEBUG_DEBUGGER_INTERNAL_H

#include "debug/debugger.h"

/* Numbers of errors, as GDB prints them: errno values of Linux, by custom. */
enum { ERROR_IO = 5, ERROR_NO_MEMORY = 12, ERROR_ADDRESS = 14, ERROR_INVALID = 22, ERROR_NO_SPACE = 28 };

enum { SIGNAL_NONE = 0, SIGNAL_INTERRUPT = 2, SIGNAL_TRAP = 5, SIGNAL_SEGMENT = 11 };

/* Whether an answer is sent now, or later, or never. */
enum answer { ANSWER_NOW, ANSWER_LATER };

/* The answers "Enn" and "OK". */
enum answer debugger_fail(struct debugger *debugger, unsigned number);
enum answer debugger_ok(struct debugger *debugger);

/* The rest of the packet, behind its name. */
typedef enum answer command_fn(struct debugger *debugger, struct packet_text *text);

struct register_view debugger_view(const struct debugger *debugger);

/* Send what is in the writer. */
void debugger_send(struct debugger *debugger);

/* A thread identifier: 1 on, 0 for any, -1 for all. False: malformed, or there is none such. */
enum { THREAD_ANY = -2, THREAD_ALL = -1 };
bool debugger_take_thread(struct debugger *debugger, struct packet_text *text, int *vcpu);

/* The stop reply of the last stop. */
void debugger_write_stop(struct debugger *debugger);

/* Note a stop of a vCPU; reason from its debug_event, or the signal. */
void debugger_note_stop(struct debugger *debugger, unsigned vcpu, uint8_t signal);

/* Go on as target.action says; the stop reply comes later. */
enum answer debugger_go(struct debugger *debugger);

/* register_commands.c */
command_fn command_get_registers, command_set_registers, command_get_register, command_set_register;
/* memory_commands.c */
command_fn command_read_memory, command_write_memory, command_write_binary, command_insert, command_remove;
/* run_commands.c */
command_fn command_why, command_continue, command_continue_signal, command_step, command_step_signal, command_vcont,
    command_vcont_query, command_set_thread, command_thread_alive, command_detach, command_kill, command_vkill,
    command_restart, command_vrun, command_extended;
/* query_commands.c */
command_fn command_supported, command_features, command_attached, command_current_thread, command_first_threads,
    command_more_threads, command_thread_information, command_no_acknowledgement, command_symbol;
/* monitor.c */
command_fn command_monitor;

#endif
