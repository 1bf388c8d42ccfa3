// A relay with an owner and scripted sockets.
@testable import Simulator
@testable import Streams

/// The relay's owner. It routes as configured, records what the relay asks and reports, and answers chosen calls.
final class RelayHarness: RelayOwner {
  let pool: SegmentPool
  let client = PiecedTransport()
  private(set) var backends: [PiecedTransport] = []
  /// The upstream of each driver; other drivers use the first upstream.
  var homes: [Driver: Int] = [:]
  /// The error that `route` returns instead of an upstream.
  var routeError: RemoteError?
  private(set) var routed: [Driver] = []
  var isLasting = true
  /// Calls that the owner answers itself, with an empty reply.
  var isAnswered: (PacketHeader) -> Bool = { _ in false }
  private(set) var asked: [(header: PacketHeader, body: [UInt8])] = []
  private(set) var answers: [(slot: Int, header: PacketHeader, body: [UInt8])] = []
  private(set) var ended: [(slot: Int, reason: LinkEnd)] = []
  private(set) var replied: [Call] = []
  private(set) var over: [(call: Call, object: StreamObject?, result: StreamResult)] = []
  var lossError = RemoteError(.systemError, "virtqemud is gone", int1: 5)
  var tellsClosed = true

  private var made: Relay?
  var relay: Relay {
    guard let made else { preconditionFailure("made with the desk") }
    return made
  }

  init(
    backends count: Int = 1, maxRequests: Int = 5, watermarks: Watermarks = Watermarks(),
    segment: Int = SegmentPool.usualCapacity, largestWhole: Int = Limits.usualPacket,
    isOpen: Bool = true, clientCarries: Bool = true, told: Set<Access> = Set(Access.allCases)
  ) {
    self.told = told
    pool = SegmentPool(capacity: segment)
    client.carriesDescriptors = clientCarries
    made = Relay(
      client: client, owner: self, pool: pool, maxRequests: maxRequests, watermarks: watermarks,
      largestWhole: largestWhole)
    for _ in 0..<count { relay.upstreamIsOpen(add()) }
    relay.isOpen = isOpen
  }

  /// Adds another upstream, not open yet.
  func add() -> Int {
    let socket = PiecedTransport()
    let slot = relay.add(upstream: socket)
    if slot < backends.count { backends[slot] = socket } else { backends.append(socket) }
    return slot
  }

  // MARK: The owner

  func takes(_ call: PacketHeader, body: [UInt8]) -> Bool {
    asked.append((call, body))
    guard isAnswered(call) else { return false }
    relay.resume()
    relay.reply(Packets.reply(answering: call))
    return true
  }

  func route(to driver: Driver) -> Result<Route, RemoteError>? {
    routed.append(driver)
    if let routeError { return .failure(routeError) }
    return .success(Route(slot: homes[driver] ?? 0, isLasting: isLasting))
  }

  func upstream(_ slot: Int, answered reply: PacketHeader, body: [UInt8]) {
    answers.append((slot, reply, body))
  }

  func upstream(_ slot: Int, ended reason: LinkEnd) {
    ended.append((slot, reason))
    relay.remove(upstream: slot, telling: lossError, closedEvent: tellsClosed && slot == 0)
  }

  /// The rate limits of streams, by kind.
  var meters: [StreamKind: [Meter]] = [:]
  func meters(for kind: StreamKind) -> [Meter] { meters[kind] ?? [] }

  let answerCounts: AnswerCounts? = AnswerCounts()
  /// Replies to calls with this access are reported.
  let told: Set<Access>
  func wantsAnswers(to access: Access) -> Bool { told.contains(access) }
  func answered(_ call: Call, _ status: PacketStatus) { replied.append(call) }

  func ended(_ call: Call, object: StreamObject?, _ result: StreamResult) {
    over.append((call, object, result))
  }

  // MARK: The ends

  /// The client sends bytes that arrive in one read.
  func fromClient(_ bytes: [UInt8]..., descriptor: Int32 = -1) {
    client.supply(RelayHarness.joined(bytes), descriptor: descriptor)
    if relay.clientInterest.contains(.read) { relay.clientReady(.read) }
  }

  private static func joined(_ parts: [[UInt8]]) -> ArraySlice<UInt8> {
    var all: [UInt8] = []
    for part in parts { all += part }
    return all[...]
  }

  /// A backend sends bytes that arrive in one read.
  func fromBackend(_ slot: Int = 0, _ bytes: [UInt8]..., descriptor: Int32 = -1) {
    backends[slot].supply(RelayHarness.joined(bytes), descriptor: descriptor)
    if relay.upstreamInterest(slot).contains(.read) { relay.upstreamReady(slot, .read) }
  }

  /// The violation that ended the client's connection.
  var violation: Violation? { RelayHarness.violation(relay.clientEnd) }
  var upstreamViolation: Violation? { RelayHarness.violation(ended.first?.reason) }

  private static func violation(_ end: LinkEnd?) -> Violation? {
    if case .violation(let violation) = end { violation } else { nil }
  }

  /// The packets that have reached the client since the last call.
  func toClient() -> [Arrived] { Arrived.read(client.takeBytes()) }
  func toBackend(_ slot: Int = 0) -> [Arrived] { Arrived.read(backends[slot].takeBytes()) }

  /// The client accepts `room` more bytes.
  func clientReads(_ room: Int = .max) {
    client.room = room
    if relay.clientInterest.contains(.write) { relay.clientReady(.write) }
  }

  func backendReads(_ slot: Int = 0, _ room: Int = .max) {
    backends[slot].room = room
    if relay.upstreamInterest(slot).contains(.write) { relay.upstreamReady(slot, .write) }
  }

  func backendEnds(_ slot: Int = 0, _ outcome: Outcome = .end) {
    backends[slot].afterwards = outcome
    if relay.upstreamInterest(slot).contains(.read) { relay.upstreamReady(slot, .read) }
  }
}

/// A packet as it arrived.
struct Arrived: Equatable, CustomStringConvertible {
  let header: PacketHeader
  let payload: [UInt8]

  var description: String {
    "\(header.kind.rawValue) procedure \(header.procedure) serial \(header.serial) "
      + "status \(header.status.rawValue), \(payload.count) bytes"
  }
  var serial: UInt32 { header.serial }
  var error: RemoteError? { try? RemoteError.read(payload) }

  /// The packets in `bytes`, which must be whole. Carriers are left out.
  static func read(_ bytes: [UInt8]) -> [Arrived] {
    var found: [Arrived] = []
    var rest = bytes[...]
    while rest.count >= Limits.header {
      let header = Array(rest).withUnsafeBytes { bytes -> PacketHeader in
        guard let base = bytes.baseAddress else { preconditionFailure("there are 28 bytes") }
        return PacketHeader(at: base)
      }
      let length = Int(header.length)
      guard length >= Limits.header, length <= rest.count else { break }
      let payload = Array(rest.prefix(length).dropFirst(Limits.header))
      found.append(Arrived(header: header, payload: payload))
      rest = rest.dropFirst(length)
      if header.kind == .callWithDescriptors || header.kind == .replyWithDescriptors,
        let count = payload.prefix(4).last
      {
        rest = rest.dropFirst(Int(count))
      }
    }
    return found
  }
}

// MARK: Packets

/// A call without a stream, for the hypervisor driver.
func call(_ serial: UInt32, _ procedure: Int32 = 3, _ payload: [UInt8] = []) -> [UInt8] {
  Stamp.packet(PacketHeader(procedure: procedure, kind: .call, serial: serial), payload)
}

func reply(
  _ serial: UInt32, _ procedure: Int32 = 3, _ status: PacketStatus = .ok, _ payload: [UInt8] = []
) -> [UInt8] {
  Stamp.packet(
    PacketHeader(procedure: procedure, kind: .reply, serial: serial, status: status), payload)
}

func stream(
  _ serial: UInt32, _ procedure: Int32, _ status: PacketStatus, _ payload: [UInt8] = []
) -> [UInt8] {
  Stamp.packet(
    PacketHeader(procedure: procedure, kind: .stream, serial: serial, status: status), payload)
}

func event(_ number: UInt32, _ procedure: Int32 = 318) -> [UInt8] {
  Stamp.packet(PacketHeader(procedure: procedure, kind: .message, serial: 1), Stamp.bytes(number))
}

let ping = Packets.keepAlive(KeepAliveProcedure.ping)
let pong = Packets.keepAlive(KeepAliveProcedure.pong)
