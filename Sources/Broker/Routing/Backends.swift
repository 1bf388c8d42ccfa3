// How the broker reaches daemons, on this host and on others.
import Glibc
import Streams

/// Finds, starts and reaches backends. It knows no client; connections use its parts.
final class Backends {
  /// Sockets of the daemons on this host.
  let directory: SocketDirectory
  /// Other hosts.
  let forwarding: Forwarding
  /// Starts users' own daemons.
  let starter: DaemonStarter
  /// Helper programs of connections, and users' daemons.
  let children: Children

  /// - Parameter ownAddresses: the broker's listening addresses, so that it does not connect to itself.
  init(
    _ settings: BrokerSettings, loop: LoopServices, log: BrokerLog,
    ownAddresses: @escaping () -> [Address]
  ) {
    directory = SocketDirectory(
      settings: settings.backends, isPrivileged: geteuid() == 0,
      ownSockets: settings.listeners.compactMap(\.unixPath))
    forwarding = Forwarding(
      settings.upstreams, directory: directory, log: log[.upstream], ownAddresses: ownAddresses)
    children = Children(on: loop.reactor, log: log[.upstream])
    starter = DaemonStarter(children: children, on: loop.reactor, log: log[.upstream])
  }

  /// The backend that serves a URI: on another host if the URI names one.
  func backend(for uri: String?, readOnly: Bool) -> Result<Backend, RemoteError> {
    forwarding.backend(for: uri, readOnly: readOnly).flatMap {
      $0.map { .success($0) } ?? directory.backend(for: uri, readOnly: readOnly)
    }
  }
}
