/*
 * arch/arm's asm/unified.h holds `asm(".syntax unified")` outside any function, which ends up in the
 * BPF assembler. Read it here without that line; its include guard keeps it from being read again.
 */
#define __asm__(text...) _Static_assert(1, text)
#include <asm/unified.h>
#undef __asm__
