// The origin of a client.
import Glibc
import Streams

/// What is known about a client when the broker accepts its connection, and its name.
struct ClientSource {
  /// Unique per process; starts at 1.
  let id: UInt64
  /// Name used in log messages.
  let name: String
  /// The origin that it counts for in shared limits.
  let origin: Origin
  /// "unix", "tcp" or "tls".
  let transportName: String
  /// The address of a client on a network: `127.0.0.1:58434`.
  let address: String?
  /// In seconds since 1970.
  let connectedAt = Int64(time(nil))
  /// The same on the loop's clock.
  let acceptedAt: Double

  init(
    id: UInt64, _ identity: VerifiedIdentity, from peerAddress: Address?, _ origin: Origin,
    on listener: ListenerSettings, at now: Double
  ) {
    self.id = id
    self.origin = origin
    acceptedAt = now
    transportName = listener.isUNIX ? "unix" : listener.isTLS ? "tls" : "tcp"
    if let peer = identity.peer {
      address = nil
      name = "client \(id) (UNIX, pid \(peer.pid), uid \(peer.uid))"
    } else {
      let text = peerAddress?.text ?? ""
      address = text.isEmpty ? nil : text
      let certificate = identity.distinguishedName.map { ", \($0)" } ?? ""
      name =
        "client \(id) (\(address ?? "unknown address")\(listener.isTLS ? ", TLS" : "")\(certificate))"
    }
  }
}
