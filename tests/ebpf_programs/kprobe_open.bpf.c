// SPDX-License-Identifier: Apache-2.0
// kprobe: who opens files, with the process's own idea of its pid and parent.
#include <linux/bpf.h>
#include <linux/fs.h>
#include <linux/sched.h>
#include <net/sock.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

struct seen {
	u32 tgid;
	u32 parent;
	u64 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, u32);
	__type(value, struct seen);
} openers SEC(".maps");

SEC("kprobe/do_sys_openat2")
int BPF_KPROBE(kprobe_open, int directory, const char *name)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	u32 pid = BPF_CORE_READ(task, pid);
	struct seen fresh = {}, *old;

	if (!bpf_core_field_exists(task->tgid))
		return 0;
	old = bpf_map_lookup_elem(&openers, &pid);
	if (old) {
		__sync_fetch_and_add(&old->count, 1);
		return 0;
	}
	fresh.tgid = BPF_CORE_READ(task, tgid);
	fresh.parent = BPF_CORE_READ(task, real_parent, tgid);
	fresh.count = 1;
	bpf_map_update_elem(&openers, &pid, &fresh, BPF_ANY);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
