/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Golden bytes: what goes to the kernel, byte by byte, and what comes back from one. The
 * commands are those that the tests in a real kernel send. Little-endian machines only:
 * netlink speaks the host's order.
 */
#include "ipvs/batch.h"
#include "ipvs/ipset.h"
#include "ipvs/route.h"
#include "ipvs/wire.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FAMILY 0x1b

static struct ip_addr addr(const char *text)
{
	struct ip_addr a = {};

	assert_int_equal(ip_addr_parse(text, &a), 0);
	return a;
}

static size_t from_hex(const char *hex, uint8_t *bytes, size_t size)
{
	size_t n = 0;

	for (; *hex; hex++) {
		unsigned int byte;

		if (*hex == ' ')
			continue;
		assert_true(n < size);
		assert_int_equal(sscanf(hex, "%2x", &byte), 1);
		bytes[n++] = (uint8_t)byte;
		hex++;
	}
	return n;
}

static void assert_bytes(const struct nlmsghdr *h, const char *hex)
{
	uint8_t want[512];
	size_t n = from_hex(hex, want, sizeof(want));
	const uint8_t *got = (const uint8_t *)h;

	if (h->nlmsg_len != n || memcmp(h, want, n)) {
		for (size_t i = 0; i < h->nlmsg_len; i++)
			printf("%s%02x", i % 4 ? "" : " ", got[i]);
		printf("\n");
	}
	assert_int_equal(h->nlmsg_len, n);
	assert_memory_equal(h, want, n);
}

/* A header, the generic header, and the key of tcp 11.0.0.1:80 as a nest. */
#define KEY4                                                              \
	"3000 0180 06000100 02000000 06000200 06000000 14000300 0b000001" \
	" 00000000 00000000 00000000 06000400 00500000"
#define KEY6                                                              \
	"3000 0180 06000100 0a000000 06000200 11000000 14000300 fd01000c" \
	" 00000000 00000000 00000001 06000400 00350000"

static struct step service_step(enum step_kind kind)
{
	struct step s = {.kind = kind};

	s.key = (struct service_key){addr("11.0.0.1"), 80, IPPROTO_TCP};
	strcpy(s.service.scheduler, "wlc");
	s.service.timeout = SERVICE_SIGNATURE;
	s.service.netmask = UINT32_MAX;
	return s;
}

static void test_services(void **state)
{
	struct step s;
	struct wire w;

	assert_int_equal(wire_init(&w, FAMILY), 0);
	s = service_step(STEP_SERVICE_ADD);
	assert_bytes(wire_step(&w, &s),
		"68000000 1b000100 00000000 00000000 01010000"
		" 5400 0180 06000100 02000000 06000200 06000000 14000300 0b000001 00000000"
		" 00000000 00000000 06000400 00500000 08000600 776c6300 0c000700 00000000"
		" ffffffff 08000800 ecef0000 08000900 ffffffff");
	s.kind = STEP_SERVICE_EDIT;
	assert_int_equal(((const uint8_t *)wire_step(&w, &s))[16], 2);
	s.kind = STEP_SERVICE_DEL;
	assert_bytes(wire_step(&w, &s), "44000000 1b000100 00000000 00000000 03010000" KEY4);
	assert_bytes(wire_get_services(&w), "14000000 1b000103 00000000 00000000 04010000");
	assert_bytes(
		wire_get_service(&w, &s.key), "44000000 1b000500 00000000 00000000 04010000" KEY4);
	assert_bytes(wire_get_destinations(&w, &s.key),
		"44000000 1b000103 00000000 00000000 08010000" KEY4);
	s.kind = STEP_ROUTE_ADD;
	assert_null(wire_step(&w, &s));
	wire_done(&w);
}

static void test_destinations(void **state)
{
	struct step s = {.kind = STEP_DESTINATION_ADD};
	struct wire w;

	assert_int_equal(wire_init(&w, FAMILY), 0);
	s.key = (struct service_key){addr("11.0.0.1"), 80, IPPROTO_TCP};
	s.destination =
		(struct destination){.address = addr("10.0.0.5"), .port = 31000, .weight = 1};
	assert_bytes(wire_step(&w, &s),
		"8c000000 1b000100 00000000 00000000 05010000" KEY4
		" 4800 0280 14000100 0a000005 00000000 00000000 00000000 06000200 79180000"
		" 06000b00 02000000 08000300 00000000 08000400 01000000 08000500 00000000"
		" 08000600 00000000");
	/* nothing of the last step stays in the next one's message */
	s.key = (struct service_key){addr("fd01:c::1"), 53, IPPROTO_UDP};
	s.destination = (struct destination){.address = addr("fd02::2"),
		.port = 8080,
		.upper_threshold = 7,
		.lower_threshold = 3};
	assert_bytes(wire_step(&w, &s),
		"8c000000 1b000100 00000000 00000000 05010000" KEY6
		" 4800 0280 14000100 fd020000 00000000 00000000 00000002 06000200 1f900000"
		" 06000b00 0a000000 08000300 00000000 08000400 00000000 08000500 07000000"
		" 08000600 03000000");
	s.kind = STEP_DESTINATION_EDIT;
	assert_int_equal(((const uint8_t *)wire_step(&w, &s))[16], 6);
	s.kind = STEP_DESTINATION_DEL;
	assert_bytes(wire_step(&w, &s),
		"6c000000 1b000100 00000000 00000000 07010000" KEY6
		" 2800 0280 14000100 fd020000 00000000 00000000 00000002 06000200 1f900000"
		" 06000b00 0a000000");
	wire_done(&w);
}

static void test_routes(void **state)
{
	char buf[ROUTE_MESSAGE_SIZE] __attribute__((aligned(4)));
	struct vip_route r = {addr("11.0.0.1"), addr("10.9.0.1")};

	assert_bytes(route_build(buf, &r, 7, STEP_ROUTE_ADD, NLM_F_CREATE | NLM_F_EXCL),
		"34000000 18000106 00000000 00000000 02200000 ff3dfe02 00000000"
		" 08000100 0b000001 08000400 07000000 08000700 0a090001");
	r.source = (struct ip_addr){};
	assert_bytes(route_build(buf, &r, 7, STEP_ROUTE_ADD, NLM_F_CREATE | NLM_F_REPLACE),
		"2c000000 18000105 00000000 00000000 02200000 ff3dfe02 00000000"
		" 08000100 0b000001 08000400 07000000");
	assert_bytes(route_build(buf, &r, 7, STEP_ROUTE_DEL, 0),
		"2c000000 19000100 00000000 00000000 02200000 ff00ff02 00000000"
		" 08000100 0b000001 08000400 07000000");
	r.address = addr("fd01:c::1");
	assert_bytes(route_build(buf, &r, 7, STEP_ROUTE_DEL, 0),
		"38000000 19000100 00000000 00000000 0a800000 ff00ff02 00000000"
		" 14000100 fd01000c 00000000 00000000 00000001 08000400 07000000");
	assert_bytes(route_build_link_add(buf, "vipd0"),
		"3c000000 10000506 00000000 00000000 00000000 00000000 00000000 00000000"
		" 0a000300 76697064 30000000 10001280 0a000100 64756d6d 79000000");
}

/* Bytes as an aligned message. */
static const struct nlmsghdr *message(const char *hex)
{
	static uint8_t bytes[1024] __attribute__((aligned(4)));

	memset(bytes, 0, sizeof(bytes));
	from_hex(hex, bytes, sizeof(bytes));
	return (const struct nlmsghdr *)bytes;
}

static void test_parse_service(void **state)
{
	struct service svc = {};

	/* with the HASHED flag that the kernel adds, and without the statistics */
	assert_int_equal(
		wire_parse_service(message("68000000 1b000200 01000000 00000000 01010000 5400 0180"
					   "06000100 02000000 06000200 06000000 14000300 0b000001"
					   "00000000 00000000 00000000 06000400 00500000 08000600"
					   "776c6300 0c000700 02000000 ffffffff 08000800 ecef0000"
					   "08000900 ffffffff"),
			&svc),
		0);
	assert_int_equal(svc.key.port, 80);
	assert_int_equal(svc.key.protocol, IPPROTO_TCP);
	assert_int_equal(svc.flags, 0);
	assert_int_equal(svc.timeout, SERVICE_SIGNATURE);
	assert_int_equal(svc.netmask, UINT32_MAX);
	assert_string_equal(svc.scheduler, "wlc");
	/* by firewall mark; of another protocol (SCTP) */
	assert_int_equal(wire_parse_service(message("28000000 1b000200 01000000 00000000 01010000"
						    "1400 0180 06000100 02000000 08000500"
						    "07000000"),
				 &svc),
		WIRE_E_OTHER);
	assert_int_equal(
		wire_parse_service(message("44000000 1b000200 01000000 00000000 01010000 3000 0180"
					   "06000100 02000000 06000200 84000000 14000300 0b000001"
					   "00000000 00000000 00000000 06000400 00500000"),
			&svc),
		WIRE_E_OTHER);
	/* a family without addresses; too short an address; no nest; no generic header */
	assert_int_equal(
		wire_parse_service(message("44000000 1b000200 01000000 00000000 01010000 3000 0180"
					   "06000100 01000000 06000200 06000000 14000300 0b000001"
					   "00000000 00000000 00000000 06000400 00500000"),
			&svc),
		-EBADMSG);
	assert_int_equal(
		wire_parse_service(message("14000000 1b000200 01000000 00000000 01010000"), &svc),
		-EBADMSG);
	assert_int_equal(
		wire_parse_service(message("10000000 1b000200 01000000 00000000"), &svc), -EBADMSG);
}

static void test_parse_destination(void **state)
{
	struct destination d = {};

	assert_int_equal(wire_parse_destination(
				 message("6c000000 1b000200 01000000 00000000 05010000 5800 0280"
					 "14000100 0a000005 00000000 00000000 00000000 06000200"
					 "79180000 08000300 03000000 08000400 01000000 08000500"
					 "00000000 08000600 00000000 08000700 02000000 08000800"
					 "05000000"),
				 AF_INET, &d),
		0);
	assert_int_equal(d.port, 31000);
	assert_int_equal(d.forward, 3);
	assert_int_equal(d.weight, 1);
	assert_int_equal(d.n_active, 2);
	assert_int_equal(d.n_inactive, 5);
	assert_int_equal(d.address.family, AF_INET); /* told by the caller: an old kernel */
	assert_int_equal(wire_parse_destination(
				 message("34000000 1b000200 01000000 00000000 05010000 2000 0280"
					 "14000100 0a000005 00000000 00000000 00000000 06000200"
					 "79180000"),
				 AF_INET, &d),
		-EBADMSG); /* no weight */
}

static void test_parse_route(void **state)
{
	struct vip_route r;

	assert_int_equal(route_parse(message("3c000000 18000200 01000000 00000000 02200000"
					     "ff3dfe02 00000000 08000f00 ff000000 08000100"
					     "0b000001 08000700 0a090001 08000400 07000000"),
				 7, &r),
		0);
	assert_int_equal(r.address.bytes[0], 11);
	assert_int_equal(r.source.bytes[0], 10);
	/* another link; made by the kernel (proto 2); a prefix that is not one address */
	assert_int_equal(route_parse(message("2c000000 18000200 01000000 00000000 02200000 ff3dfe02"
					     "00000000 08000100 0b000001 08000400 08000000"),
				 7, &r),
		ROUTE_E_OTHER);
	assert_int_equal(route_parse(message("2c000000 18000200 01000000 00000000 02200000 ff02fe02"
					     "00000000 08000100 0b000001 08000400 07000000"),
				 7, &r),
		ROUTE_E_OTHER);
	assert_int_equal(route_parse(message("2c000000 18000200 01000000 00000000 02180000 ff3dfe02"
					     "00000000 08000100 0b000001 08000400 07000000"),
				 7, &r),
		ROUTE_E_OTHER);
}

static void test_parse_listing(void **state)
{
	struct kernel_state *s = kernel_state_new();
	struct ipset_listing l = {.family = AF_INET, .has_ports = true, .state = s};
	/* vipd, hash:ip,port, inet; one entry: tcp 11.0.0.1:80 */
	const char *listing = "68000000 07060200 01000000 00000000 02000000 05000100 07000000"
			      "09000200 76697064 00000000 11000300 68617368 3a69702c 706f7274"
			      "00000000 05000500 02000000 24000880 20000780 0c000180 08000140"
			      "0b000001 06000440 00500000 05000700 06000000";

	assert_int_equal(ipset_parse_listing(message(listing), &l), 0);
	assert_true(l.right_type);
	assert_int_equal(s->n_ports, 1);
	assert_int_equal(s->ports[0].port, 80);
	assert_int_equal(s->ports[0].protocol, IPPROTO_TCP);
	l.family = AF_INET6;
	assert_int_equal(ipset_parse_listing(message(listing), &l), 0);
	assert_false(l.right_type);
	assert_int_equal(s->n_ports, 1);
	kernel_state_free(s);
}

struct heard {
	size_t n_errors, tag;
	int error;
	size_t n_answers;
};

static void on_error(void *userdata, size_t tag, int error)
{
	struct heard *h = userdata;

	h->n_errors++;
	h->tag = tag;
	h->error = error;
}

static int on_answer(void *userdata, const struct nlmsghdr *m)
{
	((struct heard *)userdata)->n_answers++;
	return 0;
}

static int walk(const char *hex, uint32_t first, uint32_t last, struct heard *h, bool *end)
{
	static uint8_t bytes[1024] __attribute__((aligned(4)));
	size_t n = from_hex(hex, bytes, sizeof(bytes));

	*h = (struct heard){};
	*end = false;
	return batch_walk(bytes, n, first, last, on_error, on_answer, h, end);
}

#define ACK "24000000 02000001 06000000 00000000 00000000 14000000 1b000500 06000000 00000000"
#define ERROR_EEXIST \
	"24000000 02000001 05000000 00000000 efffffff 14000000 1b000100 05000000 00000000"

static void test_walk(void **state)
{
	struct heard h;
	bool end;

	assert_int_equal(walk(ERROR_EEXIST ACK, 3, 6, &h, &end), 0);
	assert_true(end);
	assert_int_equal(h.n_errors, 1);
	assert_int_equal(h.tag, 2);
	assert_int_equal(h.error, -EEXIST);
	/* answers to what was asked before are nobody's */
	assert_int_equal(walk(ERROR_EEXIST ACK, 7, 9, &h, &end), 0);
	assert_false(end);
	assert_int_equal(h.n_errors, 0);
	/* sequence numbers wrap */
	assert_int_equal(walk(ERROR_EEXIST ACK, 0xfffffff0, 6, &h, &end), 0);
	assert_true(end);
	assert_int_equal(h.tag, 5 + 16);
	/* a dump: an answer and its end, which carries an errno (0, or what went wrong) */
	assert_int_equal(walk("14000000 1b000200 06000000 00000000 01010000"
			      "14000000 03000200 06000000 00000000 00000000",
				 6, 6, &h, &end),
		0);
	assert_true(end);
	assert_int_equal(h.n_answers, 1);
	assert_int_equal(h.n_errors, 0);
	assert_int_equal(walk("14000000 03000200 06000000 00000000 feffffff", 6, 6, &h, &end), 0);
	assert_int_equal(h.error, -ENOENT);
	/* lengths that lie */
	assert_int_equal(
		walk("28000000 02000001 06000000 00000000 00000000", 6, 6, &h, &end), -EBADMSG);
	assert_int_equal(walk("0f000000 02000001 06000000 00000000", 6, 6, &h, &end), -EBADMSG);
	assert_int_equal(walk("10000000 02000001 06000000 00000000", 6, 6, &h, &end), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_services),
		cmocka_unit_test(test_destinations),
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_parse_service),
		cmocka_unit_test(test_parse_destination),
		cmocka_unit_test(test_parse_route),
		cmocka_unit_test(test_parse_listing),
		cmocka_unit_test(test_walk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
