// The settings of a broker: plain values that their reader has already checked.
public import Streams

/// All settings of a `Broker`. The daemon builds them from the configuration file.
public struct BrokerSettings: Sendable {
  public var listeners: [ListenerSettings] = []
  public var backends = BackendSettings()
  public var limits = LimitSettings()
  public var keepAlive = KeepAliveSettings()
  /// Other hosts that clients may open.
  public var upstreams = UpstreamSettings()
  /// The program's version, as administrators see it.
  public var version = ""
  /// Required if a listener uses TLS.
  public var tls: TLSSettings?
  /// The admin socket; nil: none.
  public var adminListener: ListenerSettings?
  public var admin = AdminSettings()
  public var timeouts = TimeoutSettings()
  public var sasl = SASLSettings()
  public var rates = RateSettings()
  /// The address that serves metrics over HTTP; nil: none.
  public var metrics: ListenerSettings.Address?
  public var audit = AuditSettings()
  /// The user that the process becomes once the broker exists; nil: it keeps its user.
  public var account: ServiceAccount?

  public init() {}
}

/// Time limits of the broker, in seconds.
public struct TimeoutSettings: Sendable, Equatable {
  /// For a client to authenticate; 0: no limit. Users type passwords.
  public var loginSeconds: Double = 120
  /// For a backend daemon to be opened. libvirt's client waits forever.
  public var openSeconds: Double = 30
  /// For a lost backend daemon to come back.
  public var reconnectSeconds: Double = 30
  /// A call that a backend has not answered for this long is logged; 0: none is.
  public var slowCallSeconds: Double = 60
  /// For calls under way to finish after a request to stop. Together with the end itself this stays below the 5 s
  /// within which an administrator expects a daemon to stop.
  public var stopSeconds: Double = 4
  /// Time without any client, after which the broker stops; 0: it does not.
  public var idleSeconds: Int = 0
  public init() {}
}

/// One address to listen on.
public struct ListenerSettings: Sendable, Equatable {
  public enum Address: Sendable, Equatable {
    /// A UNIX socket. `mode` has its permission bits, `group` its owning group if that is not the process's.
    case unix(path: String, mode: UInt32, group: UInt32?)
    /// Every address `host` resolves to (nil: all addresses of the machine), at a port number or service name.
    case tcp(host: String?, port: String)
    /// A socket that the service manager has bound and keeps: its descriptor, its name there, and the path it is bound
    /// to if it is a UNIX socket.
    case activated(descriptor: Int32, name: String, unixPath: String?)
  }
  public var address: Address
  /// Clients are read-only, whatever they request.
  public var isReadOnly: Bool
  public var authentication: Authentication
  /// Clients use TLS, and their certificates are verified.
  public var isTLS: Bool
  /// For administrators and not for clients: only the user that runs this process may connect.
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
  /// The minimum strength of a mechanism on a connection without other protection, in bits.
  public var leastTCPStrength = 56
  public init() {}
}

extension ListenerSettings {
  /// The path of a UNIX socket; nil: it is another kind of socket.
  var unixPath: String? {
    switch address {
    case .unix(let path, _, _): path
    case .tcp: nil
    case .activated(_, _, let unixPath): unixPath
    }
  }

  /// Only UNIX sockets carry descriptors and the kernel's credentials of the peer.
  var isUNIX: Bool { unixPath != nil }
}

/// The places of the backend daemons' sockets.
public struct BackendSettings: Sendable, Equatable {
  /// Directory of the system daemons' sockets (`libvirt-sock`, `virtqemud-sock`, ...).
  public var systemDirectory = "/run/libvirt"
  /// Directory of the per-user daemons' sockets; nil: the system's.
  public var sessionDirectory: String?
  /// For session URIs: the users' daemons, which the broker starts if they do not run. Nil: it never does.
  public var programs: DaemonPrograms?
  /// Which clients are kept when the connection to their daemon is lost.
  public var reconnect = ReconnectPolicy.safe
  public init() {}
}

/// Limits with the meaning libvirt's documentation gives them.
public struct LimitSettings: Sendable, Equatable {
  public var maxClients = 5000
  /// Backlog of each listening socket.
  public var maxQueuedClients = 1000
  /// Connections that have not authenticated yet, of each listener; 0 means no limit.
  public var maxAnonymousClients = 20
  /// Connections of one user, certificate or local user ID; 0 means no limit.
  public var maxClientsPerIdentity = 0
  /// Connections from one network address; 0 means no limit.
  public var maxClientsPerAddress = 0
  /// Calls of one client that may be under way at a time.
  public var maxClientRequests = 5
  /// Bytes queued for a client, or for one of its upstreams, at which their source is paused. What one read adds, and
  /// the rest of the packet that it ends in, can exceed this.
  public var bufferBytes = 512 * 1024
  /// Bytes that all clients together may make the broker hold, counted in whole segments; 0: an eighth of the machine's
  /// memory.
  public var totalBufferBytes = 0
  /// With less, each turn would move too little to be worth its system calls.
  public static let leastBufferBytes = 64 * 1024
  public init() {}
}

extension Watermarks {
  init(_ limits: LimitSettings) { self.init(high: limits.bufferBytes, ahead: limits.bufferBytes) }
}
