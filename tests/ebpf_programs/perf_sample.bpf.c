// SPDX-License-Identifier: Apache-2.0
// perf event: where the processor is when the event fires, with kernel stacks.
#include <linux/bpf_perf_event.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <linux/sched.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct sample {
	u64 address;
	s64 stack;
	char comm[TASK_COMM_LEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 1024);
	__uint(key_size, sizeof(u32));
	__uint(value_size, 32 * sizeof(u64));
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(u32));
	__uint(value_size, sizeof(u32));
} samples SEC(".maps");

SEC("perf_event")
int perf_sample(struct bpf_perf_event_data *ctx)
{
	struct sample sample = {};

	sample.address = PT_REGS_IP(&ctx->regs);
	sample.stack = bpf_get_stackid(ctx, &stacks, 0);
	bpf_get_current_comm(sample.comm, sizeof(sample.comm));
	bpf_perf_event_output(ctx, &samples, BPF_F_CURRENT_CPU, &sample, sizeof(sample));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
