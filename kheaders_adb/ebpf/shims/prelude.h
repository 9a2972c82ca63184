/* Read before everything else by the front stage, whatever the tree. */
#if defined(__bpf__) && defined(__clang__)
/*
 * A fatal one, so that it is the only one: the headers' inline assembly makes twenty errors of it, of
 * which none says what is wrong, and #error does not end them.
 */
#pragma clang diagnostic fatal "-W#warnings"
#warning "kheaders-adb: these flags are not for -target bpf: leave that out, and make the object of what comes out with `clang $(kheaders-adb cflags --stage bpf) -c - -o prog.o`; or use `kheaders-adb compile`"
#endif
#if !defined(__clang__) || __clang_major__ < 14
#error "kheaders-adb: clang 14 or newer is needed; install it or name another with CLANG"
#endif

/*
 * The kernel's pr_*() macros want KBUILD_MODNAME to be a string. It is
 * -DKBUILD_MODNAME=KHEADERS_MODNAME on the command line and the string is here, because quotes there
 * would not survive an unquoted $(kheaders-adb cflags).
 */
#define KHEADERS_MODNAME "kheaders"
