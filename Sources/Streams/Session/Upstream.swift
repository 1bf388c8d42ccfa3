// One upstream connection of a session: how far it has come.

/// A connection to a backend daemon on behalf of one client, from the search for the daemon to its close.
public struct Upstream: Sendable {
  /// What is awaited.
  enum State: Sendable, Equatable {
    /// The host finds the daemon.
    case locating
    /// The connection is under way.
    case connecting
    /// The reply to AUTH_LIST, AUTH_POLKIT, AUTH_SASL_INIT.
    case listingMethods
    case askingPolkit
    case listingMechanisms
    /// The SASL library's next words, or the other host's. The library expects nothing more, or the other host has said
    /// that it does not.
    case talkingSASL(isDone: Bool, isSatisfied: Bool)
    /// The reply to CONNECT_OPEN.
    case opening
    /// Whether the other host is a broker that the client came through: the marks that are left to be asked for.
    case recognising(rest: [Int32])
    /// The names of the client's user.
    case awaitingNames
    /// The reply to CONNECT_SET_IDENTITY.
    case identifying
    /// Nothing: it is open.
    case ready
    /// The reply to CONNECT_CLOSE.
    case closing
  }

  /// Counts up in the session and is never used again.
  public let id: Int
  /// Whose own daemon it leads to; nil: to the one that the client opened.
  let driver: Driver?
  public internal(set) var target: UpstreamTarget?
  var state = State.locating
  /// When it must be open.
  var deadline: Double
  /// Descriptors can be passed to the daemon.
  var carriesDescriptors = false
  /// It has a place in the relay.
  var isAttached = false
  /// Serials of the broker's own calls: a range that clients do not reach, which count up from 1.
  private var serial = Upstream.firstSerial
  static let firstSerial: UInt32 = 0xFFFF_0000

  init(id: Int, driver: Driver?, deadline: Double) {
    self.id = id
    self.driver = driver
    self.deadline = deadline
  }

  mutating func nextSerial() -> UInt32 {
    serial = serial == .max ? Upstream.firstSerial : serial + 1
    return serial
  }

  /// It is on its way to being open, which may take until the deadline.
  var isOpening: Bool { state != .ready && state != .closing }

  /// For the log: `virtqemud at /run/libvirt/virtqemud-sock`.
  var name: String { target.map { "\($0.daemon) at \($0.path)" } ?? "the backend" }

  /// What is awaited, in words.
  public var stateText: String {
    switch state {
    case .locating, .connecting: "connecting"
    case .listingMethods: "listing authentication methods"
    case .askingPolkit: "authenticating by polkit"
    case .listingMechanisms, .talkingSASL: "authenticating by SASL"
    case .opening: "opening"
    case .recognising: "checking for a loop"
    case .awaitingNames: "waiting for the names of the client's user"
    case .identifying: "sending the client's identity"
    case .ready: "open"
    case .closing: "closing"
    }
  }
}
