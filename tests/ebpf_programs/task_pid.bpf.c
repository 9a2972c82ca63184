// SPDX-License-Identifier: Apache-2.0
// What the headers say of a process beside what the kernel says: by the helper's tgid, the pid and tgid
// read from task_struct. On the right headers each key is its own value.
#include <linux/bpf.h>
#include <linux/fs.h>
#include <linux/sched.h>
#include <net/sock.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct task {
	u32 pid;
	u32 tgid;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, u32);
	__type(value, struct task);
} tasks SEC(".maps");

SEC("kprobe/do_sys_openat2")
int BPF_KPROBE(read_pid)
{
	struct task_struct *current_task = (struct task_struct *)bpf_get_current_task();
	u32 key = bpf_get_current_pid_tgid() >> 32;
	struct task value = {};

	bpf_probe_read_kernel(&value.pid, sizeof(value.pid), &current_task->pid);
	value.tgid = BPF_CORE_READ(current_task, group_leader, tgid);
	bpf_map_update_elem(&tasks, &key, &value, BPF_ANY);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
