/* The limit: what receiving a token costs when nothing is done with it.
 *
 * One thread, epoll, recvmsg with kernel receive stamps. N connections send the same request R times each, one after
 * the other, and read the answers without looking at them, but for the end of the chunked body.
 *
 * Usage: receiver --port P [--connections 256] [--requests 4] [--max-tokens 128]     (requests: per connection)
 * Prints {"tokens", "cpu_s", "wall_s", "reads", "bytes"}: tokens as asked for, CPU (user and system) of this process.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define END "\r\n0\r\n\r\n"
enum { END_BYTES = sizeof END - 1, READ_BYTES = 65536, EVENTS_PER_POLL = 256 };

typedef struct {
    int fd, left;
    char tail[END_BYTES]; /* the last bytes received: the end may be split over two reads */
} stream;

static char request[2048];
static size_t request_bytes;
static long long reads, bytes;
static volatile int64_t last_stamp_ns;

static void fail(const char *what) { perror(what); exit(1); }

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void build_request(int port, int max_tokens) {
    char body[1024], prompt[512] = "";
    for (int i = 0; i < 32; i++) sprintf(prompt + strlen(prompt), "%s%d", i ? "," : "", 1000 + i);
    int n = snprintf(body, sizeof body, "{\"model\":\"m\",\"prompt\":[%s],\"max_tokens\":%d,\"stream\":true,\"ignore_eos\":true,"
                     "\"stream_options\":{\"include_usage\":true}}", prompt, max_tokens);
    request_bytes = snprintf(request, sizeof request, "POST /v1/completions HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n"
                             "content-type: application/json\r\ncontent-length: %d\r\n\r\n%s", port, n, body);
}

static void send_request(stream *s) {
    s->left--;
    if (send(s->fd, request, request_bytes, MSG_NOSIGNAL) != (ssize_t)request_bytes) fail("send");
}

static void open_stream(stream *s, int port, int requests) {
    int one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    s->left = requests;
    if (s->fd < 0 || connect(s->fd, (struct sockaddr *)&address, sizeof address) < 0) fail("connect");
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(s->fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
}

static void keep_stamp(struct msghdr *message) {
    struct cmsghdr *h = CMSG_FIRSTHDR(message);
    struct timespec t;
    if (!h || h->cmsg_type != SCM_TIMESTAMPNS) return;
    memcpy(&t, CMSG_DATA(h), sizeof t);
    last_stamp_ns = t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int at_end(stream *s, const char *data, size_t n) {
    size_t kept = n < END_BYTES ? END_BYTES - n : 0;
    memmove(s->tail, s->tail + END_BYTES - kept, kept);
    memcpy(s->tail + kept, data + n - (END_BYTES - kept), END_BYTES - kept);
    return !memcmp(s->tail, END, END_BYTES);
}

/* Reads once; 1 when the stream has received its last answer. */
static int receive(stream *s) {
    static char data[READ_BYTES];
    char control[64];
    struct iovec piece = {data, sizeof data};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t n = recvmsg(s->fd, &message, 0);
    if (n <= 0) fail("the server closed a connection");
    keep_stamp(&message);
    reads++;
    bytes += n;
    if (!at_end(s, data, n)) return 0;
    if (!s->left) return 1;
    send_request(s);
    return 0;
}

static void run(stream *streams, int connections) {
    int epoll_fd = epoll_create1(0), open = connections;
    struct epoll_event events[EVENTS_PER_POLL];
    for (int i = 0; i < connections; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &streams[i]};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, streams[i].fd, &event) < 0) fail("epoll_ctl");
    }
    for (int i = 0; i < connections; i++) send_request(&streams[i]);
    while (open) {
        int n = epoll_wait(epoll_fd, events, EVENTS_PER_POLL, -1);
        for (int i = 0; i < n; i++) open -= receive(events[i].data.ptr);
    }
}

int main(int argc, char **argv) {
    int port = 0, connections = 256, requests = 4, max_tokens = 128;
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) return fprintf(stderr, "%s needs a value\n", argv[i]), 2;
        int value = atoi(argv[i + 1]);
        if (!strcmp(argv[i], "--port")) port = value;
        else if (!strcmp(argv[i], "--connections")) connections = value;
        else if (!strcmp(argv[i], "--requests")) requests = value;
        else if (!strcmp(argv[i], "--max-tokens")) max_tokens = value;
        else return fprintf(stderr, "unknown flag %s\n", argv[i]), 2;
    }
    build_request(port, max_tokens);
    stream *streams = calloc(connections, sizeof *streams);
    for (int i = 0; i < connections; i++) open_stream(&streams[i], port, requests);
    double start_s = now_s();
    run(streams, connections);
    double wall_s = now_s() - start_s;
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("{\"tokens\": %lld, \"cpu_s\": %.4f, \"wall_s\": %.4f, \"reads\": %lld, \"bytes\": %lld}\n",
           (long long)connections * requests * max_tokens,
           used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6, wall_s, reads, bytes);
    return 0;
}
