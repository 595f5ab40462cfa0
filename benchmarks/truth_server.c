/* A server whose timeline is known in advance: the truth that clients are measured against.
 *
 * One thread, epoll, loopback only. Token i of a request is due at
 *     arrival + TTFT + i * gap
 * where arrival is the kernel's receive stamp of the last byte of the request body, so that this server's own
 * queue is not part of the promise. Every token is one SSE event, one HTTP chunk and one write(), stamped with
 * CLOCK_MONOTONIC just before that write. The head of the answer is written at once, as vLLM does.
 *
 * Usage: truth_server [--port 0] [--ttft-us 50000] [--gap-us 10000] [--model m] [--dump FILE.jsonl]
 * The first line on stdout is "listening PORT". SIGTERM or SIGINT end it: it then writes the dump, one line of
 *     {"id": x-request-id, "arrival_ns": N, "written_ns": [...]}
 * per request in order of arrival, and prints a summary of what it served as one line of JSON.
 * A client that falls a whole socket buffer behind is cut off and counted in "cut".
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ID_BYTES = 96, EVENT_BYTES = 640, EVENTS_PER_POLL = 256, TOKENS_PER_POLL = 32, MAX_REQUEST_BYTES = 1 << 26 };

typedef struct conn conn;
typedef struct request {
    char id[ID_BYTES];
    int64_t arrival_ns, due_ns;
    int64_t *written_ns;
    size_t number;
    int tokens, written, prompt_tokens, chat;
    conn *to;             /* NULL once the client has gone */
    struct request *next; /* in the queue it waits in */
} request;

struct conn {
    int fd;
    char *in;
    size_t used, room;
    request *active;
};

/* All first tokens wait equally long, and so do all later ones: two queues in order of time replace a heap. */
typedef struct { request *head, *tail; } queue;

static int64_t ttft_ns = 50000000, gap_ns = 10000000;
static const char *model = "m";
static int epoll_fd, listen_fd;
static queue first_tokens, next_tokens;
static request **requests;
static size_t request_count, request_room, cut;
static volatile sig_atomic_t stopping;

static void fail(const char *what) { perror(what); exit(1); }

static int64_t now_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void push(queue *q, request *r) {
    r->next = NULL;
    if (q->tail) q->tail->next = r; else q->head = r;
    q->tail = r;
}

static request *pop(queue *q) {
    request *r = q->head;
    if (!(q->head = r->next)) q->tail = NULL;
    return r;
}

static queue *soonest(void) {
    if (!first_tokens.head) return &next_tokens;
    if (!next_tokens.head) return &first_tokens;
    return first_tokens.head->due_ns <= next_tokens.head->due_ns ? &first_tokens : &next_tokens;
}

/* ---- connections ---- */

static void close_conn(conn *c) {
    if (c->active) {
        c->active->to = NULL;
        cut++;
    }
    close(c->fd);
    free(c->in);
    free(c);
}

static int send_all(conn *c, const char *data, size_t length) {
    return send(c->fd, data, length, MSG_NOSIGNAL) == (ssize_t)length;
}

static void accept_all(void) {
    int one = 1, fd;
    while ((fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        conn *c = calloc(1, sizeof *c);
        c->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) fail("epoll_ctl");
    }
    if (errno == EMFILE) fail("accept4: raise the limit of open files (ulimit -n)");
}

/* The moment the kernel received what was just read, on CLOCK_MONOTONIC; now, if it did not say. */
static int64_t receive_stamp_ns(struct msghdr *message) {
    int64_t monotonic_ns = now_ns(CLOCK_MONOTONIC), realtime_ns = now_ns(CLOCK_REALTIME);
    for (struct cmsghdr *h = CMSG_FIRSTHDR(message); h; h = CMSG_NXTHDR(message, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_TIMESTAMPNS) continue;
        struct timespec t;
        memcpy(&t, CMSG_DATA(h), sizeof t);
        return monotonic_ns - (realtime_ns - (t.tv_sec * 1000000000LL + t.tv_nsec));
    }
    return monotonic_ns;
}

/* ---- requests ---- */

static long number_after(const char *body, const char *key, long otherwise) {
    const char *at = strstr(body, key);
    return at ? strtol(at + strlen(key) + strspn(at + strlen(key), " :"), NULL, 10) : otherwise;
}

/* Exact for a prompt of token ids; text is counted as four bytes a token. */
static int count_prompt_tokens(const char *body) {
    const char *at = strstr(body, "\"prompt\"");
    if (at) at += strlen("\"prompt\"") + strspn(at + strlen("\"prompt\""), " :[");
    else if ((at = strstr(body, "\"content\""))) at += strlen("\"content\"") + strspn(at + strlen("\"content\""), " :");
    if (!at) return 0;
    if (*at == '"') return (int)(strcspn(at + 1, "\"") / 4);
    int tokens = 1;
    for (; *at && *at != ']'; at++) tokens += *at == ',';
    return tokens;
}

static void copy_request_id(const char *head, char *id) {
    const char *at = strcasestr(head, "\r\nx-request-id:");
    if (!at) return;
    at += strlen("\r\nx-request-id:");
    at += strspn(at, " ");
    for (int i = 0; i < ID_BYTES - 1 && at[i] > ' ' && at[i] != '"' && at[i] != '\\'; i++) id[i] = at[i];
}

static void reply(conn *c, const char *status, const char *body) {
    char text[1024];
    int n = snprintf(text, sizeof text, "HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s",
                     status, strlen(body), body);
    send_all(c, text, n);
}

static void begin_stream(conn *c, const char *head, const char *body, int chat, int64_t arrival_ns) {
    static const char stream_head[] = "HTTP/1.1 200 OK\r\nserver: truth\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
                                      "transfer-encoding: chunked\r\n\r\n";
    long tokens = number_after(body, "\"max_tokens\"", number_after(body, "\"max_completion_tokens\"", 16));
    const char *stream = strstr(body, "\"stream\"");
    if (!stream || strncmp(stream + 8 + strspn(stream + 8, " :"), "true", 4) || tokens < 1 || tokens > 1 << 24) {
        reply(c, "400 Bad Request", "{\"error\":{\"message\":\"ask for a stream of 1 to 16777216 tokens\",\"code\":400}}");
        return;
    }
    request *r = malloc(sizeof *r);
    *r = (request){.number = request_count, .arrival_ns = arrival_ns, .due_ns = arrival_ns + ttft_ns, .tokens = (int)tokens, .chat = chat, .to = c,
                   .prompt_tokens = count_prompt_tokens(body), .written_ns = malloc(tokens * sizeof(int64_t))};
    copy_request_id(head, r->id);
    if (request_count == request_room) requests = realloc(requests, (request_room += 65536) * sizeof *requests);
    requests[request_count++] = r;
    c->active = r;
    push(&first_tokens, r);
    send_all(c, stream_head, sizeof stream_head - 1);
}

static void answer(conn *c, const char *head, const char *body, int64_t arrival_ns) {
    char text[256];
    if (!strncmp(head, "POST /v1/completions ", 21)) begin_stream(c, head, body, 0, arrival_ns);
    else if (!strncmp(head, "POST /v1/chat/completions ", 26)) begin_stream(c, head, body, 1, arrival_ns);
    else if (!strncmp(head, "GET /health ", 12)) reply(c, "200 OK", "");
    else if (!strncmp(head, "GET /v1/models ", 15)) {
        snprintf(text, sizeof text, "{\"object\":\"list\",\"data\":[{\"id\":\"%s\",\"object\":\"model\",\"created\":1700000000,"
                 "\"owned_by\":\"truth\",\"max_model_len\":32768}]}", model);
        reply(c, "200 OK", text);
    } else reply(c, "404 Not Found", "{\"error\":{\"message\":\"not found\",\"code\":404}}");
}

/* One complete request in the buffer, if there is one and none is being answered. */
static void take_request(conn *c, int64_t arrival_ns) {
    char *end = c->used ? strstr(c->in, "\r\n\r\n") : NULL;
    if (!end || c->active) return;
    *end = 0;
    const char *length = strcasestr(c->in, "\r\ncontent-length:");
    size_t body_bytes = length ? strtoul(length + strlen("\r\ncontent-length:"), NULL, 10) : 0;
    size_t total = end + 4 - c->in + body_bytes;
    if ((*end = c->used < total ? '\r' : 0)) return;
    char after = c->in[total];
    c->in[total] = 0;
    answer(c, c->in, end + 4, arrival_ns);
    c->in[total] = after;
    memmove(c->in, c->in + total, c->used - total + 1);
    c->used -= total;
}

static void read_conn(conn *c) {
    char control[64];
    if (c->room - c->used < 16384) c->in = realloc(c->in, (c->room += 65536) + 1);
    struct iovec piece = {c->in + c->used, c->room - c->used};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t n = recvmsg(c->fd, &message, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0 || c->used + n > MAX_REQUEST_BYTES) return close_conn(c);
    c->used += n;
    c->in[c->used] = 0;
    take_request(c, receive_stamp_ns(&message));
}

/* ---- tokens ---- */

/* One HTTP chunk around one SSE event, shaped as vLLM's. */
static int chunk(char *out, const char *format, ...) {
    char event[EVENT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(event, sizeof event, format, arguments);
    va_end(arguments);
    return sprintf(out, "%x\r\n%s\r\n", n, event);
}

static int token_chunk(char *out, const request *r, const char *finish) {
    if (r->chat)
        return chunk(out, "data: {\"id\":\"chatcmpl-%032zx\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"%s\","
                     "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token\"},\"logprobs\":null,\"finish_reason\":%s,"
                     "\"token_ids\":null}]}\n\n", r->number, model, finish);
    return chunk(out, "data: {\"id\":\"cmpl-%032zx\",\"object\":\"text_completion\",\"created\":1700000000,\"model\":\"%s\","
                 "\"choices\":[{\"index\":0,\"text\":\" token\",\"logprobs\":null,\"finish_reason\":%s,\"stop_reason\":null,"
                 "\"token_ids\":null}],\"usage\":null}\n\n", r->number, model, finish);
}

static void end_stream(conn *c, request *r) {
    char out[2 * EVENT_BYTES];
    int n = chunk(out, "data: {\"id\":\"%s-%032zx\",\"object\":\"%s\",\"created\":1700000000,\"model\":\"%s\",\"choices\":[],"
                  "\"usage\":{\"prompt_tokens\":%d,\"total_tokens\":%d,\"completion_tokens\":%d}}\n\n",
                  r->chat ? "chatcmpl" : "cmpl", r->number, r->chat ? "chat.completion.chunk" : "text_completion",
                  model, r->prompt_tokens, r->prompt_tokens + r->tokens, r->tokens);
    n += chunk(out + n, "data: [DONE]\n\n");
    n += sprintf(out + n, "0\r\n\r\n");
    c->active = NULL;
    r->to = NULL;
    if (send_all(c, out, n)) take_request(c, now_ns(CLOCK_MONOTONIC));
    else cut++;
}

static void write_token(request *r) {
    char out[2 * EVENT_BYTES];
    conn *c = r->to;
    if (!c) return;
    int last = r->written + 1 == r->tokens;
    int n = token_chunk(out, r, last ? "\"length\"" : "null");
    r->written_ns[r->written++] = now_ns(CLOCK_MONOTONIC);
    if (!send_all(c, out, n)) {
        shutdown(c->fd, SHUT_RDWR); /* epoll then reports its end, where it is freed */
        r->to = NULL;
        return;
    }
    if (last) return end_stream(c, r);
    r->due_ns += gap_ns;
    push(&next_tokens, r);
}

/* Few at a time, so that a burst of writes does not delay the reading of new requests. */
static void write_due(void) {
    for (int i = 0; i < TOKENS_PER_POLL; i++) {
        queue *q = soonest();
        if (!q->head || q->head->due_ns > now_ns(CLOCK_MONOTONIC)) return;
        write_token(pop(q));
    }
}

/* ---- the run ---- */

static void wait_for_work(const sigset_t *signals) {
    struct pollfd poll_epoll = {epoll_fd, POLLIN, 0};
    const request *head = soonest()->head;
    int64_t left_ns = head ? head->due_ns - now_ns(CLOCK_MONOTONIC) : 1000000000;
    if (left_ns < 0) left_ns = 0;
    struct timespec timeout = {left_ns / 1000000000, left_ns % 1000000000};
    ppoll(&poll_epoll, 1, &timeout, signals);
}

static void serve(const sigset_t *signals) {
    struct epoll_event events[EVENTS_PER_POLL];
    while (!stopping) {
        wait_for_work(signals);
        int n = epoll_wait(epoll_fd, events, EVENTS_PER_POLL, 0);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr) read_conn(events[i].data.ptr);
            else accept_all();
        }
        write_due();
    }
}

static int by_value(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void summarise(void) {
    size_t tokens = 0, answered = 0, gaps = 0, room = 1;
    double ttft_sum = 0, gap_sum = 0;
    for (size_t i = 0; i < request_count; i++) room += requests[i]->written;
    int64_t *late_ns = calloc(room, sizeof *late_ns);
    for (size_t i = 0; i < request_count; i++) {
        const request *r = requests[i];
        if (!r->written) continue;
        answered++;
        gaps += r->written - 1;
        ttft_sum += r->written_ns[0] - r->arrival_ns;
        gap_sum += r->written_ns[r->written - 1] - r->written_ns[0];
        for (int k = 0; k < r->written; k++) late_ns[tokens++] = r->written_ns[k] - (r->arrival_ns + ttft_ns + k * gap_ns);
    }
    qsort(late_ns, tokens, sizeof *late_ns, by_value);
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("{\"requests\": %zu, \"tokens\": %zu, \"cut\": %zu, \"ttft_mean_ms\": %.4f, \"gap_mean_ms\": %.4f, "
           "\"late_p50_us\": %.1f, \"late_p99_us\": %.1f, \"cpu_s\": %.3f}\n",
           request_count, tokens, cut, answered ? ttft_sum / answered / 1e6 : 0, gaps ? gap_sum / gaps / 1e6 : 0,
           late_ns[tokens / 2] / 1e3, late_ns[(size_t)(tokens * 0.99)] / 1e3,
           used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
}

static void dump(const char *path) {
    FILE *file = fopen(path, "w");
    if (!file) fail(path);
    for (size_t i = 0; i < request_count; i++) {
        const request *r = requests[i];
        fprintf(file, "{\"id\": \"%s\", \"arrival_ns\": %lld, \"written_ns\": [", r->id, (long long)r->arrival_ns);
        for (int k = 0; k < r->written; k++) fprintf(file, "%s%lld", k ? ", " : "", (long long)r->written_ns[k]);
        fprintf(file, "]}\n");
    }
    if (fclose(file)) fail(path);
}

static int listen_on(int port) {
    int one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listen_fd, (struct sockaddr *)&address, sizeof address) < 0) fail("bind");
    if (listen(listen_fd, 4096) < 0) fail("listen");
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listen_fd, &event) < 0) fail("epoll_ctl");
    getsockname(listen_fd, (struct sockaddr *)&address, &length);
    return ntohs(address.sin_port);
}

static void stop(int signal) { (void)signal; stopping = 1; }

int main(int argc, char **argv) {
    int port = 0;
    const char *dump_path = NULL;
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) return fprintf(stderr, "%s needs a value\n", argv[i]), 2;
        if (!strcmp(argv[i], "--port")) port = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--ttft-us")) ttft_ns = atoll(argv[i + 1]) * 1000;
        else if (!strcmp(argv[i], "--gap-us")) gap_ns = atoll(argv[i + 1]) * 1000;
        else if (!strcmp(argv[i], "--model")) model = argv[i + 1];
        else if (!strcmp(argv[i], "--dump")) dump_path = argv[i + 1];
        else return fprintf(stderr, "unknown flag %s\n", argv[i]), 2;
    }
    struct sigaction action = {.sa_handler = stop};
    sigset_t blocked, before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigprocmask(SIG_BLOCK, &blocked, &before); /* delivered only inside ppoll: no race with the test of "stopping" */
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    prctl(PR_SET_TIMERSLACK, 1); /* the usual slack makes every wake-up up to 50 us late */
    printf("listening %d\n", listen_on(port));
    fflush(stdout);
    serve(&before);
    if (dump_path) dump(dump_path);
    summarise();
    return 0;
}
