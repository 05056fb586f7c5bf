/* SPDX-License-Identifier: GPL-2.0-or-later */
/* DNS answers: some byte by byte, the rest taken apart by libresolv, which did not write them. */
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "agent/serve/dns_message.h"
#include "agent/util.h"

#define SUFFIX ".l4lb.thisdcos.directory"
#define LABEL_63 "a23456789012345678901234567890123456789012345678901234567890123"

enum { NO_EDNS = -1 };

struct fixture {
	struct dns_source source;
	struct dns_counts counts;
	const char *unreachable; /* an address that is not forwarded; NULL: none */
	uint8_t query[DNS_QUERY_MAX + 100], answer[DNS_ANSWER_MAX];
	size_t n_query, n;
	ns_msg msg; /* of the answer */
};

static const char *const long_name =
	LABEL_63 "." LABEL_63 "." LABEL_63 ".a234567890123456789012345678.marathon";

static bool is_reachable(void *userdata, const struct ip_addr *address)
{
	struct fixture *f = userdata;
	char buf[IP_ADDR_STRLEN];

	return !f->unreachable || strcmp(ip_addr_format(address, buf), f->unreachable) != 0;
}

static struct vip a_vip(const char *name, const char *address, uint16_t port)
{
	struct vip v = {.key = {.port = port, .protocol = IPPROTO_TCP}};

	v.name = name ? xasprintf("%s" SUFFIX, name) : NULL;
	assert_int_equal(ip_addr_parse(address, &v.key.address), 0);
	return v;
}

static struct dns_zone *a_zone(void)
{
	struct vip vips[] = {
		a_vip("redis.marathon", "11.202.66.36", 6379),
		a_vip("redis.marathon", "11.202.66.36", 6380),
		a_vip("redis.marathon", "fd01:c::da94:49ac:1e87:4a07", 6379),
		a_vip("four.marathon", "11.0.0.4", 80),
		a_vip("six.deep.down", "fd01:c::6", 80),
		a_vip("x.four.marathon", "11.0.0.5", 80),
		a_vip(long_name, "11.0.0.6", 80),
		a_vip(NULL, "1.2.3.4", 80),
	};
	struct vip_table table = {.n_vips = ARRAY_SIZE(vips), .vips = vips};
	struct dns_zone *z = dns_zone_new(&table, 7);

	for (size_t i = 0; i < ARRAY_SIZE(vips); i++)
		free((char *)vips[i].name);
	return z;
}

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	f->source =
		(struct dns_source){.zone = a_zone(), .is_reachable = is_reachable, .userdata = f};
	ip_addr_parse("127.0.0.61", &f->source.self);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	dns_zone_free((struct dns_zone *)f->source.zone);
	free(f);
	return 0;
}

/* --- queries --------------------------------------------------------------- */

static void add16(struct fixture *f, unsigned int value)
{
	ns_put16(value, f->query + f->n_query);
	f->n_query += 2;
}

static void add_opt(struct fixture *f, unsigned int payload, unsigned int version)
{
	f->query[f->n_query++] = 0;
	add16(f, ns_t_opt);
	add16(f, payload);
	add16(f, version);
	add16(f, 0x8000); /* DO */
	add16(f, 0);
	f->query[11]++;
}

/* Number 0x1234, RD, one question. */
static void make_query(struct fixture *f, const char *name, int type)
{
	uint8_t packed[NS_MAXCDNAME];
	int n;

	f->n_query = 0;
	add16(f, 0x1234);
	add16(f, 0x0100);
	add16(f, 1);
	add16(f, 0);
	add16(f, 0);
	add16(f, 0);
	assert_true(ns_name_pton(name, packed, sizeof(packed)) >= 0);
	n = ns_name_pack(packed, f->query + f->n_query, 256, NULL, NULL);
	assert_true(n > 0);
	f->n_query += (size_t)n;
	add16(f, (unsigned int)type);
	add16(f, ns_c_in);
}

/* Answers what is in `query`; checks what holds for every answer. */
static int answer(struct fixture *f, bool stream, size_t n_answer)
{
	uint8_t *exact = xcalloc(1, f->n_query); /* for sanitizers */

	memcpy(exact, f->query, f->n_query);
	memset(f->answer, 0xaa, sizeof(f->answer));
	f->n = dns_answer(&f->source, exact, f->n_query, stream, f->answer, n_answer, &f->counts);
	free(exact);
	assert_true(f->n <= n_answer);
	if (!f->n)
		return -1;
	assert_true(f->n <= f->n_query + DNS_GROWTH_MAX);
	assert_int_equal(ns_initparse(f->answer, (int)f->n, &f->msg), 0);
	assert_int_equal(ns_msg_id(f->msg), 0x1234);
	assert_int_equal(ns_msg_getflag(f->msg, ns_f_qr), 1);
	assert_int_equal(ns_msg_getflag(f->msg, ns_f_ra), 0);
	assert_int_equal(ns_msg_getflag(f->msg, ns_f_ad), 0);
	return ns_msg_getflag(f->msg, ns_f_rcode);
}

static int ask_edns(struct fixture *f, const char *name, int type, int payload)
{
	make_query(f, name, type);
	if (payload != NO_EDNS)
		add_opt(f, (unsigned int)payload, 0);
	return answer(f, false, sizeof(f->answer));
}

static int ask(struct fixture *f, const char *name, int type)
{
	return ask_edns(f, name, type, NO_EDNS);
}

static int ask_vip(struct fixture *f, const char *name, int type)
{
	AUTO_FREE char *full = xasprintf("%s" SUFFIX, name);

	return ask(f, full, type);
}

/* --- what is in an answer -------------------------------------------------- */

/* A name of the answer as text, with the dot at its end; returns what follows it. */
static const uint8_t *read_name(struct fixture *f, const uint8_t *at, char ret[static NS_MAXDNAME])
{
	int n = ns_name_uncompress(
		ns_msg_base(f->msg), ns_msg_end(f->msg), at, ret, NS_MAXDNAME - 1);

	assert_true(n > 0);
	strcat(ret, ".");
	return at + n;
}

/* "NAME TTL TYPE DATA" of one record. */
static void assert_record(struct fixture *f, ns_sect section, int i, const char *expected)
{
	AUTO_FREE char *text = NULL;
	char name[NS_MAXDNAME], name2[NS_MAXDNAME], address[INET6_ADDRSTRLEN];
	const uint8_t *at;
	ns_rr rr;

	assert_int_equal(ns_parserr(&f->msg, section, i, &rr), 0);
	assert_int_equal(ns_rr_class(rr), ns_c_in);
	switch ((int)ns_rr_type(rr)) {
	case ns_t_a:
		inet_ntop(AF_INET, ns_rr_rdata(rr), address, sizeof(address));
		text = xasprintf("A %s", address);
		break;
	case ns_t_aaaa:
		inet_ntop(AF_INET6, ns_rr_rdata(rr), address, sizeof(address));
		text = xasprintf("AAAA %s", address);
		break;
	case ns_t_ns:
		read_name(f, ns_rr_rdata(rr), name);
		text = xasprintf("NS %s", name);
		break;
	case ns_t_soa:
		at = read_name(f, ns_rr_rdata(rr), name);
		at = read_name(f, at, name2);
		text = xasprintf("SOA %s %s %lu %lu", name, name2, ns_get32(at), ns_get32(at + 16));
		break;
	default:
		fail_msg("type %d", ns_rr_type(rr));
	}
	{
		AUTO_FREE char *line =
			xasprintf("%s. %u %s", ns_rr_name(rr), (unsigned int)ns_rr_ttl(rr), text);

		assert_string_equal(line, expected);
	}
}

static void assert_counts(struct fixture *f, int n_answers, int n_authorities, int n_additional)
{
	assert_int_equal(ns_msg_count(f->msg, ns_s_qd), 1);
	assert_int_equal(ns_msg_count(f->msg, ns_s_an), n_answers);
	assert_int_equal(ns_msg_count(f->msg, ns_s_ns), n_authorities);
	assert_int_equal(ns_msg_count(f->msg, ns_s_ar), n_additional);
}

static void assert_flag(struct fixture *f, ns_flag flag, int value)
{
	assert_int_equal(ns_msg_getflag(f->msg, flag), value);
}

/* Nothing of this type, or no such name: the SOA says how long that is so. */
static void assert_negative(struct fixture *f)
{
	ns_rr rr;

	assert_counts(f, 0, 1, 0);
	assert_flag(f, ns_f_aa, 1);
	assert_int_equal(ns_parserr(&f->msg, ns_s_ns, 0, &rr), 0);
	assert_int_equal(ns_rr_type(rr), ns_t_soa);
	assert_int_equal(ns_rr_ttl(rr), DNS_TTL);
	assert_int_equal(ns_get32(ns_rr_rdata(rr) + ns_rr_rdlen(rr) - 4), DNS_TTL);
}

/* --- tests ----------------------------------------------------------------- */

static void assert_bytes(struct fixture *f, const char *expected, size_t n)
{
	assert_int_equal(f->n, n);
	assert_memory_equal(f->answer, expected, n);
}

#define REDIS "\5redis\10marathon\4l4lb\10thisdcos\11directory\0"
#define GOLDEN(f, bytes) assert_bytes(f, bytes, sizeof(bytes) - 1)

static void test_golden_address(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ask_vip(f, "redis.marathon", ns_t_a), ns_r_noerror);
	GOLDEN(f, "\x12\x34\x85\x00\0\1\0\1\0\0\0\0" REDIS "\0\1\0\1"
		  "\xc0\x0c\0\1\0\1\0\0\0\5\0\4\x0b\xca\x42\x24");
	assert_int_equal(ask_vip(f, "redis.marathon", ns_t_aaaa), ns_r_noerror);
	GOLDEN(f, "\x12\x34\x85\x00\0\1\0\1\0\0\0\0" REDIS "\0\x1c\0\1"
		  "\xc0\x0c\0\x1c\0\1\0\0\0\5\0\x10"
		  "\xfd\1\0\x0c\0\0\0\0\xda\x94\x49\xac\x1e\x87\x4a\7");
}

/* The zone's name stands in the question, at 27. */
static void test_golden_negative(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ask_edns(f, "redis.marathon" SUFFIX, ns_t_mx, 4096), ns_r_noerror);
	GOLDEN(f, "\x12\x34\x85\x00\0\1\0\0\0\1\0\1" REDIS "\0\x0f\0\1"
		  "\xc0\x1b\0\6\0\1\0\0\0\5\0\x26"
		  "\2ns\xc0\x1b\12hostmaster\xc0\x1b"
		  "\0\0\0\7\0\0\0\x3c\0\0\0\x3c\0\1\x51\x80\0\0\0\5"
		  "\0\0\x29\4\xd0\0\0\x80\0\0\0");
}

static void test_records(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ask_vip(f, "four.marathon", ns_t_a), ns_r_noerror);
	assert_record(f, ns_s_an, 0, "four.marathon.l4lb.thisdcos.directory. 5 A 11.0.0.4");
	assert_counts(f, 1, 0, 0);
	assert_int_equal(ask_vip(f, "six.deep.down", ns_t_aaaa), ns_r_noerror);
	assert_record(f, ns_s_an, 0, "six.deep.down.l4lb.thisdcos.directory. 5 AAAA fd01:c::6");
	assert_flag(f, ns_f_aa, 1);
	assert_flag(f, ns_f_rd, 1);
	assert_int_equal(ask_vip(f, long_name, ns_t_a), ns_r_noerror);
	assert_counts(f, 1, 0, 0);
}

static void test_aliases(void **state)
{
	static const char *const names[] = {"redis.marathon.l4lb.thisdcos.directory",
		"redis.marathon.dclb.thisdcos.directory", "redis.marathon.l4lb.thisdcos.global",
		"redis.marathon.dclb.thisdcos.global"};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		AUTO_FREE char *expected = xasprintf("%s. 5 A 11.202.66.36", names[i]);

		assert_int_equal(ask(f, names[i], ns_t_a), ns_r_noerror);
		assert_record(f, ns_s_an, 0, expected);
		assert_int_equal(ask(f, names[i] + strlen("redis.marathon."), ns_t_soa), 0);
		assert_counts(f, 1, 0, 0);
	}
}

static void test_the_querys_case_comes_back(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ask(f, "ReDiS.marathon.L4LB.thisdcos.DIRECTORY", ns_t_a), ns_r_noerror);
	assert_record(f, ns_s_an, 0, "ReDiS.marathon.L4LB.thisdcos.DIRECTORY. 5 A 11.202.66.36");
	assert_int_equal(ask(f, "nO.SUCH.l4lb.ThisDCOS.directory", ns_t_a), ns_r_nxdomain);
	assert_record(f, ns_s_ns, 0,
		"l4lb.ThisDCOS.directory. 5 SOA ns.l4lb.ThisDCOS.directory. "
		"hostmaster.l4lb.ThisDCOS.directory. 7 5");
}

static void test_negative(void **state)
{
	static const struct {
		const char *name;
		int type, rcode;
	} cases[] = {
		{"no.such", ns_t_a, ns_r_nxdomain},
		{"no.such", ns_t_any, ns_r_nxdomain},
		{"no.redis.marathon", ns_t_a, ns_r_nxdomain},
		{"edis.marathon", ns_t_a, ns_r_nxdomain},
		{"redis.marathon", ns_t_mx, ns_r_noerror},
		{"redis.marathon", ns_t_ns, ns_r_noerror},
		{"redis.marathon", ns_t_soa, ns_r_noerror},
		{"redis.marathon", 65280, ns_r_noerror},
		{"four.marathon", ns_t_aaaa, ns_r_noerror},
		{"six.deep.down", ns_t_a, ns_r_noerror},
		/* names that only have others below them */
		{"marathon", ns_t_a, ns_r_noerror},
		{"deep.down", ns_t_aaaa, ns_r_noerror},
		{"down", ns_t_any, ns_r_noerror},
		{"ns", ns_t_aaaa, ns_r_noerror},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(ask_vip(f, cases[i].name, cases[i].type), cases[i].rcode);
		assert_negative(f);
	}
	/* A label with a dot in it is not two labels. */
	assert_int_equal(ask(f, "redis\\.marathon" SUFFIX, ns_t_a), ns_r_nxdomain);
	assert_int_equal(ask(f, "l4lb.thisdcos.directory", ns_t_a), ns_r_noerror);
	assert_negative(f);
}

static void test_apex(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ask(f, "l4lb.thisdcos.directory", ns_t_ns), ns_r_noerror);
	assert_counts(f, 1, 0, 1);
	assert_record(f, ns_s_an, 0, "l4lb.thisdcos.directory. 5 NS ns.l4lb.thisdcos.directory.");
	assert_record(f, ns_s_ar, 0, "ns.l4lb.thisdcos.directory. 5 A 127.0.0.61");
	assert_int_equal(ask_vip(f, "ns", ns_t_a), ns_r_noerror);
	assert_record(f, ns_s_an, 0, "ns.l4lb.thisdcos.directory. 5 A 127.0.0.61");
	/* A client that came by IPv6 is told where it came to. */
	ip_addr_parse("fd00::61", &f->source.self);
	assert_int_equal(ask_edns(f, "dclb.thisdcos.global", ns_t_ns, 1232), ns_r_noerror);
	assert_counts(f, 1, 0, 2);
	assert_record(f, ns_s_ar, 0, "ns.dclb.thisdcos.global. 5 AAAA fd00::61");
}

static void test_any(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ask_vip(f, "redis.marathon", ns_t_any), ns_r_noerror);
	assert_counts(f, 1, 0, 0);
	assert_record(f, ns_s_an, 0, "redis.marathon" SUFFIX ". 5 A 11.202.66.36");
	assert_int_equal(ask_vip(f, "six.deep.down", ns_t_any), ns_r_noerror);
	assert_record(f, ns_s_an, 0, "six.deep.down" SUFFIX ". 5 AAAA fd01:c::6");
	assert_int_equal(ask(f, "l4lb.thisdcos.directory", ns_t_any), ns_r_noerror);
	assert_counts(f, 1, 0, 0);
}

/* RFC 8914's code in an answer's EDNS record. */
static unsigned int extended_error(struct fixture *f)
{
	ns_rr rr;

	assert_int_equal(ns_parserr(&f->msg, ns_s_ar, 0, &rr), 0);
	assert_int_equal(ns_rr_rdlen(rr), 6);
	return ns_get16(ns_rr_rdata(rr) + 4);
}

static void test_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ask(f, "example.org", ns_t_a), ns_r_refused);
	assert_counts(f, 0, 0, 0);
	assert_flag(f, ns_f_aa, 0);
	assert_int_equal(ask(f, ".", ns_t_ns), ns_r_refused);
	assert_int_equal(ask(f, "thisdcos.directory", ns_t_soa), ns_r_refused);
	assert_int_equal(ask(f, "xl4lb.thisdcos.directory", ns_t_a), ns_r_refused);
	assert_int_equal(ask(f, "l4lb.thisdcos.directory", ns_t_axfr), ns_r_refused);
	assert_int_equal(ask_edns(f, "example.org", ns_t_a, 1232), ns_r_refused);
	assert_int_equal(extended_error(f), 20);
	make_query(f, "version.bind", ns_t_txt);
	f->query[f->n_query - 1] = ns_c_chaos;
	assert_int_equal(answer(f, false, sizeof(f->answer)), ns_r_refused);
}

static void test_nothing_known(void **state)
{
	struct fixture *f = *state;
	struct dns_zone *zone = (struct dns_zone *)STEAL(f->source.zone);

	assert_int_equal(ask_vip(f, "redis.marathon", ns_t_a), ns_r_servfail);
	assert_flag(f, ns_f_aa, 0);
	assert_counts(f, 0, 0, 0);
	assert_int_equal(ask(f, "l4lb.thisdcos.directory", ns_t_soa), ns_r_servfail);
	assert_int_equal(ask_edns(f, "no.such" SUFFIX, ns_t_a, 1232), ns_r_servfail);
	assert_int_equal(extended_error(f), 14);
	assert_int_equal(ask(f, "example.org", ns_t_a), ns_r_refused);
	f->source.zone = zone;
}

/* A name is told only once its address is forwarded. */
static void test_reachable_only(void **state)
{
	struct fixture *f = *state;

	f->unreachable = "11.202.66.36";
	assert_int_equal(ask_vip(f, "redis.marathon", ns_t_a), ns_r_noerror);
	assert_negative(f);
	assert_int_equal(ask_vip(f, "redis.marathon", ns_t_aaaa), ns_r_noerror);
	assert_counts(f, 1, 0, 0);
	assert_int_equal(ask_vip(f, "redis.marathon", ns_t_any), ns_r_noerror);
	assert_record(
		f, ns_s_an, 0, "redis.marathon" SUFFIX ". 5 AAAA fd01:c::da94:49ac:1e87:4a07");
	f->unreachable = "fd01:c::6";
	assert_int_equal(ask_vip(f, "six.deep.down", ns_t_aaaa), ns_r_nxdomain);
	/* but one with other names below it is there */
	f->unreachable = "11.0.0.4";
	assert_int_equal(ask_vip(f, "four.marathon", ns_t_a), ns_r_noerror);
	assert_negative(f);
}

static void test_edns(void **state)
{
	struct fixture *f = *state;
	ns_rr rr;

	assert_int_equal(ask_edns(f, "redis.marathon" SUFFIX, ns_t_a, 4096), ns_r_noerror);
	assert_counts(f, 1, 0, 1);
	assert_int_equal(ns_parserr(&f->msg, ns_s_ar, 0, &rr), 0);
	assert_int_equal(ns_rr_type(rr), ns_t_opt);
	assert_int_equal(ns_rr_class(rr), DNS_ANSWER_MAX);
	assert_int_equal(ns_rr_ttl(rr), 0x8000); /* DO as it came, version 0 */
	assert_int_equal(ns_rr_rdlen(rr), 0);

	make_query(f, "redis.marathon" SUFFIX, ns_t_a);
	add_opt(f, 1232, 1);
	assert_int_equal(answer(f, false, sizeof(f->answer)), 0);
	assert_counts(f, 0, 0, 1);
	assert_int_equal(ns_parserr(&f->msg, ns_s_ar, 0, &rr), 0);
	assert_int_equal(ns_rr_ttl(rr), 0x01008000);
	assert_int_equal(f->counts.n_answers[16], 1);

	make_query(f, "redis.marathon" SUFFIX, ns_t_a);
	add_opt(f, 1232, 0);
	add_opt(f, 1232, 0);
	assert_int_equal(answer(f, false, sizeof(f->answer)), ns_r_formerr);
}

/* What does not fit is left out, and said to be; the question and EDNS always fit. */
static void test_truncation(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *full = xasprintf("%s" SUFFIX, long_name);

	make_query(f, full, ns_t_a);
	add_opt(f, 512, 0);
	assert_int_equal(answer(f, false, DNS_ANSWER_MIN), ns_r_noerror);
	assert_flag(f, ns_f_tc, 1);
	assert_counts(f, 0, 0, 1);
	assert_int_equal(f->counts.n_truncated, 1);
	make_query(f, full, ns_t_mx);
	assert_int_equal(answer(f, false, DNS_ANSWER_MIN), ns_r_noerror);
	assert_flag(f, ns_f_tc, 1);
	assert_counts(f, 0, 0, 0);
	/* Whole by UDP with the least that a client may say it takes. */
	assert_int_equal(ask_edns(f, full, ns_t_mx, 0), ns_r_noerror);
	assert_flag(f, ns_f_tc, 0);
	assert_counts(f, 0, 1, 1);
	assert_int_equal(f->counts.n_truncated, 2);
}

static void test_malformed(void **state)
{
	struct fixture *f = *state;
	size_t whole;

	/* Every shorter message. */
	make_query(f, "redis.marathon" SUFFIX, ns_t_a);
	add_opt(f, 1232, 0);
	whole = f->n_query;
	for (f->n_query = 0; f->n_query < 12; f->n_query++)
		assert_int_equal(answer(f, false, sizeof(f->answer)), -1);
	for (f->n_query = 12; f->n_query < whole; f->n_query++)
		assert_int_equal(answer(f, false, sizeof(f->answer)), ns_r_formerr);
	/* A byte too many. */
	f->n_query = whole + 1;
	assert_int_equal(answer(f, false, sizeof(f->answer)), ns_r_formerr);
	/* A name that points to itself, or into the head. */
	for (int offset = 0; offset <= 12; offset += 12) {
		make_query(f, "", ns_t_a);
		f->n_query = 12;
		add16(f, 0xc000 | (unsigned int)offset);
		add16(f, ns_t_a);
		add16(f, ns_c_in);
		assert_int_equal(answer(f, false, sizeof(f->answer)), ns_r_formerr);
	}
	/* No question, and two. */
	make_query(f, "redis.marathon" SUFFIX, ns_t_a);
	f->query[5] = 0;
	f->n_query = 12;
	assert_int_equal(answer(f, false, sizeof(f->answer)), ns_r_formerr);
	make_query(f, "", ns_t_a);
	memcpy(f->query + f->n_query, f->query + 12, f->n_query - 12);
	f->n_query += f->n_query - 12;
	f->query[5] = 2;
	assert_int_equal(answer(f, false, sizeof(f->answer)), ns_r_formerr);
	/* Types that are no data. */
	assert_int_equal(ask_vip(f, "redis.marathon", ns_t_opt), ns_r_formerr);
	assert_int_equal(ask_vip(f, "redis.marathon", ns_t_tkey), ns_r_formerr);
	assert_int_equal(ask_vip(f, "redis.marathon", ns_t_maila), ns_r_notimpl);
}

static void test_not_for_us(void **state)
{
	struct fixture *f = *state;

	make_query(f, "redis.marathon" SUFFIX, ns_t_a);
	f->query[2] |= 0x80; /* an answer */
	assert_int_equal(answer(f, false, sizeof(f->answer)), -1);
	assert_int_equal(f->counts.n_ignored, 1);
	for (int opcode = 1; opcode < 16; opcode++) {
		make_query(f, "redis.marathon" SUFFIX, ns_t_a);
		f->query[2] = (uint8_t)(opcode << 3);
		assert_int_equal(answer(f, false, sizeof(f->answer)), ns_r_notimpl);
		assert_flag(f, ns_f_opcode, opcode);
	}
	assert_int_equal(f->counts.n_answers[ns_r_notimpl], 15);
	assert_int_equal(f->counts.n_queries, 16);
}

/* The longest names, of the most labels, with all that makes an answer long. */
static void test_nobodys_flood_is_multiplied(void **state)
{
	static const int types[] = {ns_t_a, ns_t_ns, ns_t_soa, ns_t_any, ns_t_mx};
	struct fixture *f = *state;
	char name[256] = "";
	size_t n = 0;

	for (; n + 2 + strlen(SUFFIX) < 254; n += 2)
		memcpy(name + n, "a.", 3);
	strcpy(name + n - 1, SUFFIX);
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		assert_int_equal(ask_edns(f, name, types[i], 65535), ns_r_nxdomain);
		ask_edns(f, "l4lb.thisdcos.directory", types[i], 65535);
	}
}

static void test_zone(void **state)
{
	struct fixture *f = *state;
	struct vip bad[] = {a_vip("a..b", "11.0.0.1", 80), a_vip("b.", "11.0.0.2", 80),
		a_vip(LABEL_63 "x.marathon", "11.0.0.3", 80)};
	struct vip_table table = {.n_vips = ARRAY_SIZE(bad), .vips = bad};
	struct dns_zone *z = dns_zone_new(&table, 1);

	assert_int_equal(dns_zone_n_names(f->source.zone), 5);
	assert_int_equal(dns_zone_n_names(z), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		free((char *)bad[i].name);
	dns_zone_free(z);
}

/* More names than the first allocations hold, each found, with all that they end in. */
static void test_many_names(void **state)
{
	enum { N = 5000 };
	struct vip *vips = xcalloc(N, sizeof(*vips));
	struct vip_table table = {.n_vips = N, .vips = vips};
	struct fixture *f = *state;
	struct dns_zone *before = (struct dns_zone *)f->source.zone;

	for (unsigned int i = 0; i < N; i++) {
		AUTO_FREE char *name = xasprintf("app%u.f%u", i, i % 70);
		AUTO_FREE char *address = xasprintf("11.1.%u.%u", i / 256, i % 256);

		vips[i] = a_vip(name, address, 80);
	}
	f->source.zone = dns_zone_new(&table, 8);
	for (unsigned int i = 0; i < N; i++) {
		AUTO_FREE char *name = xasprintf("app%u.f%u", i, i % 70);
		AUTO_FREE char *expected =
			xasprintf("%s" SUFFIX ". 5 A 11.1.%u.%u", name, i / 256, i % 256);

		assert_int_equal(ask_vip(f, name, ns_t_a), ns_r_noerror);
		assert_record(f, ns_s_an, 0, expected);
		assert_int_equal(ask_vip(f, strchr(name, '.') + 1, ns_t_a), ns_r_noerror);
		free((char *)vips[i].name);
	}
	dns_zone_free((struct dns_zone *)f->source.zone);
	f->source.zone = before;
	free(vips);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_golden_address, setup, teardown),
		cmocka_unit_test_setup_teardown(test_golden_negative, setup, teardown),
		cmocka_unit_test_setup_teardown(test_records, setup, teardown),
		cmocka_unit_test_setup_teardown(test_aliases, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_querys_case_comes_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_negative, setup, teardown),
		cmocka_unit_test_setup_teardown(test_apex, setup, teardown),
		cmocka_unit_test_setup_teardown(test_any, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_known, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reachable_only, setup, teardown),
		cmocka_unit_test_setup_teardown(test_edns, setup, teardown),
		cmocka_unit_test_setup_teardown(test_truncation, setup, teardown),
		cmocka_unit_test_setup_teardown(test_malformed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_for_us, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nobodys_flood_is_multiplied, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_names, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
