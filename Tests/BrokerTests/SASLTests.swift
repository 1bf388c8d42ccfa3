// The SASL exchange and security layer, against the library's own client.
import CSASL
import Glibc
import Streams
import Testing

@testable import Broker

/// A transport that moves few bytes at a time, chosen by the seed, and often none.
private final class ShortTransport: Transport {
  var carriesDescriptors: Bool { false }
  private(set) var taken: [UInt8] = []
  var supply: [UInt8] = []
  private var random: UInt64

  init(seed: UInt64) { random = seed &* 2_654_435_761 | 1 }

  private func next(_ most: Int) -> Int {
    random ^= random << 13
    random ^= random >> 7
    random ^= random << 17
    // Nothing, a little, or everything.
    switch random % 4 {
    case 0: return 0
    case 1: return min(most, 1 + Int(random >> 8) % 40)
    default: return min(most, 1 + Int(random >> 8) % max(most, 1))
    }
  }

  func receive(into rooms: UnsafeBufferPointer<Run>, descriptor: inout Int32) -> Outcome {
    let count = next(min(supply.count, rooms[0].count))
    guard count > 0 else { return .blocked(.read) }
    rooms[0].base?.copyMemory(from: Array(supply[..<count]), byteCount: count)
    supply.removeFirst(count)
    return .moved(count)
  }

  func send(_ runs: UnsafeBufferPointer<Run>) -> Outcome {
    var total = 0
    for run in runs { total += run.count }
    var left = next(total)
    guard left > 0 else { return .blocked(.write) }
    let count = left
    for run in runs where left > 0 {
      let here = min(left, run.count)
      taken += UnsafeRawBufferPointer(start: run.base, count: here)
      left -= here
    }
    return .moved(count)
  }

  func send(descriptor: Int32) -> Outcome { .failed(EPROTO) }
  func discard(descriptor: Int32) {}
}

@Suite("SASL", .serialized)
struct SASLTests {
  private func pair(password: String = "secret", cover: SASLConnection.Cover = .none) throws
    -> SASLPair
  {
    try SASLPair(try SASLRealm.service.get(), password: password, cover: cover)
  }

  @Test("plain TCP offers only mechanisms with a security layer, other transports offer all")
  func offered() throws {
    let service = try SASLRealm.service.get()
    #expect(service.offered(over: SASLConnection(cover: .none)) == .success("DIGEST-MD5"))
    #expect(
      service.offered(over: SASLConnection(cover: .local)) == .success("SCRAM-SHA-256,DIGEST-MD5"))
    #expect(
      service.offered(over: SASLConnection(cover: .tls(bits: 256)))
        == .success("SCRAM-SHA-256,DIGEST-MD5"))
  }

  @Test("the right password yields the user's name and the strength of the layer")
  func right() throws {
    guard case .done(_, "fred", 128) = try pair().run("DIGEST-MD5") else {
      Issue.record("DIGEST-MD5 on TCP")
      return
    }
    guard case .done(_, "fred", 0) = try pair(cover: .local).run("SCRAM-SHA-256") else {
      Issue.record("SCRAM-SHA-256 on UNIX")
      return
    }
    guard case .done(_, "fred", 0) = try pair(cover: .tls(bits: 256)).run("SCRAM-SHA-256") else {
      Issue.record("SCRAM-SHA-256 on TLS")
      return
    }
  }

  @Test(
    "a failed authentication gives a reason that names the step",
    arguments: ["SCRAM-SHA-256", "DIGEST-MD5"])
  func wrong(mechanism: String) throws {
    guard
      case .failed(let trouble) = try pair(password: "guess", cover: .local).run(mechanism)
    else {
      Issue.record("a wrong password was taken")
      return
    }
    #expect(trouble.has(.saslStepFailed), "\(trouble)")
    #expect(trouble.text.hasPrefix("step 2: authentication failure"), "\(trouble)")
  }

  @Test("an unknown mechanism, malformed data and a step before the start fail")
  func nonsense() throws {
    let exchange = try SASLRealm.service.get().exchange(over: SASLConnection(cover: .local))
    guard case .failed = exchange.step([]) else {
      Issue.record("a step before the beginning")
      return
    }
    for (mechanism, data) in [
      ("GSSAPI", nil), ("", [0]), ("SCRAM-SHA-256", Array("nonsense".utf8)),
      ("SCRAM-SHA-256", [0, 0xff]), (String(repeating: "X", count: 5000), nil),
    ] as [(String, [UInt8]?)] {
      let exchange = try SASLRealm.service.get().exchange(over: SASLConnection(cover: .local))
      _ = try exchange.begin().get()
      guard case .failed(let trouble) = exchange.start(mechanism, data) else {
        Issue.record("\(mechanism) was taken")
        continue
      }
      #expect(trouble.has(.saslStepFailed), "\(trouble)")
      #expect(trouble.text.hasPrefix("step 1: "), "\(trouble)")
    }
  }

  @Test("an empty list of users admits no user, no list admits all")
  func users() throws {
    func admits(_ users: [String]?, _ user: String) throws -> Bool {
      var settings = SASLSettings()
      settings.allowedUsers = users
      _ = SASLRealm.service
      return try SASLService(settings).admits(user)
    }
    #expect(try admits(nil, "fred"))
    #expect(try !admits([], "fred"))
    #expect(try admits(["joe", "fr*"], "fred"))
    #expect(try !admits(["joe", "fr*"], "alfred"))
  }

  // Sends as the relay's scheduler does: from the front of the rest, and removes only what the transport reports as
  // sent.
  @Test(
    "bytes are clear up to a given count and encoded after it, however few the socket accepts",
    arguments: 1...40)
  func sending(seed: Int) throws {
    let pair = try pair()
    guard case .done = try pair.run("DIGEST-MD5") else {
      Issue.record("no layer")
      return
    }
    let socket = ShortTransport(seed: UInt64(seed))
    let transport = SASLTransport(socket)
    let clear = seed % 50
    var sent = (0..<(clear + seed * 9000)).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
    let all = sent
    transport.switchOn(pair.server, clear: clear)
    var attempts = 0
    while !sent.isEmpty || transport.unsent > 0, attempts < 100_000 {
      attempts += 1
      // Split at any place, as packets lie in segments.
      let middle = (attempts &* 7919) % (sent.count + 1)
      let outcome = sent.withUnsafeMutableBytes { bytes in
        let runs = [
          Run(base: bytes.baseAddress, count: middle),
          Run(base: bytes.baseAddress.map { $0 + middle }, count: bytes.count - middle),
        ].filter { $0.count > 0 }
        return runs.withUnsafeBufferPointer { transport.send($0) }
      }
      guard case .moved(let count) = outcome else {
        guard outcome == .blocked(.write) else {
          Issue.record("\(outcome)")
          return
        }
        continue
      }
      sent.removeFirst(count)
    }
    #expect(sent.isEmpty, "what is reported as sent has left to its last byte")
    #expect(Array(socket.taken[..<clear]) == Array(all[..<clear]))
    #expect(pair.clientDecode(Array(socket.taken[clear...])) == Array(all[clear...]))
  }

  @Test("received bytes are decoded, whatever the sizes of the reads", arguments: 1...40)
  func receiving(seed: Int) throws {
    let pair = try pair()
    guard case .done = try pair.run("DIGEST-MD5") else {
      Issue.record("no layer")
      return
    }
    let socket = ShortTransport(seed: UInt64(seed))
    let transport = SASLTransport(socket)
    transport.switchOn(pair.server, clear: 0)
    var expected: [UInt8] = []
    for block in 0..<(10 + seed) {
      let size = [1, 28, 1000, 65_000][(block &+ seed) % 4]
      let bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: block), count: size)
      expected += bytes
      socket.supply += pair.clientEncode(bytes)
    }
    // The smallest space that the relay offers, in two pieces.
    var room = [UInt8](repeating: 0, count: 64 * 1024)
    let middle = 1000 * seed
    var received: [UInt8] = []
    var attempts = 0
    while received.count < expected.count, attempts < 100_000 {
      attempts += 1
      var descriptor: Int32 = -1
      let outcome = room.withUnsafeMutableBytes { bytes in
        [
          Run(base: bytes.baseAddress, count: middle),
          Run(base: bytes.baseAddress.map { $0 + middle }, count: bytes.count - middle),
        ].withUnsafeBufferPointer { transport.receive(into: $0, descriptor: &descriptor) }
      }
      switch outcome {
      case .moved(let count): received += room[..<count]
      case .blocked(.read): continue
      default:
        Issue.record("\(outcome)")
        return
      }
    }
    #expect(received == expected)
    #expect(socket.supply.isEmpty, "nothing is left where no descriptor would tell of it")
  }

  @Test("a block that is too long or was altered ends the connection")
  func broken() throws {
    for change in [(0, UInt8(0xff)), (1, 0x02), (10, 0x55)] {
      let pair = try pair()
      guard case .done = try pair.run("DIGEST-MD5") else {
        Issue.record("no layer")
        return
      }
      let socket = ShortTransport(seed: 3)
      let transport = SASLTransport(socket)
      transport.switchOn(pair.server, clear: 0)
      socket.supply = pair.clientEncode([UInt8](repeating: 7, count: 500))
      socket.supply[change.0] ^= change.1
      var room = [UInt8](repeating: 0, count: 64 * 1024)
      var outcome = Outcome.blocked(.read)
      for _ in 0..<1000 where outcome == .blocked(.read) {
        var descriptor: Int32 = -1
        outcome = room.withUnsafeMutableBytes { bytes in
          [Run(base: bytes.baseAddress, count: bytes.count)].withUnsafeBufferPointer {
            transport.receive(into: $0, descriptor: &descriptor)
          }
        }
      }
      #expect(outcome == .failed(EPROTO))
    }
  }
}
