// The fuzz targets of the admin socket: its calls, and the connection they come on.

/// The first four bytes say which call it is, the rest are its arguments.
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

/// The first byte says how large the pieces are that the rest arrives in. Whatever it is, each whole call is answered
/// once, and in the end nothing is held.
func connection(_ input: UnsafeRawBufferPointer) {
  guard let first = input.first else { return }
  let pool = SegmentPool(capacity: 1024, spare: 2)
  do {
    let caller = Caller(Array(input.dropFirst()), size: 1 + Int(first))
    let clerk = Clerk()
    let connection = ServerConnection(over: caller, owner: clerk, pool: pool)
    clerk.connection = connection
    // Each turn takes at least one piece, or ends it.
    for _ in 0...input.count where connection.end == nil { connection.ready([.read, .write]) }
    precondition(connection.end != nil, "the connection has ended, and that is not noticed")
    precondition(caller.replies <= clerk.answered + clerk.pings(in: input), "a reply was made up")
    connection.clear()
  }
  precondition(pool.heldCount == 0, "a segment was kept")
}

/// Reads every call as one of both programs, and answers.
private final class Clerk: ServerConnectionOwner {
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

  /// More than there can be.
  func pings(in input: UnsafeRawBufferPointer) -> Int { input.count / Limits.header }
}

/// A peer that says all it has to say and hangs up; it reads everything.
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
