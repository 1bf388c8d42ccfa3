// What the configuration says about one client's session.

/// How the clients of a listener authenticate, in libvirt's words.
public enum Authentication: String, Sendable {
  case none, sasl
  /// The local authority decides, as it does on UNIX sockets alone.
  case polkit
}

/// Liveness of connections, as libvirt counts it.
public struct KeepAliveSettings: Sendable, Equatable {
  /// Seconds of silence before a PING; 0 or less: never send any.
  public var intervalSeconds: Int
  /// Unanswered PINGs before the connection is dropped, one interval after the last.
  public var count: Int

  public init(intervalSeconds: Int = 5, count: Int = 5) {
    self.intervalSeconds = intervalSeconds
    self.count = count
  }
}

/// Settings that can change while the client is connected.
public struct SessionSettings: Sendable, Equatable {
  public var keepAlive: KeepAliveSettings
  /// How long a client may take to authenticate, in seconds; 0: as long as it likes.
  public var loginSeconds: Double
  /// How long a backend daemon may take to be opened, in seconds.
  public var openSeconds: Double

  public init(
    keepAlive: KeepAliveSettings = KeepAliveSettings(), loginSeconds: Double = 120,
    openSeconds: Double = 30
  ) {
    self.keepAlive = keepAlive
    self.loginSeconds = loginSeconds
    self.openSeconds = openSeconds
  }
}

/// What is known of a client when its session begins.
public struct SessionClient: Sendable {
  public var identity: VerifiedIdentity
  public var authentication: Authentication
  /// It came in by a socket that allows only reading.
  public var isReadOnly: Bool
  /// The number by which this broker recognises itself behind other brokers: a feature that it alone has.
  public var mark: Int32

  public init(
    identity: VerifiedIdentity, authentication: Authentication, isReadOnly: Bool, mark: Int32
  ) {
    self.identity = identity
    self.authentication = authentication
    self.isReadOnly = isReadOnly
    self.mark = mark
  }
}

/// Why a client was not admitted, or was sent away.
public enum Refusal: String, CaseIterable, Sendable {
  case address = "max_clients_per_address"
  case identity = "max_clients_per_identity"
  case sasl
  case polkit
  case loginTime = "auth_timeout"
  case certificate
}
