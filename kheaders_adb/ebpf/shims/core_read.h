/*
 * libbpf's bpf_core_read.h for exact headers. CO-RE asks the loader to correct every offset from the
 * kernel's BTF; against the kernel's own headers the offsets are right already, and many phones have
 * no BTF, so that an object with such relocations would not load there at all. The builtins behind
 * it are replaced by what they stand for. (In the front stage clang does not compile for BPF and has
 * only the first of them anyway.)
 */
#define __builtin_preserve_access_index(expression...) (expression)

#define __builtin_preserve_field_info(field, kind) KHEADERS_##kind(field)
#define KHEADERS_BPF_FIELD_EXISTS(field) ({ if (0) (void)(field); 1U; })
#define KHEADERS_BPF_FIELD_BYTE_SIZE(field) ((unsigned int)sizeof(field))
#define KHEADERS_NO_BITFIELDS(field) ({ _Static_assert(0, \
	"BPF_CORE_READ_BITFIELD needs CO-RE: copy the structure with bpf_probe_read_kernel and use the field"); \
	0U; })
#define KHEADERS_BPF_FIELD_BYTE_OFFSET(field) KHEADERS_NO_BITFIELDS(field)
#define KHEADERS_BPF_FIELD_SIGNED(field) KHEADERS_NO_BITFIELDS(field)
#define KHEADERS_BPF_FIELD_LSHIFT_U64(field) KHEADERS_NO_BITFIELDS(field)
#define KHEADERS_BPF_FIELD_RSHIFT_U64(field) KHEADERS_NO_BITFIELDS(field)

/* sizeof, so that a type that the headers do not define is an error and not a claim. */
#define __builtin_preserve_type_info(type, kind) KHEADERS_##kind(type)
#define KHEADERS_BPF_TYPE_EXISTS(type) ((void)sizeof(type), 1U)
#define KHEADERS_BPF_TYPE_MATCHES(type) ((void)sizeof(type), 1U)
#define KHEADERS_BPF_TYPE_SIZE(type) ((unsigned int)sizeof(type))

#define __builtin_preserve_enum_value(enumerator, kind) KHEADERS_##kind(enumerator)
#define KHEADERS_BPF_ENUMVAL_EXISTS(enumerator) ((void)&(enumerator), 1ULL)
#define KHEADERS_BPF_ENUMVAL_VALUE(enumerator) ((unsigned long long)&(enumerator))
