/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What this node makes of the table: VIPs that are refused, its own addresses, weights, dead nodes. */
#include "agent/serve/why_steps.h"

static const char *refusal_mend(enum refusal reason)
{
	switch (reason) {
	case REFUSAL_UNUSABLE:
	case REFUSAL_OWN_ADDRESS:
		return "give the label an address that no host uses, or a name";
	case REFUSAL_SUBNET:
		return "give the label another address, or allow this one with allow_vips in "
		       "vipd.conf";
	case REFUSAL_OTHER_FRAMEWORK:
		return "give one of the frameworks another address";
	case _REFUSAL_N:
		break;
	}
	return NULL;
}

void why_check_admission(struct trace *t)
{
	const struct object *o = t->object;
	const struct refused *r = desired_refusal(
		t->in->desired, o->vip, o->backend ? o->backend->framework_id : NULL);

	if (!r) {
		why_step(t, MARK_OK, NULL, "not refused");
		return;
	}
	why_step(t, MARK_BAD, refusal_mend(r->reason), "refused: %s", refusal_text(r->reason));
	t->stopped = true;
}

/* Routes to VIPs name the node's own address as their source; the kernel refuses any other. */
void why_check_own_address(struct trace *t)
{
	bool is6 = t->object->vip->key.address.family == AF_INET6;
	const struct ip_addr *a = is6 ? &t->in->node->address6 : &t->in->node->address;
	char text[IP_ADDR_STRLEN];
	AUTO_FREE char *mend = NULL;

	ip_addr_format(a, text);
	mend = xasprintf("ip address show to %s; then give the link that address, or say another "
			 "one in vipd.conf (node_address%s)",
		text, is6 ? "6" : "");
	if (!a->family) {
		why_step(t, MARK_NOTE, "give this node such an address",
			"this node has no %s address, so connections from it have the VIP's own as "
			"their source, and backends elsewhere cannot answer",
			is6 ? "IPv6" : "IPv4");
		return;
	}
	switch (is6 ? t->in->source_state6 : t->in->source_state) {
	case SOURCE_USABLE:
		break;
	case SOURCE_DEPRECATED:
		why_step(t, MARK_NOTE, mend, "%s, this node's address, is deprecated", text);
		break;
	case SOURCE_ABSENT:
		why_step(t, MARK_BAD, mend,
			"%s, which is to be the source of connections to VIPs, is not an address "
			"of "
			"this node: the kernel refuses the routes to VIPs",
			text);
		break;
	case SOURCE_TENTATIVE:
		why_step(t, MARK_BAD, "wait a few seconds: vipd tries again",
			"%s, this node's address, is tentative: the kernel asks whether another "
			"machine has it, and refuses the routes to VIPs until then",
			text);
		break;
	case SOURCE_DUPLICATE:
		why_step(t, MARK_BAD, mend,
			"%s, this node's address, was found on another machine (dadfailed): the "
			"kernel refuses the routes to VIPs",
			text);
		break;
	}
}

const char *why_weight_words(const struct vip_backend *b, const char **ret_mend)
{
	switch (b->weight_reason) {
	case WEIGHT_HEALTHY:
		break;
	case WEIGHT_UNHEALTHY:
		*ret_mend = "see why the task's health check fails";
		return "its health check fails";
	case WEIGHT_NO_RESULT:
		*ret_mend = "wait for the first result of the task's health check";
		return "its health check has no result yet";
	case WEIGHT_KILLING:
		*ret_mend = "none needed: it ends, and drains, unless someone did not mean it to";
		return "it is being killed";
	}
	*ret_mend = NULL;
	return NULL;
}

static const struct node_health *find_health(const struct trace *t, const struct vip_backend *b)
{
	for (size_t i = 0; i < t->in->n_healths; i++)
		if (ip_addr_cmp(&t->in->healths[i].agent, &b->agent) == 0)
			return &t->in->healths[i];
	return NULL;
}

static enum health health_of(const struct trace *t, const struct vip_backend *b)
{
	const struct node_health *n = find_health(t, b);

	return n ? n->health : HEALTH_UP;
}

/* If no node of the VIP's is up, all its backends stay. */
static bool any_up(const struct trace *t)
{
	const struct vip *vip = t->object->vip;

	for (size_t i = 0; i < vip->n_backends; i++)
		if (health_of(t, &vip->backends[i]) == HEALTH_UP)
			return true;
	return false;
}

static const char health_mend[] = "see to the node: vipctl members shows what is known of it";

const char *why_health_words(
	const struct trace *t, const struct vip_backend *b, const char **ret_mend)
{
	const struct node_health *n = find_health(t, b);

	*ret_mend = health_mend;
	if (n && n->until && any_up(t)) {
		*ret_mend = "none needed if the node stays up: vipctl members shows for how long "
			    "it is held";
		return "its node is up again, but has gone down often of late: it is held down for "
		       "a while";
	}
	switch (any_up(t) ? health_of(t, b) : HEALTH_UP) {
	case HEALTH_UP:
		*ret_mend = NULL;
		break;
	case HEALTH_DOWN:
		return "its node is down, so it gets no new connections";
	case HEALTH_CONFIRMED:
		return "its node is down for longer than dead_confirm, so it was removed";
	}
	return NULL;
}

/* A backend that stays, and of whose node the overlay has something to say. True if it had. */
static bool check_member(struct trace *t, const struct overlay_node *n)
{
	const struct vip_backend *b = t->object->backend;
	bool gone = n && n->status == GOSSIP_STATUS_AGENTLESS;

	if (!t->in->liveness || node_owns(t->in->node, &b->agent))
		return false;
	if (liveness_get_self(t->in->liveness) != GOSSIP_SELF_WELL)
		why_step(t, MARK_NOTE, "vipctl doctor",
			"this node is cut off, or in a small part of the cluster, and judges "
			"nobody: "
			"whether that node is down is not known here");
	else if (!n)
		why_step(t, MARK_NOTE, "vipctl doctor, here and there",
			"its node is no member of the overlay: its death is noticed only when the "
			"Mesos master does");
	else if (gone || n->status == GOSSIP_STATUS_STALLED)
		why_step(t, MARK_NOTE, "vipctl doctor, here and there",
			"its node's vipd %s for %.0f s, its host answers: so it stays",
			gone ? "has been gone" : "has not answered",
			n->silent ? why_seconds_since(t, n->silent) : 0.0);
	else
		return false;
	return true;
}

void why_check_health(struct trace *t)
{
	const struct vip_backend *b = t->object->backend;
	const struct overlay_node *n =
		t->in->liveness ? liveness_find(t->in->liveness, &b->agent) : NULL;
	const char *mend, *why = why_health_words(t, b, &mend);

	if (why && n && n->status == GOSSIP_STATUS_DOWN && n->silent)
		why_step(t, MARK_BAD, mend, "%s; it has been silent for %.0f s", why,
			why_seconds_since(t, n->silent));
	else if (why)
		why_step(t, MARK_BAD, mend, "%s", why);
	else if (check_member(t, n))
		return;
	else if (health_of(t, b) != HEALTH_UP)
		why_step(t, MARK_NOTE, health_mend,
			"its node is down, and so are all of this VIP's: all backends stay");
	else
		why_step(t, MARK_OK, NULL, "its node is not known to be down");
	t->stopped = why && health_of(t, b) == HEALTH_CONFIRMED;
}

void why_check_weight(struct trace *t)
{
	const struct vip_backend *b = t->object->backend;
	struct drain_key k = why_kernel_form(t, b);
	const char *mend, *why = why_weight_words(b, &mend);
	char buf[ENDPOINT_STRLEN];

	if (why)
		why_step(t, MARK_BAD, mend, "weight 0, so it gets no new connections: %s", why);
	else
		why_step(t, MARK_OK, NULL, "weight %u: it runs, and is not known to be unhealthy",
			b->weight);
	if (ip_addr_cmp(&k.address, &b->address) || k.port != b->port)
		why_step(t, MARK_OK, NULL,
			"it runs on this node, and is reached past its port mapping: as %s",
			endpoint_format(&k.address, k.port, buf));
}
