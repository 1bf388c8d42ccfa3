// Any records, from a client that has the keys, to a session that does its own records.
//
// Built by scripts/fuzz with Streams as a module, together with the sources of Broker and Tests/Certificates.
import CGnuTLS
import Glibc
import Streams

/// The first byte of the input selects one of these. The rest is a sequence of actions of the client.
private let priorities = [
  "NORMAL:-CIPHER-ALL:+AES-256-GCM", "NORMAL:-CIPHER-ALL:+CHACHA20-POLY1305",
  "NORMAL:-VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM",
  "NORMAL:-VERS-TLS1.3:-CIPHER-ALL:+CHACHA20-POLY1305", "NORMAL:-CIPHER-ALL:+AES-128-CCM",
]

private struct Orders {
  private var rest: Slice<UnsafeRawBufferPointer>
  init(_ bytes: UnsafeRawBufferPointer) { rest = bytes[...] }

  mutating func byte() -> UInt8? { rest.popFirst() }
  mutating func number() -> Int { Int(byte() ?? 0) << 8 | Int(byte() ?? 0) }
  /// The next bytes. The byte before them gives their number, which the end of the input limits.
  mutating func bytes() -> [UInt8] {
    let count = Int(byte() ?? 0)
    defer { rest = rest.dropFirst(count) }
    return Array(rest.prefix(count))
  }
}

/// What handshakes need. Made once.
private final class World: @unchecked Sendable {
  static let only = World()
  let credentials: TLSCredentials
  let identity: ClientIdentity

  init() {
    do {
      var template = Array("/tmp/vb-fuzz.XXXXXX".utf8CString)
      precondition(mkdtemp(&template) != nil, "no directory")
      let directory = String(
        decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
      let root = try MadeCertificate(.authority("CN=Fuzz CA"))
      let server = try MadeCertificate(.server(), from: root)
      let files = try [("ca", root.pem), ("cert", server.pem), ("key", server.keyPEM)]
      for (name, text) in files {
        let file = Descriptor(open("\(directory)/\(name)", O_WRONLY | O_CREAT, 0o600))
        let bytes = Array(text.utf8)
        precondition(write(file.number, bytes, bytes.count) == bytes.count, "\(name) not written")
      }
      defer {
        for (name, _) in files { unlink("\(directory)/\(name)") }
        rmdir(directory)
      }
      credentials = try TLSCredentials(
        TLSSettings(
          pairs: [.init(certificateFile: "\(directory)/cert", keyFile: "\(directory)/key")],
          authorityFile: "\(directory)/ca"), at: Int64(time(nil)))
      identity = try ClientIdentity(MadeCertificate(.client("CN=fuzz"), from: root))
    } catch {
      preconditionFailure("\(error)")
    }
  }
}

/// A session after its handshake, with a client that breaks the protocol.
private final class Exchange {
  let session: TLSSession
  let client: TLSClient
  let far: Int32
  var keys: TLSRecordKeys
  let isModern: Bool
  private let buffers = TLSBuffers()
  /// The bytes that the session must return, as far as it gets.
  private var expected: [UInt8] = []
  private var given = 0
  private var room = [UInt8](repeating: 0, count: 4096)
  /// No record has been invalid so far, so the session must return all data.
  var isHonest = true
  var isOver = false

  init(_ priority: String) throws {
    var ends: [Int32] = [-1, -1]
    let kind = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue)
    precondition(socketpair(AF_UNIX, kind, 0, &ends) == 0, "no sockets")
    far = ends[1]
    session = try TLSSession(
      serving: Descriptor(ends[0]), with: World.only.credentials, buffers: buffers)
    var identity = World.only.identity
    identity.priority = priority
    client = try TLSClient(far, as: identity)
    gnutls_handshake_set_timeout(client.session, 0)
    var isDone = false
    var step = TLSSession.Step.blocked(.read)
    while !isDone || step != .done {
      if !isDone { isDone = gnutls_handshake(client.session) == 0 }
      if step != .done { step = session.handshake() }
      if case .failed(let why) = step { preconditionFailure(why.text) }
    }
    session.takeOverRecords()
    guard let taken = TLSRecordKeys(of: client.session, reading: false) else {
      preconditionFailure("the client's keys cannot be taken")
    }
    keys = taken
    isModern = taken.isModern
  }

  deinit { close(far) }

  func send(_ bytes: [UInt8]) {
    guard !isOver, !bytes.isEmpty else { return }
    let count = Glibc.send(far, bytes, bytes.count, Int32(MSG_NOSIGNAL | MSG_DONTWAIT))
    precondition(count == bytes.count, "the session has not read")
    read()
  }

  /// A record encrypted with the session's keys.
  func sealed(_ content: [UInt8], as kind: UInt8 = TLSRecordKeys.data) -> [UInt8] {
    var content = content
    var record = [UInt8](repeating: 0, count: content.count + 64)
    // An empty content needs a base address too.
    content.append(0)
    let size = content.withUnsafeMutableBytes { content in
      record.withUnsafeMutableBytes { record -> Int? in
        guard let from = content.baseAddress, let to = record.baseAddress else { return nil }
        return keys.seal(from, content.count - 1, as: kind, at: to)
      }
    }
    guard let size else { preconditionFailure("nothing was sealed") }
    return Array(record.prefix(size))
  }

  func expect(_ bytes: some Sequence<UInt8>) { expected += bytes }

  func resize(_ count: Int) { room = [UInt8](repeating: 0, count: count) }

  /// Reads everything, as a transport would.
  private func read() {
    session.beginReading()
    reading: while true {
      let outcome = room.withUnsafeMutableBytes { session.read(into: $0) }
      switch outcome {
      case .moved(let count):
        precondition(count > 0 && count <= room.count, "\(count) bytes moved")
        precondition(
          given + count <= expected.count
            && expected[given..<given + count].elementsEqual(room.prefix(count)),
          "what was given is not what was sent")
        given += count
      case .blocked:
        // After so many system calls in one turn the loop would call again.
        precondition(!session.holdsBytes, "nothing is given and something is held")
        break reading
      case .end, .failed:
        isOver = true
        precondition(
          !isHonest, "an honest client was cut off: \(session.state.error?.text ?? "no reason")")
        if case .failed = outcome { precondition(session.state.error != nil, "no reason") }
        break reading
      }
    }
    session.endReading()
    guard isHonest else { return }
    precondition(given == expected.count, "\(given) of \(expected.count) bytes were given")
    precondition(!session.holdsBuffers, "a buffer is kept for nothing")
  }

  /// Sending must still work if all records were valid.
  func answer() {
    guard !isOver else { return }
    withUnsafeTemporaryAllocation(byteCount: 100, alignment: 8) { bytes in
      bytes.initializeMemory(as: UInt8.self, repeating: 7)
      withUnsafeTemporaryAllocation(of: Run.self, capacity: 1) { runs in
        runs[0] = Run(base: bytes.baseAddress, count: bytes.count)
        let outcome = session.write(UnsafeBufferPointer(runs))
        precondition(!isHonest || outcome == .moved(100), "\(outcome)")
      }
    }
  }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzRecords(_ data: UnsafeRawPointer?, _ size: Int) -> CInt {
  var orders = Orders(UnsafeRawBufferPointer(start: data, count: size))
  let priority = priorities[Int(orders.byte() ?? 0) % priorities.count]
  guard let exchange = try? Exchange(priority) else { preconditionFailure("no session") }
  var updates = 0
  while !exchange.isOver, let order = orders.byte() {
    switch order % 10 {
    case 0:
      // Valid data, up to a full record.
      let content = (0..<orders.number() % 16_385).map { UInt8(truncatingIfNeeded: $0 &* 13) }
      exchange.expect(content)
      exchange.send(exchange.sealed(content))
    case 1:
      // Records of any kind. Under TLS 1.3 the kind is the last inner byte that is not zero.
      let kind = orders.byte() ?? 0
      let content = orders.bytes()
      let inner = exchange.isModern ? (content + [kind]).reversed().drop { $0 == 0 } : []
      let isData =
        exchange.isModern ? inner.first == TLSRecordKeys.data : kind == TLSRecordKeys.data
      if isData {
        exchange.expect(exchange.isModern ? inner.dropFirst().reversed() : content)
      } else {
        exchange.isHonest = false
      }
      exchange.send(exchange.sealed(content, as: kind))
    case 2:
      // Bytes that are not a record.
      exchange.isHonest = false
      exchange.send(orders.bytes())
    case 3:
      // A changed record.
      var record = exchange.sealed(Array(repeating: 5, count: Int(orders.byte() ?? 0)))
      record[orders.number() % record.count] ^= (orders.byte() ?? 0) | 1
      exchange.isHonest = false
      exchange.send(record)
    case 4:
      // A truncated record.
      let record = exchange.sealed(Array(repeating: 6, count: Int(orders.byte() ?? 0)))
      exchange.isHonest = false
      exchange.send(Array(record.prefix(orders.number() % record.count)))
    case 5:
      // A record in two pieces.
      let content = (0..<orders.number() % 4096).map { UInt8(truncatingIfNeeded: $0 &* 7) }
      let record = exchange.sealed(content)
      let cut = orders.number() % record.count
      let wasHonest = exchange.isHonest
      exchange.isHonest = false
      exchange.send(Array(record.prefix(cut)))
      exchange.isHonest = wasHonest
      exchange.expect(content)
      exchange.send(Array(record.dropFirst(cut)))
    case 6:
      // A record with another length in the header, if it differs.
      let content = [UInt8](repeating: 8, count: Int(orders.byte() ?? 0))
      let sealed = exchange.sealed(content)
      var record = sealed
      record[3] = orders.byte() ?? 0
      record[4] = orders.byte() ?? 0
      if record == sealed { exchange.expect(content) } else { exchange.isHonest = false }
      exchange.send(record)
    case 7 where exchange.isModern:
      // A key update. GnuTLS limits how many it accepts in a second.
      updates += 1
      if updates > 4 { exchange.isHonest = false }
      exchange.keys.tell(exchange.client.session, reading: false)
      let flags = (orders.byte() ?? 0) & 1 == 0 ? 0 : UInt32(GNUTLS_KU_PEER)
      guard gnutls_session_key_update(exchange.client.session, flags) == 0,
        let keys = TLSRecordKeys(of: exchange.client.session, reading: false)
      else { preconditionFailure("the client gets no new keys") }
      exchange.keys = keys
    case 8: exchange.resize(1 + orders.number() % 40_000)
    default: exchange.answer()
    }
  }
  exchange.answer()
  return 0
}
