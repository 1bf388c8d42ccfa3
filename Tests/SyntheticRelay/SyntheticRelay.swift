// The relay without sockets, to measure its cost per packet.
public import Streams

/// The traffic that passes through the relay.
public enum Course: String, CaseIterable, Sendable {
  /// A volume download: stream packets of the usual size, four reads of 64 KiB each.
  case download
  /// A download to a client that accepts half a packet at a time, so that the other half waits.
  case slowReader = "slow-reader"
  /// A volume upload: stream packets of the usual size.
  case upload
  /// A tunnelled migration as libvirtd sends it: 64 KiB of payload per packet.
  case migration
  /// A console: a keystroke up, a line down.
  case console
  /// Continuous console output: packets of 1 KiB, sixty-four to a read.
  case output
  /// One call and its reply at a time.
  case calls
  /// The same, with replies counted for the metrics.
  case countedCalls = "calls-counted"
  /// Events of one kind, sixteen to a read.
  case events
}

/// A relay with one client and one backend that send without end.
public final class SyntheticRelay: RelayOwner {
  private let client: EndlessTransport
  private let backend: EndlessTransport
  private let course: Course
  private var madeRelay: Relay?
  private var slot = 0
  private var serial: UInt32 = 1

  private var relay: Relay {
    guard let madeRelay else { preconditionFailure("made with the treadmill") }
    return madeRelay
  }

  public init(_ course: Course) {
    self.course = course
    let call = PacketHeader(procedure: SyntheticRelay.opening(course), kind: .call, serial: 1)
    client = EndlessTransport(packet: call)
    backend = EndlessTransport(packet: call)
    madeRelay = Relay(client: client, owner: self, pool: SegmentPool(), maxRequests: 5)
    slot = relay.add(upstream: backend)
    relay.upstreamIsOpen(slot)
    relay.isOpen = true
    if course != .calls, course != .countedCalls, course != .events {
      clientSends(call, payload: 64, count: 1)
      var reply = call
      reply.kind = .reply
      backendSends(reply, payload: 0, count: 1)
    }
  }

  public var answerCounts: AnswerCounts? { course == .countedCalls ? counts : nil }
  private let counts = AnswerCounts()

  /// A packet of the course's stream, in either direction.
  private var data: PacketHeader {
    PacketHeader(
      procedure: SyntheticRelay.opening(course), kind: .stream, serial: 1, status: .continue)
  }

  private static let openConsole: Int32 = 201
  private static let getLibVersion: Int32 = 157

  private static func opening(_ course: Course) -> Int32 {
    switch course {
    case .download, .slowReader: Remote.storageVolDownload
    case .upload, .migration: Remote.storageVolUpload
    case .console, .output: SyntheticRelay.openConsole
    case .calls, .countedCalls, .events: SyntheticRelay.getLibVersion
    }
  }

  /// Packets forwarded, and bytes accepted at both ends.
  public private(set) var packets = 0
  public var bytes: UInt64 { client.taken &+ backend.taken }

  /// Forwards at least this many packets.
  public func run(packets wanted: Int) {
    let end = packets + wanted
    while packets < end { step() }
  }

  private func step() {
    switch course {
    case .download: backendSends(data, payload: Limits.usualPayload, count: 1, piece: 65_536)
    case .slowReader:
      client.room = Limits.usualPacket / 2
      backendSends(data, payload: Limits.usualPayload, count: 1)
      client.room = .max
      if relay.clientInterest.contains(.write) { relay.clientReady(.write) }
    case .upload: clientSends(data, payload: Limits.usualPayload, count: 1, piece: 65_536)
    case .migration: clientSends(data, payload: 65_536, count: 3)
    case .console:
      clientSends(data, payload: 4, count: 1)
      backendSends(data, payload: 80, count: 1)
    case .output: backendSends(data, payload: 1024 - Limits.header, count: 64)
    case .calls, .countedCalls:
      serial &+= 1
      var header = PacketHeader(
        procedure: SyntheticRelay.getLibVersion, kind: .call, serial: serial)
      clientSends(header, payload: 0, count: 1)
      header.kind = .reply
      backendSends(header, payload: 8, count: 1)
    case .events:
      let event = PacketHeader(
        procedure: Remote.connectEventConnectionClosed, kind: .message, serial: 0)
      backendSends(event, payload: 100, count: 16)
    }
  }

  private func clientSends(
    _ header: PacketHeader, payload: Int, count: Int, piece: Int = .max
  ) {
    client.packet = header.with(payload: payload)
    feed(client, count, piece) { relay.clientReady(.read) }
  }

  private func backendSends(
    _ header: PacketHeader, payload: Int, count: Int, piece: Int = .max
  ) {
    backend.packet = header.with(payload: payload)
    feed(backend, count, piece) { relay.upstreamReady(slot, .read) }
  }

  private func feed(_ source: EndlessTransport, _ count: Int, _ piece: Int, _ ready: () -> Void) {
    var left = count * Int(source.packet.length)
    while left > 0 {
      source.credit = min(left, piece)
      left -= source.credit
      ready()
    }
    packets += count
  }

  // MARK: The owner

  public func takes(_ call: PacketHeader, body: [UInt8]) -> Bool { false }
  public func route(to driver: Driver) -> Result<Route, RemoteError>? {
    .success(Route(slot: slot, isLasting: true))
  }
  public func upstream(_ slot: Int, answered reply: PacketHeader, body: [UInt8]) {}
  public func upstream(_ slot: Int, ended reason: LinkEnd) {
    preconditionFailure("the backend of a treadmill ended: \(reason)")
  }
}

extension PacketHeader {
  fileprivate func with(payload: Int) -> PacketHeader {
    var header = self
    header.length = UInt32(Limits.header + payload)
    return header
  }
}
