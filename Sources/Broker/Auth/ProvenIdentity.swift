// Who a client is, as far as this hop has verified it.
import Streams

/// All that was learnt of a client on its way in. What it says of itself is not among it.
struct ProvenIdentity {
  /// Of a local client, from the kernel.
  var peer: UnixPeer?
  /// Of a local client; nil until the name service has answered.
  var names: UnixNames?
  /// After authentication by SASL.
  var saslUser: String?
  /// Of the certificate a TLS client has shown.
  var distinguishedName: String?

  /// Nothing is to be waited for any more.
  var isComplete: Bool { peer == nil || names != nil }

  /// The parameters of CONNECT_SET_IDENTITY, in libvirt's order.
  var parameters: [TypedParameter] {
    var parameters: [TypedParameter] = []
    func add(_ field: String, _ value: String?) {
      if let value { parameters.append(TypedParameter(field, .string(value))) }
    }
    if let peer {
      add("user-name", names?.user)
      parameters.append(TypedParameter("unix-user-id", .ullong(UInt64(peer.uid))))
      add("group-name", names?.group)
      parameters.append(TypedParameter("unix-group-id", .ullong(UInt64(peer.gid))))
      parameters.append(TypedParameter("process-id", .llong(Int64(peer.pid))))
      if let startTime = peer.startTime {
        parameters.append(TypedParameter("process-time", .ullong(startTime)))
      }
    }
    add("sasl-user-name", saslUser)
    add("x509-distinguished-name", distinguishedName)
    add("selinux-context", peer?.selinuxContext)
    return parameters
  }

  /// The client's identity by the strongest proof there is, told apart by the kind of proof: a key for counting.
  /// Nil for a client that has proven none.
  var subject: String? {
    if let saslUser { return "SASL user '\(saslUser)'" }
    if let distinguishedName { return "certificate '\(distinguishedName)'" }
    return peer.map { "uid \($0.uid)" }
  }

  /// The identity's one spelling: in tables, in the audit, and in rules for rates. A SASL user's name, the name in a
  /// certificate, or `uid N`. It is known from the start and never changes afterwards, as a user's name does.
  var name: String? { saslUser ?? distinguishedName ?? peer.map { "uid \($0.uid)" } }

  /// Names that a rule may call it by: its own, and of a local user what the name service calls it.
  var ruleNames: [String] {
    guard let name else { return [] }
    let isLocal = saslUser == nil && distinguishedName == nil
    return isLocal ? [name] + [names?.user].compactMap { $0 } : [name]
  }
}
