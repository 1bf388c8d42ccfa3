// A client's identity, as far as this hop has verified it.

/// A local client's process, as reported by the kernel.
public struct UnixPeer: Sendable, Equatable {
  public let pid: Int32
  public let uid: UInt32
  public let gid: UInt32
  /// When the process started, in clock ticks since boot. A pid alone may have been reused.
  public let startTime: UInt64?
  public let selinuxContext: String?

  public init(pid: Int32, uid: UInt32, gid: UInt32, startTime: UInt64?, selinuxContext: String?) {
    self.pid = pid
    self.uid = uid
    self.gid = gid
    self.startTime = startTime
    self.selinuxContext = selinuxContext
  }
}

/// The name service's names of a local user and its group; nil: it knows no name.
public struct UnixNames: Sendable, Equatable {
  public var user: String?
  public var group: String?

  public init(user: String? = nil, group: String? = nil) {
    self.user = user
    self.group = group
  }
}

/// Everything that was verified about a client, without the client's own claims.
public struct VerifiedIdentity: Sendable, Equatable {
  /// A local client's process, from the kernel.
  public var peer: UnixPeer?
  /// A local client's names; nil until the name service has answered.
  public var names: UnixNames?
  /// The user that has authenticated by SASL.
  public var saslUser: String?
  /// The distinguished name in the certificate of a TLS client.
  public var distinguishedName: String?

  public init(
    peer: UnixPeer? = nil, names: UnixNames? = nil, saslUser: String? = nil,
    distinguishedName: String? = nil
  ) {
    self.peer = peer
    self.names = names
    self.saslUser = saslUser
    self.distinguishedName = distinguishedName
  }

  /// The names are known, or not needed.
  public var isComplete: Bool { peer == nil || names != nil }

  /// The parameters of CONNECT_SET_IDENTITY, in libvirt's order.
  public var parameters: [TypedParameter] {
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

  /// The client's identity by its strongest proof, with the kind of proof: a key for counting. Nil: the client has
  /// proved none.
  public var subject: String? {
    if let saslUser { return "SASL user '\(saslUser)'" }
    if let distinguishedName { return "certificate '\(distinguishedName)'" }
    return peer.map { "uid \($0.uid)" }
  }

  /// The identity in tables, audit records and rules for rates: a SASL user's name, the name in a certificate, or
  /// `uid N`. A local user's name can change, its uid does not.
  public var name: String? { saslUser ?? distinguishedName ?? peer.map { "uid \($0.uid)" } }

  /// Names that rules may use for the identity: its `name`, and the name of a local user.
  public var ruleNames: [String] {
    guard let name else { return [] }
    let isLocal = saslUser == nil && distinguishedName == nil
    return isLocal ? [name] + [names?.user].compactMap { $0 } : [name]
  }
}
