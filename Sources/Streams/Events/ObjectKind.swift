// The kinds of objects that have life cycle events: how they are listed, and what their events say.

/// What names an object in its kind: its UUID, or a node device's name.
typealias ObjectKey = [UInt8]

public enum ObjectKind: UInt8, CaseIterable, Sendable {
  case domain, network, storagePool, nodeDevice, secret

  /// One call that lists objects of the kind, and what it tells of those in its reply; nil: that they exist.
  struct Listing: Sendable {
    let procedure: Int32
    let flags: UInt32
    let tells: ObjectState.Flags?
  }

  /// The calls that together give the state of all objects. The first lists all of them.
  var listings: [Listing] {
    func list(_ procedure: Int32, _ flags: [(UInt32, ObjectState.Flags?)]) -> [Listing] {
      flags.map { Listing(procedure: procedure, flags: $0.0, tells: $0.1) }
    }
    return switch self {
    case .domain: list(273, [(0, nil), (4, .persistent), (32, .paused), (128, .other)])
    case .network: list(283, [(0, nil), (2, .active), (4, .persistent)])
    case .storagePool: list(281, [(0, nil), (2, .active), (4, .persistent)])
    case .nodeDevice: list(285, [(0, nil), (1 << 31, .active)])
    case .secret: list(287, [(0, nil)])
    }
  }

  /// One object as the protocol names it: its key, its encoded name without a domain's number, and that number.
  func read(
    _ reader: inout XDRReader
  ) throws(Violation) -> (key: ObjectKey, name: [UInt8], id: Int32) {
    var writer = XDRWriter()
    var key: ObjectKey = []
    if self == .secret {
      key = Array(try reader.fixed(16))
      writer.append(key)
      writer.int32(try reader.int32())
      writer.opaque(try reader.opaque(limit: Limits.string))
      return (key, writer.bytes, -1)
    }
    let name = try reader.opaque(limit: Limits.string)
    writer.opaque(name)
    if self == .nodeDevice { return (Array(name), writer.bytes, -1) }
    key = Array(try reader.fixed(16))
    writer.append(key)
    return (key, writer.bytes, self == .domain ? try reader.int32() : -1)
  }
}

/// The state of an object, as far as its life cycle events describe it.
struct ObjectState: Equatable, Sendable {
  struct Flags: OptionSet, Sendable {
    let rawValue: UInt8
    /// It runs.
    static let active = Flags(rawValue: 1)
    /// It has a definition that survives it.
    static let persistent = Flags(rawValue: 2)
    static let paused = Flags(rawValue: 4)
    /// A domain that runs in a state of its own: it shuts down, sleeps, or has crashed.
    static let other = Flags(rawValue: 8)
  }

  /// The object's name, encoded, without a domain's number.
  var name: [UInt8]
  /// A domain's number while it runs; -1: none.
  var id: Int32 = -1
  var flags: Flags = []

  mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    var bits = flags.rawValue
    try coder.code(&name)
    try coder.code(&id)
    try coder.code(&bits)
    flags = Flags(rawValue: bits)
  }
}

/// A life cycle event, or what one says.
struct LifeCycleEvent: Equatable, Sendable {
  private(set) var event: Int32
  var detail: Int32 = 0
  /// The object as the event names it.
  private(set) var name: [UInt8]
  var id: Int32 = -1

  mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    try coder.code(&event)
    try coder.code(&detail)
    try coder.code(&name)
    try coder.code(&id)
  }
}
