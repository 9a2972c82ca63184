// SPDX-License-Identifier: Apache-2.0
// A histogram of the time that block requests take, in powers of two of microseconds.
#include <linux/bpf.h>
#include <linux/blk-mq.h>
#include <linux/blkdev.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

#define SLOTS 32

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct request *);
	__type(value, u64);
} started SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, u32);
	__type(value, u64);
} histogram SEC(".maps");

static __always_inline u32 slot_of(u64 value)
{
	u32 slot = 0;

#pragma unroll
	for (int shift = 16; shift; shift >>= 1) {
		if (value >> shift) {
			value >>= shift;
			slot += shift;
		}
	}
	return slot;
}

SEC("kprobe/blk_mq_start_request")
int BPF_KPROBE(biolatency_start, struct request *request)
{
	u64 now = bpf_ktime_get_ns();

	bpf_map_update_elem(&started, &request, &now, BPF_ANY);
	return 0;
}

SEC("kprobe/blk_mq_end_request")
int BPF_KPROBE(biolatency_end, struct request *request)
{
	u64 *start = bpf_map_lookup_elem(&started, &request), *count;
	u32 slot;

	if (!start)
		return 0;
	slot = slot_of((bpf_ktime_get_ns() - *start) / 1000);
	bpf_map_delete_elem(&started, &request);
	if (BPF_CORE_READ(request, __data_len) == 0)
		return 0;
	count = bpf_map_lookup_elem(&histogram, &slot);
	if (count)
		__sync_fetch_and_add(count, 1);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
