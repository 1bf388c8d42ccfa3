// The state of one upstream connection of a session.

/// A connection to a backend daemon on behalf of one client, from the search for the daemon to its close.
public struct Upstream: Sendable {
  /// What the upstream waits for.
  enum State: Sendable, Equatable {
    /// The time of the next attempt to reach a lost daemon.
    case resting(until: Double)
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
    /// The replies to the client's registrations for events, made again. `rest`: those not made yet, after the one under
    /// way.
    case registering(rest: [Registration])
    /// The time of the survey, before the upstream is open again.
    case settling(until: Double)
    /// The replies to the listings of the survey.
    case surveying
    /// Nothing, or the reply to a listing: the upstream is open.
    case ready
    /// The reply to CONNECT_CLOSE.
    case closing
  }

  /// Unique in the session; starts at 1.
  public private(set) var id: Int
  /// The driver whose daemon it leads to; nil: the daemon that the client opened.
  private(set) var driver: Driver?
  public internal(set) var target: UpstreamTarget?
  var state = State.locating
  /// When it must be open.
  var deadline: Double
  /// Descriptors can be passed to the daemon.
  var carriesDescriptors = false
  /// It has a slot in the relay.
  var isAttached = false
  /// It takes the place of a lost connection; nil: it does not.
  public internal(set) var reopening: Reopening?
  /// The listings that the memory of events needs: the one under way first.
  var survey: [SurveyStep] = []
  /// The last serial of the broker's own calls. Clients count up from 1 and do not reach its range.
  private var serial = Upstream.firstSerial
  static let firstSerial: UInt32 = 0xFFFF_0000

  struct SurveyStep: Sendable {
    let objects: ObjectKind
    let listing: ObjectKind.Listing
    /// Its answer is not needed any more.
    var isVoid = false
  }

  /// The attempts to reach a lost daemon.
  public struct Reopening: Sendable {
    /// When the connection was lost.
    let since: Double
    var attempts = 0
    /// What the client is told if the daemon does not come back.
    let error: RemoteError
    /// Event registrations that ended with the lost connection.
    let registrations: [Registration]

    /// Seconds until the next attempt: up to 0.1 before the first one, then longer, up to 0.5. The share of it depends
    /// on the client, so that those of one daemon do not all come at the same moment.
    func pause(_ seed: UInt64) -> Double {
      let longest = min(0.5, 0.1 * Double(UInt64(1) << UInt64(min(attempts, 4))))
      let mixed = (seed &+ UInt64(attempts) &+ 1) &* 0x9E37_79B9_7F4A_7C15
      let share = Double(mixed >> 40) / Double(1 << 24)
      return attempts == 0 ? longest * share : longest * (0.5 + share / 2)
    }
  }

  init(id: Int, driver: Driver?, deadline: Double) {
    self.id = id
    self.driver = driver
    self.deadline = deadline
  }

  /// Writes an upstream that is open, or reads it. Its serials begin anew, because no call of the broker's is under way.
  mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    try coder.code(&id, in: 1...Int(Int32.max))
    try coder.code(&driver, initially: .hypervisor) { (driver, coder) throws(Violation) in
      try coder.code(&driver)
    }
    try coder.code(&target, initially: .none) { (target, coder) throws(Violation) in
      try target.code(&coder)
    }
    try coder.code(&carriesDescriptors)
    guard coder.isReading else { return }
    state = .ready
    isAttached = true
  }

  mutating func nextSerial() -> UInt32 {
    serial = serial == .max ? Upstream.firstSerial : serial + 1
    return serial
  }

  /// It is being opened, which may take until the deadline.
  var isOpening: Bool { state != .ready && state != .closing }

  /// The connection that takes the place of this lost one.
  func successor(
    _ id: Int, deadline: Double, _ reopening: Reopening, at now: Double, _ seed: UInt64
  )
    -> Upstream
  {
    var next = Upstream(id: id, driver: driver, deadline: deadline)
    next.target = target
    next.carriesDescriptors = carriesDescriptors
    next.isAttached = isAttached
    next.reopening = reopening
    next.state = .resting(until: min(deadline, now + reopening.pause(seed)))
    return next
  }

  /// For the log: `virtqemud at /run/libvirt/virtqemud-sock`.
  var name: String { target.map { "\($0.daemon) at \($0.path)" } ?? "the backend" }

  /// The state in words.
  public var stateText: String {
    switch state {
    case .resting: "waiting for the daemon to come back"
    case .locating, .connecting: "connecting"
    case .listingMethods: "listing authentication methods"
    case .askingPolkit: "authenticating by polkit"
    case .listingMechanisms, .talkingSASL: "authenticating by SASL"
    case .opening: "opening"
    case .recognising: "checking for a loop"
    case .awaitingNames: "waiting for the names of the client's user"
    case .identifying: "sending the client's identity"
    case .registering, .settling, .surveying: "restoring the client's event registrations"
    case .ready: "open"
    case .closing: "closing"
    }
  }
}
