// The settings of a broker: plain values, already checked by their reader.
public import Streams

/// Everything a `Broker` needs to know. Built from the configuration file by the daemon.
public struct BrokerSettings: Sendable {
  public var listeners: [ListenerSettings] = []
  public var backends = BackendSettings()
  public var limits = LimitSettings()
  public var keepAlive = KeepAliveSettings()
  /// Other hosts that clients may open.
  public var upstreams = UpstreamSettings()
  /// What the program calls itself, for administrators.
  public var version = ""
  /// Needed where a listener is for TLS.
  public var tls: TLSSettings?
  /// The admin socket; nil: none.
  public var adminListener: ListenerSettings?
  public var admin = AdminSettings()
  public var timeouts = TimeoutSettings()
  public var sasl = SASLSettings()
  public var rates = RateSettings()
  /// Where the metrics are served over HTTP; nil: nowhere.
  public var metrics: ListenerSettings.Address?
  public var audit = AuditSettings()
  /// The user that the process becomes once the broker is made; nil: it stays who it is.
  public var account: ServiceAccount?

  public init() {}
}

/// How long the broker waits, in seconds.
public struct TimeoutSettings: Sendable, Equatable {
  /// For a client to authenticate; 0: no limit. People type passwords.
  public var loginSeconds: Double = 120
  /// For a backend daemon to be opened. libvirt's client waits forever.
  public var openSeconds: Double = 30
  /// A call that a backend has not answered for this long is logged; 0: none is.
  public var slowCallSeconds: Double = 60
  /// For calls under way to end after a request to stop. Together with what the end itself takes, less than the 5 s in
  /// which an administrator expects a daemon to be gone.
  public var stopSeconds: Double = 4
  /// Without any client, after which the broker stops; 0: it does not.
  public var idleSeconds: Int = 0
  public init() {}
}

/// One address to listen on.
public struct ListenerSettings: Sendable, Equatable {
  public enum Address: Sendable, Equatable {
    /// A UNIX socket. `mode` are its permission bits, `group` its owning group if not the process's.
    case unix(path: String, mode: UInt32, group: UInt32?)
    /// Every address `host` resolves to (nil: all of the machine), at a port number or service name.
    case tcp(host: String?, port: String)
    /// A socket that a service manager has bound and keeps: its number, what it is called there, and the
    /// path it is bound to if it is a UNIX socket.
    case activated(descriptor: Int32, name: String, unixPath: String?)
  }
  public var address: Address
  /// Clients are read-only, whatever they request.
  public var isReadOnly: Bool
  public var authentication: Authentication
  /// Clients speak TLS and are verified by their certificates.
  public var isTLS: Bool
  /// Not for clients but for administrators: for the user alone whose process this is.
  public var isAdmin = false

  public init(
    _ address: Address, isReadOnly: Bool = false, authentication: Authentication = .none,
    isTLS: Bool = false
  ) {
    self.address = address
    self.isReadOnly = isReadOnly
    self.authentication = authentication
    self.isTLS = isTLS
  }
}

/// Requirements on clients that authenticate with SASL.
public struct SASLSettings: Sendable, Equatable {
  /// Allowed names of users, with `*` and `?`. Nil: all; empty: none.
  public var allowedUsers: [String]?
  /// The protection a mechanism must bring to a connection that has none, in bits.
  public var leastTCPStrength = 56
  public init() {}
}

extension ListenerSettings {
  /// The path of a UNIX socket; nil: it is none.
  var unixPath: String? {
    switch address {
    case .unix(let path, _, _): path
    case .tcp: nil
    case .activated(_, _, let unixPath): unixPath
    }
  }

  /// Descriptors and the kernel's word on who is there come with these only.
  var isUNIX: Bool { unixPath != nil }
}

/// Where the backend daemons' sockets are.
public struct BackendSettings: Sendable, Equatable {
  /// Directory of the system daemons' sockets (`libvirt-sock`, `virtqemud-sock`, ...).
  public var systemDirectory = "/run/libvirt"
  /// Directory of the per-user daemons' sockets; nil: the system's.
  public var sessionDirectory: String?
  /// For session URIs: the users' daemons, to be started where they are not running. Nil: they never are.
  public var programs: DaemonPrograms?
  public init() {}
}

/// Limits with the meaning libvirt's documentation gives them.
public struct LimitSettings: Sendable, Equatable {
  public var maxClients = 5000
  /// Backlog of each listening socket.
  public var maxQueuedClients = 1000
  /// Connections that have not authenticated yet, of each listener; 0 means no limit.
  public var maxAnonymousClients = 20
  /// Connections of one user, certificate or local user number; 0 means no limit.
  public var maxClientsPerIdentity = 0
  /// Connections from one network address; 0 means no limit.
  public var maxClientsPerAddress = 0
  /// Calls of one client that may be under way at a time.
  public var maxClientRequests = 5
  /// Bytes that may wait for a client, or for one of its upstreams, before their source is paused.
  /// What one read adds, and the rest of the packet it ends in, can come on top.
  public var bufferBytes = 512 * 1024
  /// Bytes that all clients together may make the broker hold, in the whole segments that they occupy; 0: an
  /// eighth of the machine's memory.
  public var totalBufferBytes = 0
  /// With less than this, each turn would move too little to be worth its system calls.
  public static let leastBufferBytes = 64 * 1024
  public init() {}
}

extension Watermarks {
  init(_ limits: LimitSettings) { self.init(high: limits.bufferBytes, ahead: limits.bufferBytes) }
}
