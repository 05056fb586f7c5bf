/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For vipctl doctor, which looks at this machine itself: only what the running daemon alone knows. */
#include "agent/apply/sysctl.h"
#include "agent/serve/put.h"
#include "agent/serve/view.h"

/* User and password of a URL are nobody's business. */
static void put_value(void *userdata, const char *key, const char *value)
{
	AUTO_FREE char *shown = xstrdup("");

	for (const char *rest = value; *rest;) {
		const char *host = strstr(rest, "://");
		const char *at = host ? host + 3 + strcspn(host + 3, "@/, ") : NULL;
		AUTO_FREE char *before = shown;

		if (!host) {
			shown = xasprintf("%s%s", before, rest);
			break;
		}
		shown = xasprintf("%s%.*s", before, (int)(host + 3 - rest), rest);
		rest = *at == '@' ? at + 1 : host + 3;
	}
	put_string(userdata, key, shown);
}

/* Those that are vipd's to set, with what they are and should be. */
static json_object *sysctls_view(const struct daemon *d)
{
	json_object *list = json_object_new_array();

	for (size_t i = 0; d->config->sysctls && !d->config->observe && i < n_sysctls; i++) {
		const struct sysctl *s = &sysctls[i];
		int value = sysctl_read(s);
		json_object *o;

		if (value < 0 || (s->if_masquerade && !d->config->masquerade))
			continue;
		o = json_object_new_object();
		put_string(o, "name", s->name);
		put_int(o, "value", (uint64_t)value);
		put_int(o, "wanted", (uint64_t)s->value);
		put_string(o, "reason", s->reason);
		json_object_array_add(list, o);
	}
	return list;
}

void view_doctor(
	struct daemon *d, const struct control_request *request, struct control_reply *reply)
{
	json_object *o = json_object_new_object(), *config = json_object_new_object();

	config_each(d->config, put_value, config);
	json_object_object_add(o, "config", config);
	json_object_object_add(o, "sysctls", sysctls_view(d));
	reply->body = put_to_text(o);
}
