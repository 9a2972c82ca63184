// SPDX-License-Identifier: Apache-2.0
// socket filter: bytes by IP protocol.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, u32);
	__type(value, u64);
} bytes SEC(".maps");

SEC("socket")
int socket_filter(struct __sk_buff *skb)
{
	u32 key = 0;
	u8 protocol;
	u64 *sum;

	if (skb->pkt_type == PACKET_OUTGOING || skb->protocol != bpf_htons(ETH_P_IP))
		return 0;
	if (bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct iphdr, protocol), &protocol, 1))
		return 0;
	key = protocol;
	sum = bpf_map_lookup_elem(&bytes, &key);
	if (sum)
		__sync_fetch_and_add(sum, skb->len);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
