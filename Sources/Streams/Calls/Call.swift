// A forwarded call of a client.

/// A call that was forwarded and has not ended: its reply is awaited, or its stream is alive. Stored in the call table.
public struct Call: Sendable {
  public private(set) var program: UInt32
  public private(set) var version: UInt32
  public private(set) var serial: UInt32
  public private(set) var procedure: Int32
  /// The slot of the upstream that serves it.
  public internal(set) var upstream: Int
  public internal(set) var isAnswered = false
  /// The stream it opened, if its procedure opens one.
  public internal(set) var stream: CallStream?
  /// The number of its stream in `MeteredStreams`; -1: the stream has no rate.
  var metered = -1
  /// The driver and access of its procedure. An unknown procedure counts as a change of the hypervisor.
  public private(set) var driver: Driver
  public private(set) var access: Access
  /// What it leaves behind at the daemon.
  var effect = CallEffect.lasting
  /// The number of its copy in the call table; -1: it has none, and is not sent again.
  var copy = -1
  /// The purpose of its stream.
  public private(set) var kind: StreamKind
  /// When it was forwarded, in seconds on the owner's clock.
  public private(set) var startedAt: Double
  /// Data of its stream from the client, and from the daemon.
  public internal(set) var up = StreamTraffic()
  public internal(set) var down = StreamTraffic()
  /// `overdue` has returned it.
  var isOverdueReported = false

  public init(
    _ header: PacketHeader, upstream: Int, stream: CallStream? = nil, at now: Double = 0,
    known: Procedure? = nil
  ) {
    program = header.program
    version = header.version
    serial = header.serial
    procedure = header.procedure
    self.upstream = upstream
    self.stream = stream
    kind = stream == nil ? .other : StreamKind(opening: header)
    startedAt = now
    driver = known?.driver ?? .hypervisor
    access = known?.access ?? .change
  }

  func has(_ header: PacketHeader) -> Bool {
    serial == header.serial && program == header.program && version == header.version
  }

  func isLike(_ call: Call) -> Bool {
    serial == call.serial && program == call.program && version == call.version
      && procedure == call.procedure && upstream == call.upstream
      && isAnswered == call.isAnswered && (stream == nil) == (call.stream == nil)
  }

  /// It has a stream that has not ended.
  public var isStreamAlive: Bool { stream.map { $0.phase != .closed } ?? false }

  /// The broker has ended its stream, independent of the reply to the opening call.
  var isCut: Bool { stream?.isCut ?? false }

  /// Writes or reads all but the copy of its packet.
  mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    try coder.code(&program)
    try coder.code(&version)
    try coder.code(&serial)
    try coder.code(&procedure)
    try coder.code(&upstream, in: 0...Call.mostUpstreams)
    try coder.code(&isAnswered)
    try coder.code(&stream, initially: CallStream(isSparse: false)) {
      (stream, coder) throws(Violation) in try stream.code(&coder)
    }
    try coder.code(&metered)
    try coder.code(&driver)
    try coder.code(&access)
    try coder.code(&effect)
    try coder.code(&kind)
    try coder.code(&startedAt)
    try up.code(&coder)
    try down.code(&coder)
    try coder.code(&isOverdueReported)
    // Only a stream keeps an answered call.
    if isAnswered, stream == nil { throw Violation(.snapshotValueInvalid, [serial, "a stream"]) }
  }

  /// Slots of upstreams in a snapshot: one for each driver is enough.
  static let mostUpstreams = 63

  /// Its header, rebuilt from the fields kept here.
  public var header: PacketHeader {
    PacketHeader(
      program: program, version: version, procedure: procedure, kind: .call, serial: serial)
  }
}

/// Payload that a stream has carried in one direction.
public struct StreamTraffic: Equatable, Sendable {
  public internal(set) var bytes: UInt64 = 0
  public internal(set) var packets: UInt64 = 0

  public init() {}

  mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    try coder.code(&bytes)
    try coder.code(&packets)
  }

  mutating func add(payload: Int, packets: Int) {
    bytes &+= UInt64(payload)
    self.packets &+= UInt64(packets)
  }
}
