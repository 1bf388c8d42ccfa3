// The state of one upstream connection of a session.

/// A connection to a backend daemon on behalf of one client, from the search for the daemon to its close.
public struct Upstream: Sendable {
  /// What the upstream waits for.
  enum State: Sendable, Equatable {
    /// The host finds the daemon.
    case locating
    /// The connection is under way.
    case connecting
    /// The reply to AUTH_LIST, AUTH_POLKIT, AUTH_SASL_INIT.
    case listingMethods
    case askingPolkit
    case listingMechanisms
    /// The next SASL data, from the library or the other host. `isDone`: the library expects no more data.
    /// `isSatisfied`: the other host has reported that the exchange is complete.
    case talkingSASL(isDone: Bool, isSatisfied: Bool)
    /// The reply to CONNECT_OPEN.
    case opening
    /// The answer whether the other host is a broker that the client came through. `rest`: the marks not checked yet.
    case recognising(rest: [Int32])
    /// The names of the client's user.
    case awaitingNames
    /// The reply to CONNECT_SET_IDENTITY.
    case identifying
    /// Nothing: the upstream is open.
    case ready
    /// The reply to CONNECT_CLOSE.
    case closing
  }

  /// Unique in the session; starts at 1.
  public let id: Int
  /// The driver whose daemon it leads to; nil: the daemon that the client opened.
  let driver: Driver?
  public internal(set) var target: UpstreamTarget?
  var state = State.locating
  /// When it must be open.
  var deadline: Double
  /// Descriptors can be passed to the daemon.
  var carriesDescriptors = false
  /// It has a slot in the relay.
  var isAttached = false
  /// The last serial of the broker's own calls. Clients count up from 1 and do not reach its range.
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

  /// It is being opened, which may take until the deadline.
  var isOpening: Bool { state != .ready && state != .closing }

  /// For the log: `virtqemud at /run/libvirt/virtqemud-sock`.
  var name: String { target.map { "\($0.daemon) at \($0.path)" } ?? "the backend" }

  /// The state in words.
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
