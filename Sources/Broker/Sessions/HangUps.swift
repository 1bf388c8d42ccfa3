// Clients that are not read: whether they are still there.
import Glibc
import Streams

extension Broker {
  /// How often they are looked at.
  private static let hangUpSeconds = 1.0
  /// Linux's POLLRDHUP, of which Swift sees nothing: the peer has closed its side.
  private static let readHangUp: Int16 = 0x2000

  /// Looks go on from here as long as any client is not read. One that is read is noticed by the loop when it
  /// leaves, and costs nothing here.
  func startHangUpLooks() {
    isHangUpLookDue = true
    hangUpAlarm.start(seconds: Broker.hangUpSeconds)
  }

  /// Ends the clients that are gone. A client that has closed its side counts as gone, though the broker has not
  /// read all it sent: libvirt's clients close a connection only as a whole, and one that is read ends as soon
  /// as the broker sees its end as well.
  func lookForHangUps() {
    isHangUpLookDue = false
    let unread = sessions.values.filter(\.isNotRead)
    let waiting = Array(pendingConnections.values)
    guard !unread.isEmpty || !waiting.isEmpty else { return }
    var items = (unread.map(\.transport.number) + waiting.map(\.number)).map {
      pollfd(fd: $0, events: Broker.readHangUp, revents: 0)
    }
    let gone = Int16(POLLHUP | POLLERR) | Broker.readHangUp
    if poll(&items, nfds_t(items.count), 0) > 0 {
      for (index, item) in items.enumerated() where item.revents & gone != 0 {
        if index < unread.count {
          unread[index].hungUp()
        } else {
          waiting[index - unread.count].hungUp()
        }
      }
    }
    startHangUpLooks()
  }
}

extension ClientSession {
  /// The peer has closed the connection, or the kernel has given it up.
  func hungUp() {
    // One of those before it may have made room for it.
    guard isNotRead else { return }
    finish(because: "closed by the client, while it was not read")
  }
}
