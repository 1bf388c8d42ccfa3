#include <microhttpd.h>

/* Two of these take as many arguments as they like, which Swift cannot call. */

static inline struct MHD_Daemon *
http_start(int listening, unsigned connections, unsigned seconds, size_t memory,
           MHD_AccessHandlerCallback answer, void *context,
           MHD_NotifyConnectionCallback notify, void *notified)
{
  return MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, answer, context,
                          MHD_OPTION_LISTEN_SOCKET, listening,
                          MHD_OPTION_CONNECTION_LIMIT, connections,
                          MHD_OPTION_CONNECTION_TIMEOUT, seconds,
                          MHD_OPTION_CONNECTION_MEMORY_LIMIT, memory,
                          MHD_OPTION_NOTIFY_CONNECTION, notify, notified,
                          MHD_OPTION_END);
}

static inline int
http_descriptor(struct MHD_Daemon *daemon)
{
  const union MHD_DaemonInfo *info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD);
  return info ? info->epoll_fd : -1;
}

static inline int
http_has_started(enum MHD_ConnectionNotificationCode change)
{
  return change == MHD_CONNECTION_NOTIFY_STARTED;
}

static inline int
http_connection_descriptor(struct MHD_Connection *connection)
{
  const union MHD_ConnectionInfo *info =
    MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
  return info ? info->connect_fd : -1;
}
