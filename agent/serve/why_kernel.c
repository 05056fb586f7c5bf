/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the kernel holds of it: service, destinations, route, sets, and what surrounds them. */
#include "agent/apply/sysctl.h"
#include "agent/serve/why_steps.h"

/* Backends that are shown one by one for a VIP. */
#define BACKENDS_SHOWN 20

void why_check_programming(struct trace *t)
{
	const struct why_input *in = t->in;

	if (in->paused)
		why_step(t, MARK_BAD, "restart or reload vipd",
			"flushed by an operator: nothing is programmed");
	else if (!in->surrounded)
		why_step(t, MARK_BAD, "ask again in a moment",
			"vipd is starting: rules come before VIPs");
	else if (!in->have)
		why_step(t, MARK_BAD, "see whether the module ip_vs is there and vipd may use it",
			"the kernel cannot be read: %s", strerror(-in->error));
	t->stopped = in->paused || !in->surrounded || !in->have;
	if (in->kernel->busy && in->kernel->n_pending)
		why_step(t, MARK_NOTE, NULL, "being changed: %zu commands are left",
			in->kernel->n_pending);
	if (in->kernel->n_failing)
		why_step(t, MARK_NOTE, "vipd's log says why each was refused",
			"%zu commands fail, and are tried again: %s", in->kernel->n_failing,
			in->kernel->failing);
}

static bool in_conflict(const struct trace *t, const struct service *svc)
{
	for (size_t i = 0; i < t->in->n_conflicts; i++)
		if (service_key_cmp(&t->in->conflicts[i], &t->object->vip->key) == 0)
			return true;
	/* Its signature is left when the sets and routes that say so, too, were removed. */
	return svc && svc->timeout != SERVICE_SIGNATURE && !kernel_state_owns(t->in->have, svc);
}

void why_check_service(struct trace *t)
{
	const struct service *svc = kernel_state_find(t->in->have, why_key_of(t->object));
	char key[SERVICE_KEY_STRLEN];
	AUTO_FREE char *text = NULL;

	service_key_format(why_key_of(t->object), key);
	if (!svc) {
		text = xasprintf("IPVS has no service %s", key);
		why_absent(t, text);
		t->stopped = true;
	} else if (in_conflict(t, svc)) {
		why_step(t, MARK_BAD,
			"remove that service (ipvsadm -D), or give the label another address",
			"conflict: IPVS has a service %s that vipd did not make, and leaves alone",
			key);
		t->stopped = true;
	} else {
		why_step(t, MARK_OK, NULL, "service %s, %s, %zu destination%s", key, svc->scheduler,
			svc->n_destinations, svc->n_destinations == 1 ? "" : "s");
	}
}

static void add_destination(struct trace *t, const struct drain_key *k,
	const struct destination *dest, const struct vip_backend *b)
{
	char buf[ENDPOINT_STRLEN];
	AUTO_FREE char *text = NULL;

	endpoint_format(&k->address, k->port, buf);
	if (!dest) {
		text = xasprintf("destination %s is missing", buf);
		why_absent(t, text);
	} else if (dest->weight == 0 && b->weight > 0) {
		text = xasprintf("destination %s has weight 0 in the kernel, and %u in the table",
			buf, b->weight);
		why_absent(t, text);
	} else {
		why_step(t, MARK_OK, NULL,
			"destination %s, weight %u; %u active connections, %u inactive", buf,
			dest->weight, dest->n_active, dest->n_inactive);
	}
}

void why_check_destination(struct trace *t)
{
	const struct vip_backend *b = t->object->backend;
	struct drain_key k = why_kernel_form(t, b);
	const struct destination *dest = why_find_destination(t->in->have, &k);
	const char *mend;
	char buf[ENDPOINT_STRLEN];

	if (dest && dest->weight == 0 && why_health_words(t, b, &mend))
		why_step(t, MARK_NOTE, NULL,
			"destination %s, weight 0 because of its node; %u active connections, %u "
			"inactive",
			endpoint_format(&k.address, k.port, buf), dest->n_active, dest->n_inactive);
	else
		add_destination(t, &k, dest, b);
}

/* A VIP answers if one backend takes connections; what ails the others is told all the same. */
void why_check_destinations(struct trace *t)
{
	const struct vip *vip = t->object->vip;
	size_t n_usable = 0, n_shown = 0;
	const char *mend = NULL, *last_mend = NULL;
	uint64_t n_active = 0, n_inactive = 0;

	for (size_t i = 0; i < vip->n_backends; i++) {
		const struct vip_backend *b = &vip->backends[i];
		struct drain_key k = why_kernel_form(t, b);
		const struct destination *dest = why_find_destination(t->in->have, &k);
		const char *why = why_weight_words(b, &mend);
		char buf[ENDPOINT_STRLEN];

		if (!why)
			why = why_health_words(t, b, &mend);
		n_active += dest ? dest->n_active : 0;
		n_inactive += dest ? dest->n_inactive : 0;
		n_usable += dest && dest->weight > 0;
		last_mend = why ? mend : last_mend;
		if (desired_refusal(t->in->desired, vip, b->framework_id) ||
			(dest && dest->weight > 0) || n_shown++ >= BACKENDS_SHOWN)
			continue;
		if (why && (dest || why_health_words(t, b, &mend)))
			why_step(t, MARK_NOTE, mend, "backend %s (task %s) is not used: %s",
				endpoint_format(&k.address, k.port, buf), b->task, why);
		else
			add_destination(t, &k, dest, b);
	}
	why_step(t, n_usable ? MARK_OK : MARK_BAD, n_usable ? NULL : last_mend,
		"%zu of %zu backends take new connections; %llu active connections, %llu inactive",
		n_usable, vip->n_backends, (unsigned long long)n_active,
		(unsigned long long)n_inactive);
}

static void add_drain(struct trace *t, enum mark mark, const struct drain *drain)
{
	const struct destination *dest = why_find_destination(t->in->have, &drain->key);
	nsec_t now = t->in->now;
	char buf[ENDPOINT_STRLEN];

	why_step(t, mark, NULL,
		"%s drains: %u active connections go on, it gets no new ones, and goes in %.1f s "
		"at "
		"the latest",
		endpoint_format(&drain->key.address, drain->key.port, buf),
		dest ? dest->n_active : 0,
		drain->deadline > now ? (double)(drain->deadline - now) / 1e9 : 0);
}

void why_check_drains(struct trace *t)
{
	const struct service *svc = kernel_state_find(t->in->have, why_key_of(t->object));

	for (size_t i = 0; svc && i < svc->n_destinations; i++) {
		struct drain_key key = {
			svc->key, svc->destinations[i].address, svc->destinations[i].port};
		const struct drain *drain = drains_find(t->in->drains, &key);

		if (drain)
			add_drain(t, MARK_NOTE, drain);
	}
}

void why_check_drain(struct trace *t)
{
	add_drain(t, MARK_NOTE, t->object->drain);
}

void why_check_route(struct trace *t)
{
	const struct ip_addr *a = &why_key_of(t->object)->address;
	const struct vip_route *route = kernel_state_find_route(t->in->have, a);
	char address[IP_ADDR_STRLEN], source[IP_ADDR_STRLEN];
	AUTO_FREE char *text = NULL;

	ip_addr_format(a, address);
	if (!t->in->have->has_link) {
		why_absent(t, "vipd's link is missing, and all routes with it");
	} else if (!route) {
		text = xasprintf(
			"there is no route to %s on vipd's link, so nothing reaches IPVS", address);
		why_absent(t, text);
	} else {
		why_step(t, MARK_OK, NULL, "local route to %s%s%s", address,
			route->source.family ? ", connections come from " : "",
			route->source.family ? ip_addr_format(&route->source, source) : "");
	}
}

void why_check_sets(struct trace *t)
{
	const struct service_key *key = why_key_of(t->object);
	const struct kernel_state *have = t->in->have;

	if (!have->has_sets)
		why_absent(t, "vipd's sets are missing");
	else if (!kernel_state_has_port(have, key) ||
		 !kernel_state_has_address(have, &key->address))
		why_absent(t, "it is not in vipd's sets, so vipd's rules do not know it");
	else
		why_step(t, MARK_OK, NULL, "in vipd's sets");
}

void why_check_rules(struct trace *t)
{
	const struct firewall_stats *f = t->in->firewall;

	if (!f)
		why_step(t, MARK_OK, NULL, "not vipd's part (rules = no, or kernel = none)");
	else if (f->error)
		why_step(t, MARK_NOTE, "see that iptables works on this node",
			"not in place, so containers and host ports may be served wrongly: %s",
			f->error);
	else
		why_step(t, MARK_OK, NULL, "in place");
}

void why_check_sysctls(struct trace *t)
{
	size_t n_wrong = 0;

	if (!t->in->sysctl_values) {
		why_step(t, MARK_OK, NULL, "not vipd's part (sysctls = no, or kernel = none)");
		return;
	}
	for (size_t i = 0; i < n_sysctls; i++) {
		const struct sysctl *s = &sysctls[i];
		int value = t->in->sysctl_values[i];
		AUTO_FREE char *mend = xasprintf("sysctl -w %s=%d", s->name, s->value);

		if (value == s->value || (s->if_masquerade && !t->in->masquerade))
			continue;
		n_wrong++;
		if (value < 0)
			why_step(t, MARK_NOTE, NULL, "%s cannot be read (%s); it is for: %s",
				s->name, strerror(-value), s->reason);
		else
			why_step(t, MARK_NOTE, mend, "%s is %d, should be %d: %s", s->name, value,
				s->value, s->reason);
	}
	if (!n_wrong)
		why_step(t, MARK_OK, NULL, "as they should be");
}

/* The VIP answers by its address whether its name does or not, so nothing here is in its way. Whether
 * the resolvers of this node ask vipd at all is for vipctl doctor to see. */
void why_check_name(struct trace *t)
{
	char buf[IP_ADDR_STRLEN];

	if (!t->object->vip->name)
		return;
	if (t->in->n_listeners == 0)
		why_step(t, MARK_NOTE, NULL,
			"vipd answers no names here (dns_listen is empty): others are to know it");
	for (size_t i = 0; i < t->in->n_listeners; i++) {
		const struct dns_listener_view *l = &t->in->listeners[i];
		const char *address = ip_addr_format(&l->endpoint.address, buf);

		if (l->error)
			why_step(t, MARK_NOTE, "vipctl doctor tells how to see who has the port",
				"its name is not answered on %s: %s", address, l->error);
		else
			why_step(t, MARK_OK, NULL, "answered on %s", address);
	}
}
