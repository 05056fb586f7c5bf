/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * Mesos documents, read as they arrive. One parser takes the three shapes that vipd meets, told
 * apart by their content: the master's /state, an agent's /state, and the v1 operator API's
 * GET_STATE answer (of a master, or of an agent with its GET_AGENT beside it). Bytes go in as the
 * network delivers them; out comes a `struct mesos_state`: the tasks that can matter to a VIP, with
 * the frameworks and agents that they name.
 *
 * The document is never held as a whole. A scanner follows its structure and hands back what is
 * wanted of one task, framework or agent at a time, as tokens; what stands elsewhere (completed
 * tasks, flags, attributes) costs only its bytes.
 */
#include "ipvs/model.h"

struct mesos_limits {
	size_t document;   /* bytes of a whole document; 0: 1 GiB */
	size_t element;    /* bytes of one task, framework or agent; 0: 4 MiB */
	size_t tasks;      /* tasks that are kept; 0: 1,000,000 */
	size_t agents;     /* recovered ones too; 0: 100,000 */
	size_t frameworks; /* 0: 100,000 */
	size_t labels;     /* VIP labels of one task; 0: 1,000 */
	size_t depth;      /* nesting of the document; 0: 64 */
};

struct mesos_agent {
	const char *id;
	const char *hostname;   /* as registered; may be a name */
	struct ip_addr address; /* hostname if literal, else from pid; AF_UNSPEC: needs resolving */
};

/* One port of a task after its sources (port mappings, discovery ports, vip_port labels) are
 * merged: entries of one protocol with the same container or host port are one. */
struct mesos_port {
	uint8_t protocol;        /* IPPROTO_TCP, IPPROTO_UDP */
	uint16_t container_port; /* 0: none */
	uint16_t host_port;      /* 0: none */
	uint16_t n_vips;
	const char **vips;     /* label values behind which this port stands: "/redis:6379" */
	const char **vip_keys; /* their label keys: "VIP_0" */
};

/* Why a task has its weight. */
enum weight_reason {
	WEIGHT_HEALTHY,   /* 1: runs and is not known to be unhealthy */
	WEIGHT_UNHEALTHY, /* 0, as the others: its health check says so */
	WEIGHT_NO_RESULT, /* it declares a health check, which has no result yet */
	WEIGHT_KILLING,   /* it is being killed */
};

/* What one task says of itself. Documents share it: never changed, see task_pool.h. */
struct mesos_task {
	const char *id;
	struct ip_addr *addresses; /* of its latest status */
	struct mesos_port *ports;  /* only those with VIP labels */
	uint32_t framework, agent; /* numbers of their ids in the pool; MESOS_NO_ID */
	uint16_t n_ports;
	uint8_t n_addresses;
	bool docker;           /* container type DOCKER: keeps its host port on its own node */
	bool killing;          /* TASK_KILLING */
	bool waiting;          /* neither runs nor is being killed, but may come to it */
	uint8_t weight;        /* 1: runs and is not known to be unhealthy; else 0 */
	uint8_t weight_reason; /* enum weight_reason */
};
#define MESOS_NO_ID UINT32_MAX

/* A task among the frameworks and agents of a document. */
struct mesos_placed {
	const struct mesos_task *task;
	const char *framework, *framework_id; /* name and id */
	const struct mesos_agent *agent;
};

/* Why something of a document was left out. */
enum mesos_reject {
	MESOS_REJECT_NO_FRAMEWORK, /* task: its framework is not in the document */
	MESOS_REJECT_NO_AGENT,     /* task: its agent is not in the document */
	MESOS_REJECT_NO_ADDRESS,   /* task: its agent has no address (yet) */
	MESOS_REJECT_LABEL,        /* label: no valid "host:port", unusable name, ... */
	MESOS_REJECT_PORT,      /* label: the port it stands on has no usable number or protocol */
	MESOS_REJECT_TOO_LARGE, /* task: over mesos_limits.element or .labels */
	MESOS_REJECT_MALFORMED, /* task: not of the expected types */
	_MESOS_REJECT_N,
};
/* A short fixed phrase: "no such framework". */
const char *mesos_reject_text(enum mesos_reject reason);

struct mesos_rejection {
	enum mesos_reject reason;
	const char *task, *framework, *key, *value; /* "" where it does not apply */
	const char *detail; /* a sentence for people: "port 99999 is out of range" */
};

/* At most this many rejections are kept with their texts; all are counted. */
#define MESOS_REJECTIONS_KEPT 1000

struct task_pool;

struct mesos_state {
	size_t n_tasks;
	struct mesos_placed
		*tasks; /* in document order, running or being killed, with VIP labels */
	size_t n_agents;
	struct mesos_agent *agents;
	size_t n_recovered;
	struct mesos_agent
		*recovered;  /* agents that the master knows from its registry only: it has
					* not heard from them, nor of their tasks, since it took
					* over; none of `agents` */
	size_t n_tasks_seen; /* all tasks of the document that run or are being killed */
	uint64_t n_bytes;
	size_t n_rejected[_MESOS_REJECT_N];
	size_t n_rejections;
	struct mesos_rejection *rejections;
	struct arena *arena;    /* everything above lives here, but for */
	struct task_pool *pool; /* tasks and ids */
	size_t n_ids;           /* of frameworks and agents, for task_pool_is_worn() */
	uint8_t digest[16];     /* of all that the above was made of; zeroed: none */
};
struct mesos_state *mesos_state_free(struct mesos_state *s); /* takes NULL; returns NULL */

struct mesos_parser;

/* `limits` may be NULL. With the `pool` of earlier documents tasks that they had already cost no
 * more than their bytes; NULL: a pool of its own. Never fails (out of memory aborts, as
 * everywhere in agent/). */
struct mesos_parser *mesos_parser_new(const struct mesos_limits *limits, struct task_pool *pool);
struct mesos_parser *mesos_parser_free(struct mesos_parser *p);
/* Takes the next bytes. 0, or -EBADMSG (not JSON, or over a limit): mesos_parser_error() then
 * says what and where ("byte 1234: ..."), and every later call fails alike. */
int mesos_parser_feed(struct mesos_parser *p, const void *bytes, size_t n_bytes);
/* The document ends here. 0 and the state; MESOS_UNCHANGED if it says what a state with the digest
 * `known` said (NULL: none is known); -EBADMSG if it is truncated, malformed or of none of the
 * known shapes (an empty document is). The parser can only be freed afterwards. */
#define MESOS_UNCHANGED 1
int mesos_parser_finish(struct mesos_parser *p, const uint8_t known[16], struct mesos_state **ret);
/* Bytes so far. */
uint64_t mesos_parser_position(const struct mesos_parser *p);
const char *mesos_parser_error(const struct mesos_parser *p);
