// Settings of one client's session.

/// How the clients of a listener authenticate, by libvirt's names.
public enum Authentication: String, Sendable {
  case none, sasl
  /// polkit decides; only on UNIX sockets.
  case polkit
}

/// Keepalive settings, with libvirt's meaning.
public struct KeepAliveSettings: Sendable, Equatable {
  /// Seconds of silence before a PING; 0 or less: no PINGs.
  public var intervalSeconds: Int
  /// Unanswered PINGs before the connection is dropped, one interval after the last.
  public var count: Int

  public init(intervalSeconds: Int = 5, count: Int = 5) {
    self.intervalSeconds = intervalSeconds
    self.count = count
  }
}

/// Which sessions keep their client when the connection to its daemon is lost.
public enum ReconnectPolicy: String, Sendable, Equatable, CaseIterable {
  /// Those from whose client nothing is hidden.
  case safe
  /// Also those whose client may have missed events that describe no state.
  case always
  /// None.
  case never
}

/// Settings that can change while the client is connected.
public struct SessionSettings: Sendable, Equatable {
  public var keepAlive: KeepAliveSettings
  /// Timeout for a client's authentication, in seconds; 0: no timeout.
  public var loginSeconds: Double
  /// Timeout for opening a backend daemon, in seconds.
  public var openSeconds: Double
  public var reconnect: ReconnectPolicy
  /// Timeout for a lost daemon to come back, in seconds.
  public var reconnectSeconds: Double

  public init(
    keepAlive: KeepAliveSettings = KeepAliveSettings(), loginSeconds: Double = 120,
    openSeconds: Double = 30, reconnect: ReconnectPolicy = .safe, reconnectSeconds: Double = 30
  ) {
    self.keepAlive = keepAlive
    self.loginSeconds = loginSeconds
    self.openSeconds = openSeconds
    self.reconnect = reconnect
    self.reconnectSeconds = reconnectSeconds
  }
}

/// What is known of a client when its session begins.
public struct SessionClient: Sendable {
  public var identity: VerifiedIdentity
  public var authentication: Authentication
  /// The client connected to a read-only socket.
  public var isReadOnly: Bool
  /// The number of a feature that only this broker supports. With it the broker detects a loop through other brokers.
  public var mark: Int32
  /// Spreads the attempts of many clients to reach the same daemon.
  public var seed: UInt64

  public init(
    identity: VerifiedIdentity, authentication: Authentication, isReadOnly: Bool, mark: Int32,
    seed: UInt64 = 0
  ) {
    self.identity = identity
    self.authentication = authentication
    self.isReadOnly = isReadOnly
    self.mark = mark
    self.seed = seed
  }
}

/// Why a client was refused or turned away.
public enum Refusal: String, CaseIterable, Sendable {
  case address = "max_clients_per_address"
  case identity = "max_clients_per_identity"
  case sasl
  case polkit
  case loginTime = "auth_timeout"
  case certificate
}
