/* Read before everything else by the front stage, whatever the tree. */
#if !defined(__clang__) || __clang_major__ < 14
#error "kheaders-adb: clang 14 or newer is needed; install it or name another with CLANG"
#endif

/*
 * The kernel's pr_*() macros want KBUILD_MODNAME to be a string. It is
 * -DKBUILD_MODNAME=KHEADERS_MODNAME on the command line and the string is here, because quotes there
 * would not survive an unquoted $(kheaders-adb cflags).
 */
#define KHEADERS_MODNAME "kheaders"
