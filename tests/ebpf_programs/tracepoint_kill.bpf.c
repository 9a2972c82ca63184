// SPDX-License-Identifier: Apache-2.0
// tracepoint: signals sent by kill(2), counted by signal number.
#include <linux/bpf.h>
#include <linux/signal.h>
#include <linux/trace_events.h>

#include <bpf/bpf_helpers.h>

struct kill_args {
	struct trace_entry entry;
	int syscall;
	long pid;
	long signal;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, _NSIG + 1);
	__type(key, u32);
	__type(value, u64);
} signals SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_kill")
int tracepoint_kill(struct kill_args *args)
{
	u32 key = args->signal;
	u64 *count = bpf_map_lookup_elem(&signals, &key);

	if (count)
		__sync_fetch_and_add(count, 1);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
