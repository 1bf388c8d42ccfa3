// The limit: a relay from a TCP port to a UNIX socket that does nothing but move bytes.
//
// Blocking reads and writes, a thread per direction, one 256 KiB buffer each, no knowledge of the
// protocol. What a relay in user space costs beyond this, it costs by its own choice.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { ROOM = 256 * 1024, STACK = 64 * 1024 + 2 * ROOM };

static struct sockaddr_un backend = {.sun_family = AF_UNIX};

static void trouble(const char *what) {
  fprintf(stderr, "limit-relay: %s: %s\n", what, strerror(errno));
  exit(1);
}

// Moves bytes one way until the source ends, then tells the sink that no more will come.
static void pump(int source, int sink) {
  char room[ROOM];
  ssize_t got;
  while ((got = read(source, room, sizeof room)) > 0)
    for (ssize_t put = 0, sent = 0; sent < got; sent += put)
      if ((put = write(sink, room + sent, got - sent)) <= 0) goto over;
over:
  shutdown(source, SHUT_RD);
  shutdown(sink, SHUT_WR);
}

struct link { int client, upstream; };

static void *downwards(void *argument) {
  struct link *link = argument;
  pump(link->upstream, link->client);
  return NULL;
}

static void *serve(void *argument) {
  struct link link = {.client = (int)(long)argument, .upstream = socket(AF_UNIX, SOCK_STREAM, 0)};
  pthread_t other;
  if (link.upstream >= 0 && connect(link.upstream, (void *)&backend, sizeof backend) == 0 &&
      pthread_create(&other, NULL, downwards, &link) == 0) {
    pump(link.client, link.upstream);
    pthread_join(other, NULL);
  }
  if (link.upstream >= 0) close(link.upstream);
  close(link.client);
  return NULL;
}

int main(int count, char **arguments) {
  if (count != 3 || strlen(arguments[2]) >= sizeof backend.sun_path) {
    fprintf(stderr, "usage: limit-relay PORT UNIX-SOCKET\n");
    return 1;
  }
  strcpy(backend.sun_path, arguments[2]);
  signal(SIGPIPE, SIG_IGN);

  struct sockaddr_in address = {
      .sin_family = AF_INET,
      .sin_port = htons((uint16_t)atoi(arguments[1])),
      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
  if (listener < 0) trouble("socket");
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (void *)&address, sizeof address) < 0) trouble("bind");
  if (listen(listener, 1024) < 0) trouble("listen");

  pthread_attr_t detached;
  pthread_attr_init(&detached);
  pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
  for (;;) {
    int client = accept(listener, NULL, NULL);
    if (client < 0) continue;
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    pthread_t thread;
    if (pthread_create(&thread, &detached, serve, (void *)(long)client) != 0) close(client);
  }
}
