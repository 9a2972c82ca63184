/* An LD_PRELOAD shim: a DNS in which one name is never answered and another has several addresses. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

int getaddrinfo(const char *name, const char *port, const struct addrinfo *hints, struct addrinfo **found)
{
	static const char *const several[] = { "127.0.0.2", "127.0.0.3", "127.0.0.4" };
	__typeof__(&getaddrinfo) real = (__typeof__(&getaddrinfo))dlsym(RTLD_NEXT, "getaddrinfo");
	if (name && !strcmp(name, "hangs.test")) {
		sleep(60);
		return EAI_AGAIN;
	}
	if (!name || strcmp(name, "several.test"))
		return real(name, port, hints, found);
	for (unsigned i = 0; i < sizeof several / sizeof *several; i++) {
		int error = real(several[i], port, hints, found);
		if (error)
			return error;
		while (*found)
			found = &(*found)->ai_next;
	}
	return 0;
}
