/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/apply/sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "agent/log.h"
#include "agent/util.h"

const struct sysctl sysctls[] = {
	{"net.ipv4.vs.expire_nodest_conn", 1, false,
		"connections to a removed destination end at once instead of hanging"},
	{"net.ipv4.vs.expire_quiescent_template", 1, false,
		"no client is kept on a destination of weight 0"},
	{"net.ipv4.vs.conntrack", 1, true,
		"packets that IPVS forwards pass the nat rules, so that containers can be "
		"masqueraded"},
};
const size_t n_sysctls = ARRAY_SIZE(sysctls);

/* "/proc/sys/net/ipv4/vs/conntrack"; caller frees. */
static char *sysctl_path(const struct sysctl *s)
{
	char *path = xasprintf("/proc/sys/%s", s->name);

	for (char *p = path + strlen("/proc/sys/"); *p; p++)
		if (*p == '.')
			*p = '/';
	return path;
}

int sysctl_read(const struct sysctl *s)
{
	AUTO_FREE char *path = sysctl_path(s);
	FILE *f = fopen(path, "re");
	int value, r;

	if (!f)
		return -errno;
	r = fscanf(f, "%d", &value) == 1 && value >= 0 ? value : -EBADMSG;
	fclose(f);
	return r;
}

int sysctl_write(const struct sysctl *s)
{
	AUTO_FREE char *path = sysctl_path(s);
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
	char text[16];
	int n = snprintf(text, sizeof(text), "%d\n", s->value);

	if (fd < 0 || write(fd, text, (size_t)n) != n)
		return -errno;
	return 0;
}

int sysctls_apply(bool masquerade)
{
	int n_failed = 0;

	for (size_t i = 0; i < n_sysctls; i++) {
		const struct sysctl *s = &sysctls[i];
		int now = sysctl_read(s), r;

		if ((s->if_masquerade && !masquerade) || now == s->value)
			continue;
		r = now < 0 ? now : sysctl_write(s);
		if (r < 0) {
			log_warning("sysctl %s: cannot be set to %d: %s (wanted since %s)", s->name,
				s->value, strerror(-r), s->reason);
			n_failed++;
		} else {
			log_notice("sysctl %s: %d, was %d: %s", s->name, s->value, now, s->reason);
		}
	}
	return n_failed;
}
