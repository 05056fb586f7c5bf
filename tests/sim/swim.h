/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The peer: SWIM as hashicorp/memberlist does it, with its LAN defaults, Lifeguard included, in the
 * form that the simulator drives. Written from its documentation and the two papers; it sends
 * what memberlist sends, as often, of about the same size, and decides as it decides. Not
 * modelled: joining (all start knowing all), push/pull's contents (its bytes are counted).
 */
#include "gossip/gossip.h"

struct swim;

struct swim_out {
	void *arg;
	void (*send)(void *arg, unsigned to, const void *bytes, size_t n);
	void (*stream)(void *arg, unsigned to, size_t n); /* n bytes each way by TCP: counted */
	void (*report)(void *arg, unsigned of, bool up);
};

struct swim *swim_new(unsigned self, unsigned n, uint32_t incarnation, uint64_t seed, nsec_t now,
	const struct swim_out *out);
struct swim *swim_free(struct swim *s);
void swim_receive(struct swim *s, nsec_t now, const void *bytes, size_t n);
void swim_tick(struct swim *s, nsec_t now);
nsec_t swim_deadline(const struct swim *s);
bool swim_is_down(const struct swim *s, unsigned of);
