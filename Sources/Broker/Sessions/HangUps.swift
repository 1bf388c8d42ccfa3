// Checks whether clients that are not read are still connected.
import Glibc
import Streams

/// Checks once a second whether clients that are not read have closed their connections, as long as there are such
/// clients. The loop itself notices the end of a client that is read.
final class HangUpChecks {
  private static let seconds = 1.0
  /// Linux's POLLRDHUP, which Swift does not import: the peer has closed its side.
  private static let readHangUp: Int16 = 0x2000

  private unowned let broker: Broker
  private lazy var alarm = Alarm(on: broker.reactor) { [unowned self] in check() }

  init(of broker: Broker) { self.broker = broker }

  /// A client is not being read, or a connection waits for a place.
  func start() {
    if !alarm.isRunning { alarm.start(seconds: HangUpChecks.seconds) }
  }

  /// Ends the clients that have left. A client that has closed its sending side counts as having left, even if the
  /// broker has not read all its data: libvirt's clients close a connection only as a whole, and the broker ends a
  /// client that is read as soon as it sees its end as well.
  private func check() {
    let unread = broker.sessions.all.filter(\.isNotRead)
    let waiting = broker.acceptor.pendingConnections
    guard !unread.isEmpty || !waiting.isEmpty else { return }
    var items = (unread.map(\.transport.number) + waiting.map(\.number)).map {
      pollfd(fd: $0, events: HangUpChecks.readHangUp, revents: 0)
    }
    let gone = Int16(POLLHUP | POLLERR) | HangUpChecks.readHangUp
    if poll(&items, nfds_t(items.count), 0) > 0 {
      for (index, item) in items.enumerated() where item.revents & gone != 0 {
        if index < unread.count {
          unread[index].hungUp()
        } else {
          waiting[index - unread.count].hungUp()
        }
      }
    }
    for client in unread { client.readAhead() }
    start()
  }
}

extension ClientSession {
  func readAhead() {
    guard isNotRead else { return }
    driver.readAhead(at: broker.reactor.now)
  }

  /// The peer has closed the connection, or the kernel has given it up.
  func hungUp() {
    // A client that was ended before may have made room for it.
    guard isNotRead else { return }
    finish(because: Message(.closedWhileNotRead))
  }
}
