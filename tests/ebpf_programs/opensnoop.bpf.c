// SPDX-License-Identifier: Apache-2.0
// Every openat(2) with its file name and result.
#include <linux/bpf.h>
#include <linux/limits.h>
#include <linux/sched.h>
#include <linux/trace_events.h>

#include <bpf/bpf_helpers.h>

struct enter_args {
	struct trace_entry entry;
	int syscall;
	long directory;
	const char *name;
	long flags;
	long mode;
};

struct exit_args {
	struct trace_entry entry;
	int syscall;
	long result;
};

struct event {
	u64 time_ns;
	u32 pid;
	u32 uid;
	s32 result;
	s32 flags;
	char comm[TASK_COMM_LEN];
	char name[64];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, struct event);
} pending SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(u32));
	__uint(value_size, sizeof(u32));
} events SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_openat")
int opensnoop_enter(struct enter_args *args)
{
	u64 id = bpf_get_current_pid_tgid();
	struct event event = {};

	event.time_ns = bpf_ktime_get_ns();
	event.pid = id >> 32;
	event.uid = bpf_get_current_uid_gid();
	event.flags = args->flags;
	bpf_get_current_comm(event.comm, sizeof(event.comm));
	bpf_probe_read_user_str(event.name, sizeof(event.name), args->name);
	bpf_map_update_elem(&pending, &id, &event, BPF_ANY);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_openat")
int opensnoop_exit(struct exit_args *args)
{
	u64 id = bpf_get_current_pid_tgid();
	struct event *event = bpf_map_lookup_elem(&pending, &id);

	if (!event)
		return 0;
	event->result = args->result;
	bpf_perf_event_output(args, &events, BPF_F_CURRENT_CPU, event, sizeof(*event));
	bpf_map_delete_elem(&pending, &id);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
