// SPDX-License-Identifier: Apache-2.0
// Every outgoing TCP connection over IPv4.
#include <linux/bpf.h>
#include <linux/sched.h>
#include <linux/socket.h>
#include <net/inet_sock.h>
#include <net/sock.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

struct connection {
	u32 pid;
	u32 source;
	u32 destination;
	u16 port;
	u16 family;
	char comm[TASK_COMM_LEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, struct sock *);
} connecting SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(u32));
	__uint(value_size, sizeof(u32));
} connections SEC(".maps");

SEC("kprobe/tcp_v4_connect")
int BPF_KPROBE(tcpconnect_enter, struct sock *sk)
{
	u64 id = bpf_get_current_pid_tgid();

	bpf_map_update_elem(&connecting, &id, &sk, BPF_ANY);
	return 0;
}

SEC("kretprobe/tcp_v4_connect")
int BPF_KRETPROBE(tcpconnect_exit, int result)
{
	u64 id = bpf_get_current_pid_tgid();
	struct sock **pending = bpf_map_lookup_elem(&connecting, &id);
	struct connection out = {};
	struct sock *sk;

	if (!pending)
		return 0;
	sk = *pending;
	bpf_map_delete_elem(&connecting, &id);
	if (result)
		return 0;
	out.pid = id >> 32;
	out.source = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
	out.destination = BPF_CORE_READ(sk, __sk_common.skc_daddr);
	out.port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	out.family = BPF_CORE_READ(sk, __sk_common.skc_family);
	bpf_get_current_comm(out.comm, sizeof(out.comm));
	bpf_perf_event_output(ctx, &connections, BPF_F_CURRENT_CPU, &out, sizeof(out));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
