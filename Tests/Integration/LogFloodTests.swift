// Clients that cause many log lines, and a log that is not read.
import Foundation
import Glibc
import Streams
import Testing

@Suite("The log under attack")
struct LogFloodTests {
  /// A call that fails at once with the longest possible reason.
  private static func fail(_ client: RawClient, times: Int) throws {
    let name = "x-" + String(repeating: "y", count: 12_000) + "://z\u{202e}/system"
    for _ in 0..<times {
      let call = client.header(Remote.connectOpen)
      try client.send(
        Packets.make(call, ConnectOpenArguments(name: name, flags: 0)))
      let reply = try client.receive("the answer") { $0.header.serial == call.serial }
      #expect(reply.header.status == .error)
    }
  }

  private static func written(_ log: String) -> Int {
    log.split(separator: "\n").filter {
      $0.contains("(127.0.0.1:") && $0.contains("VB-UPS-002") && !$0.contains("VB-LOG-020")
    }.count
  }

  private static func leftOut(_ log: String) -> Int {
    log.matches(of: /VB-LOG-020[^:]*: (\d+) log lines? left out, similar to: client/)
      .compactMap { Int($0.1) }.reduce(0, +)
  }

  @Test("standard error on a full pipe delays neither clients nor the exit")
  func pipe() async throws {
    let pipe = try Scratch.directory("p") + "/pipe"
    #expect(mkfifo(pipe, 0o600) == 0)
    let reader = open(pipe, O_RDWR | O_NONBLOCK | O_CLOEXEC)
    defer { close(reader) }
    let sockets = try Scratch.directory("s")
    let backend = try ScriptedBackend(in: sockets) { _, _ in false }
    let broker = try await BrokerProcess.start(
      backends: sockets, settings: ["log_outputs = \"1:stderr\"", "log_level = 1"],
      within: ["sh", "-c", "exec \"$@\" 2>\(pipe)", "sh"])
    try await blocking {
      // 64 KiB fill the pipe.
      for _ in 0..<10 {
        let attacker = try broker.client(.tcp)
        try Self.fail(attacker, times: 50)
      }
      let client = try broker.client()
      client.patience = 10
      try client.open()
      for _ in 0..<100 { #expect(try client.call(157).header.status == .ok) }
    }
    try await broker.stop()
    withExtendedLifetime(backend) {}
  }

  @Test(
    "one client's log lines are short, few and plain text, so it cannot fill the disk; lost lines are counted"
  )
  func flood() async throws {
    let scene = try await Scene { _, _ in false }
    let broker = scene.broker
    try await blocking {
      let attacker = try broker.client(.tcp)
      try Self.fail(attacker, times: 1000)
      #expect(eventually { Self.written(broker.log) + Self.leftOut(broker.log) == 1000 })
      #expect(Self.leftOut(broker.log) > 500)
      let other = try broker.client()
      try Self.fail(other, times: 1)
      #expect(eventually { broker.logs("VB-UPS-002", "(UNIX, pid \(getpid()), uid 0): ") })
    }
    let log = broker.log
    #expect(log.utf8.count < 1_000_000)
    #expect(log.split(separator: "\n").allSatisfy { $0.utf8.count < 4096 })
    #expect(!log.unicodeScalars.contains("\u{202e}"))
    try await scene.end()
  }

  @Test("the log has the address of a client that has left before it is accepted")
  func gone() async throws {
    let scene = try await Scene { _, _ in false }
    let broker = scene.broker
    // The broker is stopped, so it accepts the connection after the reset.
    broker.signal(SIGSTOP)
    let port = try await blocking {
      let client = try RawClient(tcp: broker.port)
      var atOnce = linger(l_onoff: 1, l_linger: 0)
      setsockopt(
        client.descriptor, SOL_SOCKET, SO_LINGER, &atOnce, socklen_t(MemoryLayout<linger>.size))
      var address = sockaddr_in()
      var length = socklen_t(MemoryLayout<sockaddr_in>.size)
      withUnsafeMutableBytes(of: &address) { bytes in
        _ = getsockname(
          client.descriptor, bytes.assumingMemoryBound(to: sockaddr.self).baseAddress, &length)
      }
      return UInt16(bigEndian: address.sin_port)
    }
    broker.signal(SIGCONT)
    #expect(
      try await blocking {
        eventually { broker.logs("VB-CLI-001", "(127.0.0.1:\(port)) connected to 127.0.0.1") }
      }, "\(broker.log)")
    #expect(!broker.log.contains("unknown address"))
    try await scene.end()
  }
}
