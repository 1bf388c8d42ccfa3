// The read-only flag on the broker's connections to backends, by which a backend decides what a client may do.
import Foundation
import Streams
import Testing

@Suite("The read-only flag")
struct ReadOnlyFlagTests {
  /// Every listener, and how a client becomes read-only on it.
  enum Entry: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case socket = "the read-only socket"
    case unix = "the flag over UNIX"
    case tcp = "the flag over TCP"
    case tls = "the flag over TLS"
    case readWrite = "no flag"
    var testDescription: String { rawValue }
    /// The flags of the client's own CONNECT_OPEN. Bits that mean nothing to a server are not forwarded.
    var flags: UInt32 {
      self == .socket ? 2 : self == .readWrite ? 6 : ConnectOpenArguments.readOnly | 4
    }
    /// The flags that a backend receives.
    var forwarded: UInt32 { self == .readWrite ? 0 : ConnectOpenArguments.readOnly }
  }

  /// Two calls of the main daemon and the storage daemon, which make the broker open both.
  static let calls: [Int32] = [59, 71]

  /// Opens `uri` and makes the calls.
  private func use(_ tls: TLSBroker, _ entry: Entry, uri: String = "qemu:///system") throws {
    let broker = tls.broker
    if entry == .tls {
      let (socket, session) = try tls.client(try tls.certificates.identity())
      let open = socket.header(Remote.connectOpen)
      var packets = [Packets.make(socket.header(Remote.authList))]
      packets.append(Packets.make(open, ConnectOpenArguments(name: uri, flags: entry.flags)))
      packets += Self.calls.map { Packets.make(socket.header($0)) }
      for packet in packets { #expect(try session.exchange(packet).header.status == .ok) }
      return
    }
    let client = try broker.client(entry == .tcp ? .tcp : .unix, readOnly: entry == .socket)
    try client.call(Remote.authList)
    let reply = try client.call(
      Remote.connectOpen, ConnectOpenArguments(name: uri, flags: entry.flags))
    #expect(reply.header.status == .ok, "\(reply)")
    for call in Self.calls { #expect(try client.call(call).header.status == .ok) }
  }

  /// The flags of CONNECT_OPEN on the only connection to a backend; nil without a connection.
  private func flags(_ backend: ScriptedBackend) throws -> UInt32? {
    let lines = backend.lines
    #expect(lines.count < 2)
    let open = lines.first?.received.first { $0.header.procedure == Remote.connectOpen }
    return open?.decoded(ConnectOpenArguments.self)?.flags
  }

  private static let quiet: ScriptedBackend.Script = { _, _ in false }

  @Test(
    "the flag reaches the daemon that a client opens and the driver daemons beside it",
    arguments: Entry.allCases, Lab.Layout.allCases)
  func local(entry: Entry, layout: Lab.Layout) async throws {
    let sockets = try Scratch.directory("s")
    let names = layout == .mono ? ["libvirt"] : ["virtqemud", "virtstoraged"]
    let backends = try names.map {
      (
        readWrite: try ScriptedBackend(in: sockets, as: "\($0)-sock", script: Self.quiet),
        readOnly: try ScriptedBackend(in: sockets, as: "\($0)-sock-ro", script: Self.quiet)
      )
    }
    let tls = try await TLSBroker(backends: sockets)
    try await blocking {
      try use(tls, entry)
      for (readWrite, readOnly) in backends {
        let isReadOnly = entry != .readWrite
        #expect(try flags(readWrite) == (isReadOnly ? nil : entry.forwarded))
        #expect(try flags(readOnly) == (isReadOnly ? entry.forwarded : nil))
      }
    }
    try await tls.broker.stop()
  }

  @Test(
    "the flag reaches daemons that have one socket for all of their clients",
    arguments: Entry.allCases,
    Lab.Layout.allCases)
  func oneSocket(entry: Entry, layout: Lab.Layout) async throws {
    let sockets = try Scratch.directory("s")
    let names = layout == .mono ? ["libvirt"] : ["virtqemud", "virtstoraged"]
    let backends = try names.map {
      try ScriptedBackend(in: sockets, as: "\($0)-sock", script: Self.quiet)
    }
    let tls = try await TLSBroker(backends: sockets)
    try await blocking {
      try use(tls, entry)
      for backend in backends { #expect(try flags(backend) == entry.forwarded) }
    }
    try await tls.broker.stop()
  }

  @Test("the flag reaches other hosts", arguments: Entry.allCases)
  func forwarded(entry: Entry) async throws {
    let far = try await Scene(script: Self.quiet)
    let near = try await TLSBroker(
      backends: try Scratch.directory("n"),
      settings: ["upstream_allowed_hosts = [ \"tcp://127.0.0.1:*\" ]"]
    )
    try await blocking {
      try use(near, entry, uri: "qemu+tcp://127.0.0.1:\(far.broker.port)/system")
      #expect(try flags(far.backend) == entry.forwarded)
    }
    try await near.broker.stop()
    try await far.end()
  }
}
