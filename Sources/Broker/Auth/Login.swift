// How far a client has come with proving who it is.
import Streams

/// The state of one client's login. A client of a listener that asks for nothing is done from the start.
struct Login {
  /// SASL failures after which a connection is closed: guessing is not to be convenient.
  static let mostFailures = 8

  let method: Authentication
  /// The client has proved who it is, or need not.
  var isDone: Bool
  /// Where the client counts as a stranger until then.
  weak var listener: Listener?
  /// What SASL has to know of the connection. `cover` is for whoever finishes a TLS handshake to set.
  var connection: SASLConnection

  /// The client's transport, where it may get a layer.
  private(set) var transport: SASLTransport?
  /// SASL: the exchange, from AUTH_SASL_INIT until it has failed or is over.
  var exchange: SASLExchange?
  /// The step of it that is under way, or waits for its turn.
  var job: Workshop.Job?
  var hasStarted = false
  var failures = 0
  /// polkit's check, while it is under way.
  var check: PolkitAuthority.Check?

  /// The network address it counts for, and whose it counts as.
  let address: String?
  var subject: String?
  /// Too many of its kind are there: the answer to whatever it asks.
  var refusal: RemoteError?

  init(at listener: Listener, _ descriptor: Int32, from peer: Address?) {
    method = listener.settings.authentication
    isDone = method == .none
    self.listener = listener
    if listener.settings.isUNIX {
      connection = SASLConnection(cover: .local, local: "127.0.0.1;0", remote: "127.0.0.1;0")
      address = nil
    } else {
      let remote = peer?.saslText
      connection = SASLConnection(
        cover: .none, local: Address.local(of: descriptor)?.saslText, remote: remote)
      address = remote.map { String($0.prefix { $0 != ";" }) }
    }
  }

  /// What the relay is to read and write: the socket itself, unless it may get a layer.
  mutating func layer(over transport: any Transport) -> any Transport {
    guard method == .sasl else { return transport }
    let layered = SASLTransport(transport)
    self.transport = layered
    return layered
  }
}
