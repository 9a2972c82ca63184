/*
 * Kernels before 5.0 learn from -DCC_HAVE_ASM_GOTO that asm goto works, and struct static_key has one
 * field more when it does (CONFIG_JUMP_LABEL). Some of them define asm_volatile_goto for gcc only.
 * Kernel commit e9666d10a567; bcc #3244 is the same trouble seen from the other side.
 */
#include <linux/compiler.h>
#ifndef asm_volatile_goto
#define asm_volatile_goto(x...) asm goto(x)
#endif
