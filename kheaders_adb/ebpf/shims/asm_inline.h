/*
 * asm_inline (kernel commit eb111869301e) stands for `asm __inline`. In trees that got it backported
 * without the removal of the __inline macro, that expands to an attribute in the middle of an asm
 * statement. See bcc #2119.
 */
#include <linux/compiler.h>
#undef asm_inline
#define asm_inline asm
