// SPDX-License-Identifier: Apache-2.0
// Sizes and offsets as the headers give them, for comparison with the kernel's BTF. Never loaded.
#include <linux/bpf.h>
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/fdtable.h>
#include <linux/fs.h>
#include <linux/mm_types.h>
#include <linux/netdevice.h>
#include <linux/nsproxy.h>
#include <linux/pid_namespace.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/skbuff.h>
#include <net/sock.h>

struct layout {
	char type[32];
	char field[32];
	unsigned long long offset;
	unsigned long long size;
};

#define LAYOUT(type, field) { #type, #field, offsetof(struct type, field), sizeof(struct type) }

const struct layout layouts[] __attribute__((section(".rodata"), used)) = {
	LAYOUT(task_struct, tgid),
	LAYOUT(task_struct, comm),
	LAYOUT(mm_struct, start_code),
	LAYOUT(file, f_pos),
	LAYOUT(inode, i_ino),
	LAYOUT(dentry, d_parent),
	LAYOUT(sk_buff, dev),
	LAYOUT(sock, sk_receive_queue),
	LAYOUT(net_device, ifindex),
	LAYOUT(cred, euid),
	LAYOUT(files_struct, fdt),
	LAYOUT(nsproxy, net_ns),
	LAYOUT(signal_struct, oom_score_adj),
	LAYOUT(pid_namespace, level),
};

char LICENSE[] __attribute__((section("license"), used)) = "GPL";
