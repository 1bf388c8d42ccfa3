// Where in a session's byte stream the SASL security layer begins, over a real socket.
import Glibc
import Streams
import Synchronization
import Testing

@testable import Broker

/// A blocking client on a thread of its own.
private final class Caller {
  private let socket: Int32
  private var serial: UInt32 = 0
  let pair: SASLPair

  init(to name: String) throws {
    pair = try SASLPair(try SASLRealm.service.get())
    socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var patience = timeval(tv_sec: 20, tv_usec: 0)
    setsockopt(
      socket, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    let port = name.split(separator: ":").last.map(String.init) ?? ""
    let address = try #require(try Address.resolve(host: "127.0.0.1", port: port).first)
    try #require(address.withPointer { connect(socket, $0, $1) } == 0)
  }

  deinit { close(socket) }

  func send(_ bytes: [UInt8]) throws {
    try #require(Glibc.send(socket, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count)
  }

  /// Returns nil when the connection ends early.
  func receive(_ count: Int) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: count)
    var have = 0
    while have < count {
      let more = bytes.withUnsafeMutableBytes {
        recv(socket, $0.baseAddress.map { $0 + have }, count - have, 0)
      }
      guard more > 0 else { return nil }
      have += more
    }
    return bytes
  }

  func call(_ procedure: Int32, _ body: (any XDRBody)? = nil) -> [UInt8] {
    serial += 1
    let header = PacketHeader(procedure: procedure, kind: .call, serial: serial)
    return body.map { Packets.make(header, $0) } ?? Packets.make(header)
  }

  func reply() -> [UInt8]? {
    guard let header = receive(Limits.header) else { return nil }
    let length = header.withUnsafeBytes { $0.baseAddress.map { PacketHeader(at: $0).length } } ?? 0
    guard length > UInt32(Limits.header) else { return [] }
    return receive(Int(length) - Limits.header)
  }

  /// Runs the exchange and returns the last step without sending it.
  func beforeLastStep() throws -> [UInt8] {
    try send(call(Remote.authSASLInit))
    _ = try #require(reply())
    let first = try pair.clientSays("DIGEST-MD5", to: nil)
    try send(
      call(
        Remote.authSASLStart,
        SASLStartArguments(mechanism: "DIGEST-MD5", data: SASLData(first))))
    let challenge = try SASLStepResult(reading: try #require(reply()))
    return call(
      Remote.authSASLStep,
      SASLData(try pair.clientSays("DIGEST-MD5", to: challenge.data.bytes ?? [])))
  }

  /// Receives the reply to the last step and checks the server's proof.
  func takeLastReply() throws {
    let last = try SASLStepResult(reading: try #require(reply()))
    #expect(last.isComplete)
    _ = try pair.clientSays("DIGEST-MD5", to: last.data.bytes ?? [])
  }

  /// Receives and decodes one block from the server.
  func receiveBlock() -> [UInt8]? {
    guard let length = receive(4) else { return nil }
    let count = length.reduce(0) { $0 << 8 | Int($1) }
    return receive(count).map { pair.clientDecode(length + $0) }
  }
}

extension SASLStepResult {
  fileprivate init(reading bytes: [UInt8]) throws {
    self = try bytes.withUnsafeBytes { try SASLStepResult(payload: $0) }
  }
}

extension SASLTests {
  /// Runs a broker on this thread and the client on another.
  private func serve(_ client: @escaping @Sendable (String) throws -> Void) throws {
    // This comes first because it sets where SASL looks for the passwords.
    _ = try SASLRealm.service.get()
    var settings = BrokerSettings()
    settings.listeners = [
      ListenerSettings(.tcp(host: "127.0.0.1", port: "0"), authentication: .sasl)
    ]
    let broker = try Broker(settings: settings, log: BrokerLog(threshold: .error) { _, _ in })
    let name = try #require(broker.listenerNames.first)
    let trouble = Mutex<(any Error)?>(nil)
    let isDone = Atomic<Bool>(false)
    let job = Job {
      do { try client(name) } catch { trouble.withLock { $0 = error } }
      isDone.store(true, ordering: .releasing)
    }
    var alarm: Alarm?
    alarm = Alarm(on: broker.reactor) {
      if isDone.load(ordering: .acquiring) { broker.stop() } else { alarm?.start(seconds: 0.01) }
    }
    alarm?.start(seconds: 0.01)
    job.start()
    broker.run()
    alarm = nil
    if let trouble = trouble.withLock({ $0 }) { throw trouble }
  }

  @Test("both directions are encoded after the reply that ends the exchange, and not before")
  func switching() throws {
    try serve { name in
      let caller = try Caller(to: name)
      try caller.send(try caller.beforeLastStep())
      try caller.takeLastReply()
      for _ in 0..<3 {
        try caller.send(caller.pair.clientEncode(caller.call(Remote.authList)))
        let reply = try #require(caller.receiveBlock())
        #expect(reply.count == Limits.header + 8)
        #expect(Array(reply.suffix(8)) == [0, 0, 0, 1, 0, 0, 0, 1])
      }
      // Clear text is no longer accepted: it parses as a block that is too long or incomplete.
      try caller.send([0x7f] + [UInt8](repeating: 0, count: 200))
      #expect(caller.receive(1) == nil, "the connection is over")
    }
  }

  @Test(
    "clear text after the last step ends the connection before the client is authenticated")
  func inTheClear() throws {
    try serve { name in
      let caller = try Caller(to: name)
      try caller.send(try caller.beforeLastStep() + caller.call(Remote.authList))
      #expect(caller.reply() == nil)
    }
  }

  @Test("a client that disconnects at any byte around the last step affects only itself")
  func leaving() throws {
    try serve { name in
      for cut in [1, 27, 28, 100] {
        let caller = try Caller(to: name)
        let step = try caller.beforeLastStep()
        try caller.send(Array(step[..<cut]))
      }
      for blocks in 0..<4 {
        let caller = try Caller(to: name)
        try caller.send(try caller.beforeLastStep())
        try caller.takeLastReply()
        let block = caller.pair.clientEncode(caller.call(Remote.authList))
        try caller.send(Array((block + block)[..<(blocks * 15)]))
      }
      let caller = try Caller(to: name)
      try caller.send(try caller.beforeLastStep())
      try caller.takeLastReply()
    }
  }
}

/// A function that runs on a thread of its own.
private final class Job: @unchecked Sendable {
  private let body: @Sendable () -> Void
  init(_ body: @escaping @Sendable () -> Void) { self.body = body }

  func start() {
    var thread = pthread_t()
    pthread_create(
      &thread, nil,
      { data in
        if let data { Unmanaged<Job>.fromOpaque(data).takeRetainedValue().body() }
        return nil
      }, Unmanaged.passRetained(self).toOpaque())
    pthread_detach(thread)
  }
}
