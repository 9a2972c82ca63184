// SPDX-License-Identifier: Apache-2.0
// Do the two stages agree about where the fields are? The front stage folds offsetof, the bpf stage
// computes the address of a field. If they differ for one of them, the object needs layout_differs.
#include <linux/bpf.h>
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/fdtable.h>
#include <linux/fs.h>
#include <linux/mm_types.h>
#include <linux/netdevice.h>
#include <linux/nsproxy.h>
#include <linux/sched.h>
#include <linux/skbuff.h>
#include <net/sock.h>

#include <bpf/bpf_helpers.h>

extern void layout_differs(void);

#define BYTES(to, from) ((const char *)(to) - (const char *)(from))
#define SAME(type, field)							\
	do {									\
		if (BYTES(&((type *)base)->field, base) != offsetof(type, field) \
		    || BYTES((type *)base + 1, base) != sizeof(type))		\
			layout_differs();					\
	} while (0)

SEC("kprobe/do_nanosleep")
int layout(void *base)
{
	SAME(struct task_struct, tgid);
	SAME(struct task_struct, comm);
	SAME(struct mm_struct, start_code);
	SAME(struct file, f_pos);
	SAME(struct inode, i_ino);
	SAME(struct dentry, d_parent);
	SAME(struct sk_buff, len);
	SAME(struct sock, sk_protocol);
	SAME(struct net_device, ifindex);
	SAME(struct cred, euid);
	SAME(struct files_struct, fdt);
	SAME(struct nsproxy, net_ns);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
