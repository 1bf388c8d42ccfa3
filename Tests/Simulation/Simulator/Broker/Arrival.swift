// One connection of a client, from the kernel's queue to its end.
@testable import Streams

/// A connection as the simulated broker and its client know it.
final class Arrival {
  /// How far it has come in the broker.
  enum Stage {
    /// In the kernel's queue of its listener.
    case queued
    /// The TLS handshake is under way.
    case shaking
    /// It waits for a place.
    case waiting
    /// It has a place, of which its TLS client is about to be told.
    case confirming
    case client(SessionWorld)
    case over

    var name: String {
      switch self {
      case .queued: "queued"
      case .shaking: "shaking"
      case .waiting: "waiting"
      case .confirming: "confirming"
      case .client: "client"
      case .over: "over"
      }
    }

    static let names = ["queued", "shaking", "waiting", "confirming", "client", "over"]
  }

  let number: Int
  let gate: Int
  let origin: Origin
  let cameAt: Double
  /// It is one of those that must be served, whatever happened before.
  let isLate: Bool
  var stage = Stage.queued
  /// Its number in the admission, once it asked for a place.
  var id: UInt64?
  /// Its client has closed the connection before it became a session.
  var hasLeft = false
  /// What it counts for, while it does.
  var address: String?
  var subject: String?
  /// Bytes that it holds, as they were counted last.
  var heldBytes = 0
  /// What its connections to other hosts use.
  var helpers = 0
  /// It was denied that.
  var wasStarved = false

  init(number: Int, gate: Int, origin: Origin, at now: Double, isLate: Bool) {
    self.number = number
    self.gate = gate
    self.origin = origin
    cameAt = now
    self.isLate = isLate
  }

  var isOver: Bool { if case .over = stage { true } else { false } }
  var session: SessionWorld? { if case .client(let session) = stage { session } else { nil } }
  var isPending: Bool {
    switch stage {
    case .waiting, .confirming: true
    case .queued, .shaking, .client, .over: false
    }
  }
  /// It uses a descriptor.
  var isAccepted: Bool {
    switch stage {
    case .queued, .over: false
    case .shaking, .waiting, .confirming, .client: true
    }
  }
}

/// A timer of the simulated broker: set anew, it forgets the time before.
final class SimulatedAlarm {
  private let loop: SimulatedLoop
  private let ring: () -> Void
  private var setting = 0
  private(set) var isSet = false

  init(on loop: SimulatedLoop, _ ring: @escaping () -> Void) {
    self.loop = loop
    self.ring = ring
  }

  func start(seconds: Double) {
    setting += 1
    isSet = true
    let mine = setting
    loop.schedule(in: seconds) { [self] in
      guard mine == setting else { return }
      isSet = false
      ring()
    }
  }

  func stop() {
    setting += 1
    isSet = false
  }
}
