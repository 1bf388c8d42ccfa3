// Connections that the broker has accepted and that do not have a client's place yet.
import Glibc
import Streams

/// A connection that the broker has accepted and that is not a client yet.
protocol PendingConnection: AnyObject {
  var listener: Listener { get }
  var origin: Origin { get }
  /// The number of the client it becomes; nil before it has requested a place.
  var clientID: UInt64? { get set }
  var number: Int32 { get }
  /// The connection has a place.
  func admitted()
  /// The connection must end, for this reason.
  func dropped(_ why: Message)
  /// The peer has closed the connection.
  func hungUp()
}

/// A connection without TLS, from accept until it has a place. The broker reads nothing from it.
final class PlainPendingConnection: PendingConnection {
  private unowned let acceptor: Acceptor
  private let log: BrokerLog
  let listener: Listener
  var clientID: UInt64?
  let origin: Origin
  private let address: Address?
  private let transport: PlainTransport
  var number: Int32 { transport.number }

  init(
    _ transport: PlainTransport, from address: Address?, _ origin: Origin, on listener: Listener,
    acceptor: Acceptor, log: BrokerLog
  ) {
    self.transport = transport
    self.address = address
    self.origin = origin
    self.listener = listener
    self.acceptor = acceptor
    self.log = log
  }

  func admitted() { acceptor.open(self, over: transport, from: address) }
  func dropped(_ why: Message) { end(why) }
  func hungUp() { end(Message(.closedWhileWaiting)) }

  private func end(_ why: Message) {
    log.write(.pendingConnectionClosed, [listener.name, origin, why])
    acceptor.ended(self)
  }
}

extension Origin {
  /// The user at the other end of a UNIX socket.
  init(ofUserAt descriptor: Int32) {
    self = UnixPeer.user(of: descriptor).map { .user($0) } ?? .unknown
  }

  /// The host at the other end of a network connection.
  init(of address: Address?) {
    self = address?.host.map { Origin(host: $0) } ?? .unknown
  }
}
