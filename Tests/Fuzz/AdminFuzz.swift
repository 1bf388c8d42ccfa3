// The fuzz targets of the admin socket: its calls and its connection.

@testable import Streams

/// The first four bytes select the call; the rest are its arguments.
func adminCall(_ input: UnsafeRawBufferPointer) {
  guard let (procedure, body) = split(input),
    let call = try? AdminCall(procedure: procedure, body: body)
  else { return }
  precondition(call.procedure == procedure, "\(call) is not \(procedure)")
  let bytes = call.arguments
  let again = bytes.withUnsafeBytes { try? AdminCall(procedure: procedure, body: $0) }
  precondition(again.map { "\($0)" } == "\(call)", "\(call) became another on its way")
}

func brokerCall(_ input: UnsafeRawBufferPointer) {
  guard let (procedure, body) = split(input),
    let call = try? BrokerCall(procedure: procedure, body: body)
  else { return }
  let bytes = call.arguments
  let again = bytes.withUnsafeBytes { try? BrokerCall(procedure: procedure, body: $0) }
  precondition(again == call, "\(call) became another on its way")
}

private func split(_ input: UnsafeRawBufferPointer) -> (Int32, UnsafeRawBufferPointer)? {
  guard input.count >= 4 else { return nil }
  return (
    Int32(bigEndian: input.loadUnaligned(as: Int32.self)),
    UnsafeRawBufferPointer(rebasing: input.dropFirst(4))
  )
}

/// The first byte sets the size of the pieces in which the rest arrives. Each whole call must get one reply, and at
/// the end nothing may be held.
func connection(_ input: UnsafeRawBufferPointer) {
  guard let first = input.first else { return }
  let pool = SegmentPool(capacity: 1024, spare: 2)
  do {
    let caller = Caller(Array(input.dropFirst()), size: 1 + Int(first))
    let owner = TestOwner()
    let connection = ServerConnection(over: caller, owner: owner, pool: pool)
    owner.connection = connection
    // Each turn receives at least one piece or ends the connection.
    for _ in 0...input.count where connection.end == nil { connection.ready([.read, .write]) }
    precondition(connection.end != nil, "the connection has ended, and that is not noticed")
    precondition(caller.replies <= owner.answered + owner.pings(in: input), "a reply was made up")
    connection.clear()
  }
  precondition(pool.heldCount == 0, "a segment was kept")
}

/// Parses every call as a call of both programs, and answers.
private final class TestOwner: ServerConnectionOwner {
  unowned(unsafe) var connection: ServerConnection?
  private(set) var answered = 0

  func answer(_ call: PacketHeader, body: [UInt8]) {
    answered += 1
    body.withUnsafeBytes { body in
      _ = try? AdminCall(procedure: call.procedure, body: body)
      _ = try? BrokerCall(procedure: call.procedure, body: body)
    }
    connection?.reply(Packets.reply(answering: call))
  }

  /// An upper bound.
  func pings(in input: UnsafeRawBufferPointer) -> Int { input.count / Limits.header }
}

/// A peer that sends its bytes and closes. It reads everything.
private final class Caller: Transport {
  private let bytes: [UInt8]
  private let size: Int
  private var offset = 0
  private(set) var replies = 0
  let carriesDescriptors = false

  init(_ bytes: [UInt8], size: Int) {
    self.bytes = bytes
    self.size = size
  }

  func receive(into rooms: UnsafeBufferPointer<Run>, descriptor: inout Int32) -> Outcome {
    guard offset < bytes.count else { return .end }
    let count = rooms.fill(from: bytes[offset...].prefix(size))
    offset += count
    return .moved(count)
  }

  func send(_ runs: UnsafeBufferPointer<Run>) -> Outcome {
    let count = runs.reduce(0) { $0 + $1.count }
    precondition(count % Limits.header == 0, "half a reply went out")
    replies += count / Limits.header
    return .moved(count)
  }

  func send(descriptor: Int32) -> Outcome { .blocked(.write) }
  func discard(descriptor: Int32) {}
}
