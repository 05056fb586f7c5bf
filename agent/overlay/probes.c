/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is a host's kernel there? A TCP connection to its port 61420 that is let go of as soon as it is answered,
 * by a reset: no socket in TIME_WAIT stays behind on either side. GOSSIP_PROBE_ANSWERED and REFUSED both mean
 * that the host lives.
 *
 * This node's own address is not asked: it always answers, and would prove to a node that is cut off that its
 * path works. A member has that address if it is this node's earlier self, whose id was lost.
 *
 * Bounds: PROBES_MAX at a time. More are not begun, as when no descriptor is left: gossip hears that it has not been
 * asked, which says nothing of the host.
 */
#include "agent/overlay/engine.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define PROBES_MAX 256
#define PROBE_TIME NSEC_PER_SEC

struct probe {
	struct engine *engine;
	uint32_t handle;
	int fd;
	sd_event_source *io, *timer;
	struct probe *next, **at; /* in engine.probes */
};

static void probe_done(struct probe *p, enum gossip_probe result)
{
	struct engine *e = p->engine;
	uint32_t handle = p->handle;

	sd_event_source_disable_unref(p->io);
	sd_event_source_disable_unref(p->timer);
	LIST_REMOVE(p);
	close(p->fd);
	free(p);
	e->n_probes--;
	engine_must(gossip_probe_result(e->gossip, now_ns(), handle, result));
}

static int on_probe(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	int error = 0;
	socklen_t len = sizeof(error);

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error == 0)
		probe_done(userdata, GOSSIP_PROBE_ANSWERED);
	else if (error == ECONNREFUSED || error == ECONNRESET)
		probe_done(userdata, GOSSIP_PROBE_REFUSED);
	else
		probe_done(userdata, GOSSIP_PROBE_SILENT);
	return 0;
}

static int on_probe_time(sd_event_source *s, uint64_t usec, void *userdata)
{
	probe_done(userdata, GOSSIP_PROBE_SILENT);
	return 0;
}

static bool is_own(const struct engine *e, const struct gossip_addr *a)
{
	const struct gossip_addr *own = a->family == e->self4.family ? &e->self4 : &e->self6;

	return a->family && a->family == own->family &&
	       memcmp(a->bytes, own->bytes, sizeof(a->bytes)) == 0;
}

/* What it means that a probe got no socket, or was not sent from it. */
static enum gossip_probe not_begun(int error)
{
	if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM ||
		error == EADDRNOTAVAIL)
		return GOSSIP_PROBE_NOT_ASKED;
	return path_is_broken_by(error) ? GOSSIP_PROBE_LOCAL : GOSSIP_PROBE_SILENT;
}

void probes_start(struct engine *e, const struct gossip_effect *effect)
{
	struct linger reset = {.l_onoff = 1};
	struct probe *p;
	int fd, r;

	if (is_own(e, &effect->address))
		return;
	fd = e->n_probes < PROBES_MAX ? sockets_dial(e, &effect->address) : -EMFILE;
	if (fd < 0) {
		enum gossip_probe result = not_begun(-fd);

		e->stats.probes_not_asked += result == GOSSIP_PROBE_NOT_ASKED;
		engine_must(gossip_probe_result(e->gossip, now_ns(), effect->link, result));
		return;
	}
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	p = xcalloc(1, sizeof(*p));
	*p = (struct probe){.engine = e, .handle = effect->link, .fd = fd};
	e->n_probes++;
	LIST_ADD(e->probes, p);
	r = sd_event_add_io(e->loop, &p->io, fd, EPOLLOUT, on_probe, p);
	if (r >= 0)
		r = sd_event_add_time_relative(e->loop, &p->timer, CLOCK_MONOTONIC,
			PROBE_TIME / NSEC_PER_USEC, TIMER_ACCURACY, on_probe_time, p);
	if (r < 0)
		probe_done(p, GOSSIP_PROBE_NOT_ASKED);
}

void probes_done(struct engine *e)
{
	while (e->probes)
		probe_done(e->probes, GOSSIP_PROBE_SILENT);
}
