// TLS between the broker and other programs: those of OpenSSL, Python and GnuTLS.
import Certificates
import Glibc
import Streams
import Testing

@testable import Broker

@Suite("TLS with other programs")
struct InteroperationTests {
  private let authority: Authority

  init() throws {
    authority = try Authority()
  }

  @Test(
    "megabytes arrive intact in both directions at the same time", arguments: Peer.allCases,
    Protection.allCases)
  func bothWays(peer: Peer, protection: Protection) throws {
    let meeting = try Meeting(peer, protection, authority)
    try meeting.exchange(up: Meeting.up, down: peer.down)
    #expect(meeting.session.parameters == protection.parameters)
    #expect((meeting.session.records.reading != nil) == protection.isAEAD)
  }

  @Test(
    "data arrive intact while the other program rekeys and requests that the broker rekeys",
    arguments: Peer.withCommands, Protection.modern)
  func peersUpdates(peer: Peer, protection: Protection) throws {
    let meeting = try Meeting(peer, protection, authority)
    try meeting.exchange(
      up: Meeting.up, down: peer.down, updates: [.own, .both, .both, .own, .both])
    #expect(meeting.session.parameters == protection.parameters)
    let reading = try #require(meeting.session.records.reading)
    let writing = try #require(meeting.session.records.writing)
    // Each message is one record, and the sequence number restarts with each key.
    #expect(reading.sequence == UInt64(meeting.messagesSinceUpdate))
    #expect(writing.sequence < Meeting.records(of: peer.down) / 2)
  }

  @Test(
    "data arrive intact while the broker rekeys and requests that the other program rekeys",
    arguments: Peer.withCommands, Protection.modern)
  func brokersUpdates(peer: Peer, protection: Protection) throws {
    let meeting = try Meeting(peer, protection, authority)
    // GnuTLS accepts at most eight key updates in a second.
    let limit = max(Meeting.records(of: peer.down) / 5, 6)
    meeting.session.records.mostWithKeys = limit
    try meeting.exchange(up: Meeting.up, down: peer.down, updates: [.own, .own])
    let writing = try #require(meeting.session.records.writing)
    #expect(writing.sequence <= limit && limit < Meeting.records(of: peer.down) / 2)
  }

  @Test("gnutls-serv returns every line that it is sent", arguments: Protection.allCases)
  func echo(protection: Protection) throws {
    let meeting = try Meeting(echoing: protection, authority)
    try meeting.echo(lines: 500, length: 4096)
    #expect(meeting.session.parameters == protection.parameters)
    #expect((meeting.session.records.reading != nil) == protection.isAEAD)
  }

  @Test(
    "gnutls-serv returns every line while the broker rekeys",
    arguments: Protection.modern)
  func echoWithUpdates(protection: Protection) throws {
    let meeting = try Meeting(echoing: protection, authority)
    meeting.session.records.mostWithKeys = 120
    try meeting.echo(lines: 500, length: 4096)
    #expect(try #require(meeting.session.records.writing).sequence == 500 - 4 * 120)
  }
}

/// A TLS version with one cipher; the broker's priority allows no other.
enum Protection: String, CaseIterable, Sendable {
  case modernAES128 = "TLS1.3 AES-128-GCM"
  case modernAES256 = "TLS1.3 AES-256-GCM"
  case modernChaCha = "TLS1.3 CHACHA20-POLY1305"
  case oldAES128 = "TLS1.2 AES-128-GCM"
  case oldAES256 = "TLS1.2 AES-256-GCM"
  case oldChaCha = "TLS1.2 CHACHA20-POLY1305"
  case oldCBC = "TLS1.2 AES-128-CBC"

  static let modern: [Protection] = [.modernAES128, .modernAES256, .modernChaCha]

  var parameters: String { rawValue }
  var isAEAD: Bool { self != .oldCBC }

  var priority: String {
    let words = rawValue.split(separator: " ")
    return "NORMAL:-VERS-ALL:+VERS-\(words[0]):-CIPHER-ALL:+\(words[1])"
  }
}

/// A key update under TLS 1.3.
enum KeyUpdate: Sendable {
  /// Only the sender changes its keys.
  case own
  /// The sender requests that the other end changes its keys too.
  case both
}

/// A program that sends its standard input over TLS and writes the received data to its standard output.
enum Peer: String, CaseIterable, Sendable {
  case opensslClient = "openssl s_client"
  case opensslServer = "openssl s_server"
  case pythonClient = "python client"
  case pythonServer = "python server"
  case gnutlsClient = "gnutls-cli"

  /// The programs with a command for a key update.
  static let withCommands: [Peer] = [.opensslClient, .opensslServer, .gnutlsClient]

  var isServer: Bool { self == .opensslServer || self == .pythonServer }

  /// The program reads this many bytes at once from its standard input and sends them as one record.
  var messageBytes: Int { self == .gnutlsClient ? 4000 : 8192 }

  /// What the broker sends: less to gnutls-cli, which writes each byte with a system call of its own.
  var down: [UInt8] { self == .gnutlsClient ? Meeting.shortDown : Meeting.down }

  /// The message on standard input that requests a key update.
  func command(_ update: KeyUpdate) -> String {
    switch self {
    case .gnutlsClient: update == .both ? "^rekey^\n" : "^rekey1^\n"
    default: update == .both ? "K\n" : "k\n"
    }
  }

  /// - Parameters:
  ///   - directory: the files of an `Authority`.
  ///   - port: the broker's port; only a client uses it.
  func arguments(_ directory: String, port: UInt16) -> [String] {
    let authority = "\(directory)/cacert.pem"
    let certificate = "\(directory)/servercert.pem"
    let key = "\(directory)/serverkey.pem"
    switch self {
    case .opensslClient:
      return [
        "openssl", "s_client", "-brief", "-connect", "127.0.0.1:\(port)", "-servername",
        "localhost", "-verify_hostname", "localhost", "-verify_return_error", "-CAfile", authority,
      ]
    case .opensslServer:
      return ["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", certificate, "-key", key]
    case .pythonClient:
      return ["python3", "-c", Peer.python, "client", "\(port)", authority]
    case .pythonServer:
      return ["python3", "-c", Peer.python, "server", certificate, key]
    case .gnutlsClient:
      return [
        "gnutls-cli", "--logfile=/dev/null", "--inline-commands", "--x509cafile", authority,
        "--sni-hostname=localhost", "--verify-hostname=localhost", "--port=\(port)", "127.0.0.1",
      ]
    }
  }

  /// The start of the line in which a server writes its port.
  static let listening = "ACCEPT 127.0.0.1:"

  private static let python = """
    import os, select, socket, ssl, sys
    if sys.argv[1] == "client":
        context = ssl.create_default_context(cafile=sys.argv[3])
        context.set_ciphers("DEFAULT")
        plain = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
        tls = context.wrap_socket(plain, server_hostname="localhost")
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*sys.argv[2:])
        context.set_ciphers("DEFAULT")
        listener = socket.create_server(("127.0.0.1", 0))
        print("ACCEPT 127.0.0.1:%d" % listener.getsockname()[1], flush=True)
        tls = context.wrap_socket(listener.accept()[0], server_side=True)
    tls.setblocking(False)
    message, blocked = b"", (ssl.SSLWantReadError, ssl.SSLWantWriteError)
    while True:
        readable, _, _ = select.select(
            [tls] if message else [tls, 0], [tls] if message else [], [])
        if 0 in readable:
            message = os.read(0, 65536)
            if not message:
                break
        if message:
            try:
                message = message[tls.send(message):]
            except blocked:
                pass
        try:
            while data := tls.recv(65536):
                while data:
                    data = data[os.write(1, data):]
            break
        except blocked:
            pass
    """
}

/// A session between the broker and a program, after the handshake.
final class Meeting {
  let session: TLSSession
  private let transport: TLSTransport
  private let program: PeerProgram
  private let peer: Peer?
  private let deadline = Deadline()
  /// Data messages after the last key update command.
  private(set) var messagesSinceUpdate = 0

  init(_ peer: Peer, _ protection: Protection, _ authority: Authority) throws {
    self.peer = peer
    let credentials = try Meeting.credentials(protection, authority)
    let directory = authority.scratch.path
    if peer.isServer {
      program = try PeerProgram(peer.arguments(directory, port: 0))
      let port = try program.line(after: Peer.listening, by: deadline)
      session = try Meeting.connect(
        to: try #require(UInt16(port)), with: credentials)
    } else {
      let (listener, port) = try Loopback.listen()
      let listening = Descriptor(listener)
      program = try PeerProgram(peer.arguments(directory, port: port))
      let started = program
      try deadline.wait(for: listening.number, POLLIN) { "no connection from \(started.said)" }
      session = try TLSSession(
        serving: Descriptor(accept(listening.number, nil, nil)), with: credentials,
        buffers: TLSBuffers())
    }
    transport = try Meeting.shake(session, program, deadline)
  }

  /// A session with gnutls-serv, which returns lines.
  init(echoing protection: Protection, _ authority: Authority) throws {
    peer = nil
    let credentials = try Meeting.credentials(protection, authority)
    (program, session) = try Meeting.echoServer(authority, credentials, deadline)
    transport = try Meeting.shake(session, program, deadline)
  }

  private static func echoServer(
    _ authority: Authority, _ credentials: TLSCredentials, _ deadline: Deadline
  ) throws -> (PeerProgram, TLSSession) {
    let directory = authority.scratch.path
    var attempts = 0
    while true {
      // gnutls-serv does not report a port that the kernel chose, so it gets one that was free a moment ago.
      let (listener, port) = try Loopback.listen()
      close(listener)
      do {
        let program = try PeerProgram(
          [
            "gnutls-serv", "--echo", "--quiet", "--port=\(port)", "--disable-client-cert",
            "--x509certfile=\(directory)/servercert.pem",
            "--x509keyfile=\(directory)/serverkey.pem",
          ], mixesErrors: true)
        _ = try program.line(after: "Echo Server listening on IPv", by: deadline)
        return (program, try connect(to: port, with: credentials))
      } catch {
        attempts += 1
        guard attempts < 3 else { throw error }
      }
    }
  }

  private static func credentials(
    _ protection: Protection, _ authority: Authority
  ) throws -> TLSCredentials {
    var settings = try authority.serve()
    settings.priority = protection.priority
    return try TLSCredentials(settings, at: TLSAcceptor.now)
  }

  private static func connect(
    to port: UInt16, with credentials: TLSCredentials
  ) throws -> TLSSession {
    try TLSSession(
      connecting: Descriptor(Loopback.connect(to: port)), with: credentials, buffers: TLSBuffers())
  }

  private static func shake(
    _ session: TLSSession, _ program: PeerProgram, _ deadline: Deadline
  ) throws -> TLSTransport {
    while true {
      switch session.handshake() {
      case .done:
        return TLSTransport(
          session, TLSPeer(distinguishedName: nil, parameters: "", keyBits: 0))
      case .blocked(let on):
        try deadline.wait(for: session.number, on.contains(.write) ? POLLOUT : POLLIN) {
          "no handshake from \(program.said)"
        }
      case .failed(let why): throw Trouble(what: "the handshake failed: \(why); \(program.said)")
      }
    }
  }
}

/// Data through the session.
extension Meeting {
  static let up = packets(2 << 20, seed: 1)
  static let down = packets(2 << 20, seed: 2)
  static let shortDown = packets(1 << 17, seed: 3)

  /// Packets in libvirt's format, of all sizes.
  private static func packets(_ count: Int, seed: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    var index = seed
    while bytes.count < count {
      let length = [28, 31, 60, 1000, 16_384, 16_385, 70_000, 28][index % 8]
      bytes += (0..<4).map { UInt8(truncatingIfNeeded: length >> (24 - 8 * $0)) }
      bytes += Ends.bytes(length - 4, seed: index &* 7919)
      index += 1
    }
    return bytes
  }

  /// The number of records that the packets need.
  static func records(of packets: [UInt8]) -> UInt64 {
    var place = 0
    var records = 0
    while place < packets.count {
      let length = packets[place..<place + 4].reduce(0) { $0 << 8 | Int($1) }
      records += (length + 16_383) / 16_384
      place += length
    }
    return UInt64(records)
  }

  /// The program's standard input: pieces of data with commands between them.
  private func messages(_ up: [UInt8], _ updates: [KeyUpdate]) throws -> [ArraySlice<UInt8>] {
    let peer = try #require(peer)
    let places = stride(from: 0, to: up.count, by: peer.messageBytes)
    var messages: [ArraySlice<UInt8>] = []
    let between = places.underestimatedCount / (updates.count + 1)
    var updates = updates[...]
    messagesSinceUpdate = 0
    for place in places {
      if !updates.isEmpty, messagesSinceUpdate == between, let update = updates.popFirst() {
        messages.append(Array(peer.command(update).utf8)[...])
        messagesSinceUpdate = 0
      }
      messages.append(up[place..<min(place + peer.messageBytes, up.count)])
      messagesSinceUpdate += 1
    }
    try #require(updates.isEmpty)
    return messages
  }

  /// Sets the first byte of each message so that OpenSSL does not take it for a command, and the last byte to the
  /// line feed that ends gnutls-cli's search for one.
  private func marked(_ up: [UInt8]) throws -> [UInt8] {
    var up = up
    let size = try #require(peer).messageBytes
    for place in stride(from: 0, to: up.count, by: size) {
      up[place] = 0
      up[min(place + size, up.count) - 1] = 10
    }
    return up
  }

  /// The program sends `up` and the broker sends `down` at the same time and in step, so that keys change in the
  /// middle of both.
  func exchange(up: [UInt8], down: [UInt8], updates: [KeyUpdate] = []) throws {
    let up = try marked(up)
    var messages = try messages(up, updates)[...]
    var down = down
    var sent = 0
    let received = Collected(capacity: up.count + 1)
    let written = Collected(capacity: down.count + (64 << 10))
    // OpenSSL's server writes its session parameters before the data, and lines about commands between them.
    var hasBegun = false
    var looked = 0
    while received.count < up.count || !hasBegun || written.count < down.count
      || peer == .opensslServer && !written.begins(with: down)
    {
      // In eighths, because each call of the transport begins a record.
      let due = min(8, received.count * 8 / up.count + 1) * down.count / 8
      let isSending = sent < due || transport.unsent > 0
      var items = [
        pollfd(
          fd: session.number, events: Int16(isSending ? POLLIN | POLLOUT : POLLIN), revents: 0),
        pollfd(fd: program.output.number, events: Int16(POLLIN), revents: 0),
        pollfd(
          fd: messages.isEmpty ? -1 : program.input.number, events: Int16(POLLOUT), revents: 0),
      ]
      if !transport.holdsBytes {
        try deadline.wait(for: &items) {
          "received \(received.count) of \(up.count), sent \(sent) of \(down.count), "
            + "of which \(written.count) came out of \(program.said)"
        }
      }
      if let message = messages.first, try program.write(message) { messages.removeFirst() }
      if isSending { sent += try send(&down, sent..<due) }
      try receive(into: received)
      guard items[1].revents != 0 else { continue }
      guard try program.read(into: written) else {
        throw Trouble(what: "the output ended after \(written.count) bytes of \(program.said)")
      }
      hasBegun = hasBegun || written.begin(at: Array(down.prefix(64)))
      for noise in Meeting.noise { while written.remove(noise, from: looked) {} }
      looked = max(0, written.count - 64)
    }
    #expect(received.begins(with: up) && received.count == up.count)
    #expect(written.begins(with: down))
    #expect(messages.isEmpty)
  }

  /// The lines that OpenSSL's server writes at a key update command and at a received key update.
  private static let noise = ["SSL_do_handshake -> 1\n", "Read BLOCK\n"].map { Array($0.utf8) }

  /// Sends lines, each after the previous one has returned.
  func echo(lines: Int, length: Int) throws {
    let received = Collected(capacity: 2 * length)
    for index in 0..<lines {
      var line = Meeting.line(length, index)
      var sent = 0
      received.count = 0
      while received.count < line.count {
        let isSending = sent < line.count || transport.unsent > 0
        var items = [
          pollfd(
            fd: session.number, events: Int16(isSending ? POLLIN | POLLOUT : POLLIN), revents: 0),
          pollfd(fd: program.output.number, events: Int16(POLLIN), revents: 0),
        ]
        let said = Collected(capacity: 1 << 16)
        if !transport.holdsBytes {
          try deadline.wait(for: &items) {
            "\(received.count) bytes of line \(index) returned from gnutls-serv"
          }
        }
        if isSending { sent += try send(&line, sent..<line.count) }
        try receive(into: received)
        // gnutls-serv writes about each line.
        if items[1].revents != 0, try !program.read(into: said) {
          throw Trouble(what: "gnutls-serv ended")
        }
      }
      guard received.begins(with: line) else { throw Trouble(what: "line \(index) differs") }
    }
  }

  /// Printable characters, because gnutls-serv treats a line as a C string. The first line starts with the length
  /// word of a packet that does not end, so each line is one record.
  private static func line(_ length: Int, _ index: Int) -> [UInt8] {
    (0..<length - 1).map { $0 < 4 ? 33 : UInt8(33 + ($0 &* 7 &+ index) % 90) } + [10]
  }

  private func send(_ bytes: inout [UInt8], _ part: Range<Int>) throws -> Int {
    let outcome = bytes.withUnsafeMutableBytes { bytes in
      withUnsafeTemporaryAllocation(of: Run.self, capacity: 1) { runs in
        runs[0] = Run(base: bytes.baseAddress.map { $0 + part.lowerBound }, count: part.count)
        return transport.send(UnsafeBufferPointer(runs))
      }
    }
    switch outcome {
    case .moved(let count): return count
    case .blocked: return 0
    default:
      throw Trouble(what: "sending: \(outcome) \(transport.error?.text ?? ""); \(program.said)")
    }
  }

  private func receive(into bytes: Collected) throws {
    var descriptor: Int32 = -1
    let outcome = withUnsafeTemporaryAllocation(of: Run.self, capacity: 1) { rooms in
      rooms[0] = Run(base: bytes.free.baseAddress, count: min(bytes.free.count, 70_000))
      return transport.receive(into: UnsafeBufferPointer(rooms), descriptor: &descriptor)
    }
    switch outcome {
    case .moved(let count): bytes.count += count
    case .blocked: break
    default:
      throw Trouble(what: "receiving: \(outcome) \(transport.error?.text ?? ""); \(program.said)")
    }
  }
}
