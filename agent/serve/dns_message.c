/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A query goes three steps: parse_query() takes the bytes apart (libresolv's ns_* functions check
 * every length and pointer), find_target() says what there is under the name that was asked
 * for, put_*() write the answer. What is refused, and how, is as in RFC 1035, 2308 (negative
 * answers), 3597 (unknown types), 6891 (EDNS), 8020 (names between others exist), 8482 (ANY), 8914
 * (the reason in words), 9619 (one question).
 *
 * The question is copied into the answer byte by byte, so that a client that mixes upper and lower
 * case at random, to make answers harder to forge, gets its own case back; every other name of the
 * answer points into the question.
 */
#include "agent/serve/dns_message.h"

#include <arpa/nameser.h>

#include "agent/source/names.h"
#include "agent/util.h"

/* What every client takes by UDP (RFC 1035). */
#define UDP_DEFAULT 512
/* A name in DNS' form is at most this long, root included. */
#define NAME_SIZE 255
/* An answer's names that may be pointed to, beside the first entry and the end. */
#define POINTERS 8

#define EDNS_DO 0x8000
#define EDNS_OPTION_ERROR 15
/* RFC 8914. */
#define ERROR_NOT_READY 14
#define ERROR_NOT_AUTHORITATIVE 20
#define ERROR_NONE UINT16_MAX

#define FLAG_QR 0x8000
#define FLAG_AA 0x0400
#define FLAG_TC 0x0200
#define FLAG_RD 0x0100
#define OPCODE(flags) ((flags) >> 11 & 0xf)
#define OPCODE_MASK 0x7800

/* SOA: nobody transfers the zone, so these mean little. */
#define SOA_REFRESH 60U
#define SOA_RETRY 60U
#define SOA_EXPIRE 86400U

/* In DNS' form, with the root's empty label (the final NUL). */
#define ZONE(text)                                    \
	{                                             \
		(const uint8_t *)(text), sizeof(text) \
	}
static const struct {
	const uint8_t *name;
	size_t n;
} zones[] = {
	ZONE("\4l4lb\10thisdcos\11directory"),
	ZONE("\4dclb\10thisdcos\11directory"),
	ZONE("\4l4lb\10thisdcos\6global"),
	ZONE("\4dclb\10thisdcos\6global"),
};

static const uint8_t server_label[] = {2, 'n', 's'};

/* A VIP's name has as many bytes in DNS' form as it has characters, and two. */
_Static_assert(NAMES_MAX + 2 == NAME_SIZE, "names fit");

struct query {
	uint16_t id, flags;
	bool edns, dnssec_ok, has_question;
	uint8_t version;
	size_t payload; /* bytes that the client takes by UDP */
	uint8_t name[NAME_SIZE], lower[NAME_SIZE];
	size_t n_name; /* with the root's label */
	uint16_t type, class;
};

/* What the question is about. */
struct target {
	size_t n_relative; /* bytes of the name before the zone's own */
	bool exists, is_apex;
	struct ip_addr v4, v6; /* AF_UNSPEC: none */
};

struct writer {
	uint8_t *start, *at, *end;
	const uint8_t
		*pointers[POINTERS + 2]; /* of ns_name_pack(); the first is the message's start */
	bool full;
};

const char *dns_rcode_text(unsigned int rcode)
{
	switch (rcode) {
	case ns_r_noerror:
		return "noerror";
	case ns_r_formerr:
		return "formerr";
	case ns_r_servfail:
		return "servfail";
	case ns_r_nxdomain:
		return "nxdomain";
	case ns_r_notimpl:
		return "notimp";
	case ns_r_refused:
		return "refused";
	case ns_r_badvers:
		return "badvers";
	default:
		return NULL;
	}
}

/* --- reading --------------------------------------------------------------- */

static int parse_question(const ns_msg *msg, struct query *q)
{
	const uint8_t *base = ns_msg_base(*msg), *end = ns_msg_end(*msg), *at = base + NS_HFIXEDSZ;
	int n = ns_name_unpack(base, end, at, q->name, sizeof(q->name));
	const uint8_t *skipped = at;

	if (n < 0 || ns_name_skip(&skipped, end) < 0)
		return ns_r_formerr;
	/* A first name has nothing before it that it could point to. */
	q->n_name = (size_t)(skipped - at);
	for (size_t i = 0; i < q->n_name; i += 1U + q->name[i])
		if (at[i] != q->name[i])
			return ns_r_formerr;
	for (size_t i = 0; i < q->n_name; i++) /* lengths are below 'A' */
		q->lower[i] =
			q->name[i] >= 'A' && q->name[i] <= 'Z' ? q->name[i] | 0x20 : q->name[i];
	q->type = (uint16_t)ns_get16(skipped);
	q->class = (uint16_t)ns_get16(skipped + 2);
	q->has_question = true;
	return ns_r_noerror;
}

static int take_opt(struct query *q, const ns_rr *rr)
{
	uint32_t ttl = ns_rr_ttl(*rr);

	if (q->edns || ns_rr_name(*rr)[strspn(ns_rr_name(*rr), ".")])
		return ns_r_formerr;
	q->edns = true;
	q->payload = ns_rr_class(*rr);
	q->version = ttl >> 16 & 0xff;
	q->dnssec_ok = ttl & EDNS_DO;
	return ns_r_noerror;
}

static int parse_additional(ns_msg *msg, struct query *q)
{
	for (int i = 0; i < ns_msg_count(*msg, ns_s_ar); i++) {
		int r = ns_r_noerror;
		ns_rr rr;

		if (ns_parserr(msg, ns_s_ar, i, &rr) < 0)
			return ns_r_formerr;
		if (ns_rr_type(rr) == ns_t_opt)
			r = take_opt(q, &rr);
		if (r != ns_r_noerror) {
			q->edns = false;
			return r;
		}
	}
	return q->version > 0 ? ns_r_badvers : ns_r_noerror;
}

/* The RCODE, or -1 if there is to be no answer. */
static int parse_query(struct query *q, const uint8_t *bytes, size_t n)
{
	ns_msg msg;
	int r;

	if (n < NS_HFIXEDSZ)
		return -1;
	q->id = (uint16_t)ns_get16(bytes);
	q->flags = (uint16_t)ns_get16(bytes + 2);
	if (q->flags & FLAG_QR)
		return -1; /* two servers would answer each other for ever */
	if (OPCODE(q->flags) != ns_o_query)
		return ns_r_notimpl;
	if (n > DNS_QUERY_MAX || ns_initparse(bytes, (int)n, &msg) < 0 ||
		ns_msg_count(msg, ns_s_qd) != 1 || ns_msg_count(msg, ns_s_an) != 0)
		return ns_r_formerr;
	r = parse_question(&msg, q);
	return r != ns_r_noerror ? r : parse_additional(&msg, q);
}

/* --- what there is --------------------------------------------------------- */

/* Finds the zone that the name is in; the length of what stands before it, or -1. */
static int relative_length(const struct query *q)
{
	for (size_t at = 0; at < q->n_name; at += 1U + q->lower[at])
		for (size_t i = 0; i < ARRAY_SIZE(zones); i++)
			if (q->n_name - at == zones[i].n &&
				memcmp(q->lower + at, zones[i].name, zones[i].n) == 0)
				return (int)at;
	return -1;
}

static void take_address(
	const struct dns_source *source, const struct ip_addr *address, struct ip_addr *ret)
{
	if (address->family && source->is_reachable(source->userdata, address))
		*ret = *address;
}

static void find_vip(const struct dns_source *source, const struct query *q, struct target *t)
{
	const struct dns_name *name = dns_zone_find(source->zone, q->lower, t->n_relative);

	if (!name)
		return;
	take_address(source, &name->v4, &t->v4);
	take_address(source, &name->v6, &t->v6);
	t->exists = name->has_below || t->v4.family || t->v6.family;
}

static void find_target(const struct dns_source *source, const struct query *q, struct target *t)
{
	t->is_apex = t->n_relative == 0;
	t->exists = t->is_apex;
	if (t->is_apex)
		return;
	if (t->n_relative == sizeof(server_label) &&
		memcmp(q->lower, server_label, sizeof(server_label)) == 0) {
		*(source->self.family == AF_INET ? &t->v4 : &t->v6) = source->self;
		t->exists = true;
		return;
	}
	find_vip(source, q, t);
}

/* --- writing --------------------------------------------------------------- */

static void put16(struct writer *w, unsigned int value)
{
	if (w->full || w->end - w->at < 2) {
		w->full = true;
		return;
	}
	ns_put16(value, w->at);
	w->at += 2;
}

static void put32(struct writer *w, uint32_t value)
{
	put16(w, value >> 16);
	put16(w, value & 0xffff);
}

static void put_bytes(struct writer *w, const void *bytes, size_t n)
{
	if (w->full || (size_t)(w->end - w->at) < n) {
		w->full = true;
		return;
	}
	memcpy(w->at, bytes, n);
	w->at += n;
}

/* A name in DNS' form; as much of it as the message has already is a pointer. */
static void put_name(struct writer *w, const uint8_t *name)
{
	int n = w->full ? -1
			: ns_name_pack(name, w->at, (int)(w->end - w->at), w->pointers,
				  w->pointers + ARRAY_SIZE(w->pointers));

	if (n < 0)
		w->full = true;
	else
		w->at += n;
}

/* `prefix` (one or more labels) before the zone's name. */
static void put_name_in_zone(struct writer *w, const struct query *q, const struct target *t,
	const void *prefix, size_t n)
{
	put_bytes(w, prefix, n);
	put_name(w, q->name + t->n_relative);
}

/* A record from its type on; returns where the length of its data goes, for end_data(). */
static uint8_t *begin_data(struct writer *w, uint16_t type)
{
	put16(w, type);
	put16(w, ns_c_in);
	put32(w, DNS_TTL);
	put16(w, 0);
	return w->at - 2;
}

static void end_data(struct writer *w, uint8_t *length)
{
	if (!w->full)
		ns_put16((unsigned int)(w->at - length - 2), length);
}

/* The data of an A or AAAA record, from its type on. */
static void put_address(struct writer *w, const struct ip_addr *a)
{
	uint8_t *length = begin_data(w, a->family == AF_INET ? ns_t_a : ns_t_aaaa);

	put_bytes(w, a->bytes, ip_addr_len(a->family));
	end_data(w, length);
}

static void put_soa(
	struct writer *w, const struct query *q, const struct target *t, uint32_t serial)
{
	static const char mailbox[] = {'\12', 'h', 'o', 's', 't', 'm', 'a', 's', 't', 'e', 'r'};
	uint8_t *length;

	put_name(w, q->name + t->n_relative);
	length = begin_data(w, ns_t_soa);
	put_name_in_zone(w, q, t, server_label, sizeof(server_label));
	put_name_in_zone(w, q, t, mailbox, sizeof(mailbox));
	put32(w, serial);
	put32(w, SOA_REFRESH);
	put32(w, SOA_RETRY);
	put32(w, SOA_EXPIRE);
	put32(w, DNS_TTL);
	end_data(w, length);
}

static void put_ns(struct writer *w, const struct query *q, const struct target *t)
{
	uint8_t *length;

	put_name(w, q->name + t->n_relative);
	length = begin_data(w, ns_t_ns);
	put_name_in_zone(w, q, t, server_label, sizeof(server_label));
	end_data(w, length);
}

/* EDNS' record, and its count. Room for it was kept. */
static void put_opt(struct writer *w, const struct query *q, int rcode, uint16_t error)
{
	put_bytes(w, "", 1);
	put16(w, ns_t_opt);
	put16(w, DNS_ANSWER_MAX);
	put16(w, (unsigned int)rcode >> 4 << 8); /* and version 0 */
	put16(w, q->dnssec_ok ? EDNS_DO : 0);
	put16(w, error == ERROR_NONE ? 0 : 6);
	ns_put16(ns_get16(w->start + 10) + 1, w->start + 10);
	if (error == ERROR_NONE)
		return;
	put16(w, EDNS_OPTION_ERROR);
	put16(w, 2);
	put16(w, error);
}

static size_t opt_size(const struct query *q, uint16_t error)
{
	return !q->edns ? 0 : error == ERROR_NONE ? 11 : 17;
}

/* --- answering ------------------------------------------------------------- */

/* Types that are no data: 128 to 255, and OPT. The RCODE for them; ns_r_noerror for data and ANY.
 */
static int judge_type(uint16_t type)
{
	switch (type) {
	case ns_t_any:
		return ns_r_noerror;
	case ns_t_axfr:
	case ns_t_ixfr:
		return ns_r_refused;
	case ns_t_maila:
	case ns_t_mailb:
		return ns_r_notimpl;
	case ns_t_opt:
		return ns_r_formerr;
	default:
		return type >= 128 && type <= 255 ? ns_r_formerr : ns_r_noerror;
	}
}

/* What is to be said before any name is looked up. The RCODE; ns_r_noerror: go on. */
static int judge_question(
	const struct dns_source *source, const struct query *q, struct target *t, uint16_t *error)
{
	int n = relative_length(q), r = judge_type(q->type);

	if (n < 0 || q->class != ns_c_in) {
		*error = ERROR_NOT_AUTHORITATIVE;
		return ns_r_refused;
	}
	if (r == ns_r_noerror && !source->zone) {
		*error = ERROR_NOT_READY;
		r = ns_r_servfail;
	}
	t->n_relative = (size_t)n;
	return r;
}

/* The one record of an answer that was asked for; false if there is none of the type. ANY gets the
 * first there is (RFC 8482). */
static bool put_answer(struct writer *w, const struct dns_source *source, const struct query *q,
	const struct target *t)
{
	bool any = q->type == ns_t_any;
	const struct ip_addr *a = NULL;

	if (t->is_apex && (any || q->type == ns_t_soa)) {
		put_soa(w, q, t, dns_zone_serial(source->zone));
		return true;
	}
	if (t->is_apex && q->type == ns_t_ns) {
		put_ns(w, q, t);
		return true;
	}
	if (t->v4.family && (any || q->type == ns_t_a))
		a = &t->v4;
	else if (t->v6.family && (any || q->type == ns_t_aaaa))
		a = &t->v6;
	if (!a)
		return false;
	put_name(w, q->name);
	put_address(w, a);
	return true;
}

static void set_counts(struct writer *w, unsigned int n_questions, unsigned int n_answers,
	unsigned int n_authorities, unsigned int n_additional)
{
	ns_put16(n_questions, w->start + 4);
	ns_put16(n_answers, w->start + 6);
	ns_put16(n_authorities, w->start + 8);
	ns_put16(n_additional, w->start + 10);
}

static void set_flags(struct writer *w, const struct query *q, unsigned int more, int rcode)
{
	ns_put16(
		FLAG_QR | (q->flags & (OPCODE_MASK | FLAG_RD)) | more | ((unsigned int)rcode & 0xf),
		w->start + 2);
}

/* Takes back what was written since `mark`, because not all of it fitted. */
static void roll_back(struct writer *w, uint8_t *mark)
{
	ns_name_rollback(mark, w->pointers, w->pointers + ARRAY_SIZE(w->pointers));
	w->at = mark;
	w->full = false;
}

/* The address of the zone's server, where it was asked for: without it the client would have to ask
 * once more. Left out if there is no room: that is no reason to come by TCP. */
static bool put_additional(struct writer *w, const struct dns_source *source, const struct query *q,
	const struct target *t)
{
	uint8_t *mark = w->at;

	if (!t->is_apex || q->type != ns_t_ns)
		return false;
	put_name_in_zone(w, q, t, server_label, sizeof(server_label));
	put_address(w, &source->self);
	if (!w->full)
		return true;
	roll_back(w, mark);
	return false;
}

/* The sections of an answer from a zone. Returns the RCODE. */
static int put_sections(struct writer *w, const struct dns_source *source, const struct query *q,
	struct target *t, bool *ret_truncated)
{
	uint8_t *mark = w->at;
	bool answered;

	find_target(source, q, t);
	answered = put_answer(w, source, q, t);
	if (!answered)
		put_soa(w, q, t, dns_zone_serial(source->zone));
	*ret_truncated = w->full;
	if (w->full)
		roll_back(w, mark);
	else
		set_counts(w, 1, answered, !answered, put_additional(w, source, q, t));
	return t->exists ? ns_r_noerror : ns_r_nxdomain;
}

static void put_question(struct writer *w, const struct query *q)
{
	put_name(w, q->name);
	put16(w, q->type);
	put16(w, q->class);
	set_counts(w, 1, 0, 0, 0);
}

/* Writes all but the number. `rcode` is what the parser said; returns the one of the answer. */
static int put_message(struct writer *w, const struct dns_source *source, const struct query *q,
	int rcode, bool *ret_truncated)
{
	uint16_t error = ERROR_NONE;
	struct target t = {0};
	unsigned int flags = 0;

	if (q->has_question)
		put_question(w, q);
	if (rcode == ns_r_noerror)
		rcode = judge_question(source, q, &t, &error);
	if (rcode == ns_r_noerror) {
		flags = FLAG_AA;
		w->end -= opt_size(q, error);
		rcode = put_sections(w, source, q, &t, ret_truncated);
		w->end += opt_size(q, error);
	}
	set_flags(w, q, flags | (*ret_truncated ? FLAG_TC : 0), rcode);
	if (q->edns)
		put_opt(w, q, rcode, error);
	return rcode;
}

static size_t answer_limit(const struct query *q, bool stream, size_t n_answer)
{
	size_t limit = stream                                 ? n_answer
		       : !q->edns || q->payload < UDP_DEFAULT ? UDP_DEFAULT
							      : q->payload;

	if (limit > DNS_ANSWER_MAX)
		limit = DNS_ANSWER_MAX;
	return limit < n_answer ? limit : n_answer;
}

size_t dns_answer(const struct dns_source *source, const uint8_t *query, size_t n_query,
	bool stream, uint8_t *answer, size_t n_answer, struct dns_counts *counts)
{
	struct writer w = {.start = answer, .at = answer + NS_HFIXEDSZ, .pointers = {answer}};
	struct query q = {0};
	bool truncated = false;
	int rcode = parse_query(&q, query, n_query);

	counts->n_queries++;
	if (rcode < 0) {
		counts->n_ignored++;
		return 0;
	}
	w.end = answer + answer_limit(&q, stream, n_answer);
	memset(answer, 0, NS_HFIXEDSZ);
	ns_put16(q.id, answer);
	rcode = put_message(&w, source, &q, rcode, &truncated);
	counts->n_answers[rcode]++;
	counts->n_truncated += truncated;
	return (size_t)(w.at - w.start);
}
